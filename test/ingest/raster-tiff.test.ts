import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { RasterRefusal, type RasterWindow } from '../../src/ingest/raster.ts';
import { type TiffSpec, faultOf, open, utm, writeTiff } from './rasters.ts';

/** A value that tells where it is from. */
const mark = (x: number, y: number, c: number): number => (x * 7 + y * 31 + c * 101) & 255;

function expectWindow(window: RasterWindow, [x, y, w, h]: readonly [number, number, number, number], value: TiffSpec['value'], bands: readonly number[] = [0, 1, 2]): void {
  const wanted = bands.map((band) => Array.from({ length: w * h }, (_, i) => value(x + (i % w), y + Math.floor(i / w), band)));
  expect(window.bands.map((band) => Array.from(band))).toEqual(wanted);
}

describe('openTiff', () => {
  it.each([
    ['tiles', { block: [16, 16] }],
    ['tiles that do not fit', { block: [48, 32] }],
    ['strips', { block: { rows: 7 } }],
    ['one strip', { block: { rows: 1000 } }],
    ['planes in tiles', { block: [16, 32], planar: true }],
    ['planes in strips', { block: { rows: 5 }, planar: true }],
    ['big-endian', { block: [16, 16], little: false }],
    ['big-endian strips of many blocks', { block: { rows: 1 }, little: false, deflate: true }],
    ['BigTIFF', { block: [16, 16], big: true }],
    ['big-endian BigTIFF', { block: { rows: 3 }, big: true, little: false }],
    ['Deflate', { block: [32, 16], deflate: true }],
    ['five bands', { block: [16, 16], samples: 5 }],
  ] satisfies [string, Partial<TiffSpec>][])('reads any window of %s', async (_, layout) => {
    const raster = await open(writeTiff({ width: 70, height: 50, value: mark, ...layout }));
    expect(raster.header).toMatchObject({ width: 70, height: 50, range: [0, 255], hasNodata: false, resolution: null });
    for (const [x, y, w, h] of [[0, 0, 70, 50], [0, 0, 1, 1], [69, 49, 1, 1], [15, 15, 18, 20], [30, 0, 40, 50], [3, 40, 20, 10]] as const) {
      expectWindow(await raster.read({ x, y, w, h, bands: null }), [x, y, w, h], mark);
    }
  });

  it('reads the bands asked for, in their order', async () => {
    const raster = await open(writeTiff({ width: 40, height: 20, value: mark, samples: 5, block: [16, 16] }));
    expectWindow(await raster.read({ x: 3, y: 2, w: 20, h: 9, bands: [5, 3, 1] }), [3, 2, 20, 9], mark, [4, 2, 0]);
    await expect(raster.read({ x: 0, y: 0, w: 4, h: 4, bands: [6, 1, 1] })).rejects.toMatchObject({ fault: 'raster-samples' });
  });

  it.each([['u16', 60000], ['i16', -30000], ['u32', 4e9], ['f32', 0.5], ['f64', 1e300]] as const)('reads %s samples in both byte orders', async (type, high) => {
    const value = (x: number, y: number, c: number): number => (x === 2 ? high : mark(x, y, c));
    for (const little of [true, false]) {
      const raster = await open(writeTiff({ width: 20, height: 20, value, type, little, deflate: true }));
      expectWindow(await raster.read({ x: 1, y: 5, w: 18, h: 12, bands: null }), [1, 5, 18, 12], value);
      expect(raster.header.range).toEqual(type.startsWith('u') ? [0, 2 ** Number(type.slice(1)) - 1] : null);
    }
  });

  it('reads no more of a file than its directory and the tiles that a window touches', async () => {
    const bytes = writeTiff({ width: 512, height: 512, value: mark, block: [64, 64] });
    const reads: [number, number][] = [];
    const raster = await open(bytes, reads);
    const header = reads.reduce((sum, [, length]) => sum + length, 0);
    expect(header).toBeLessThan(10_000);
    reads.length = 0;
    await raster.read({ x: 60, y: 60, w: 64, h: 4, bands: null });
    expect(reads.map(([, length]) => length)).toEqual([12288, 12288]);
  });

  it('holds long windows a slab at a time', async () => {
    const value = (x: number, y: number): number => x * 4096 + y;
    // Two strips do not go into one slab of 64 MiB.
    const raster = await open(writeTiff({ width: 2400, height: 1900, samples: 1, type: 'f64', value, block: { rows: 1800 } }));
    const window = await raster.read({ x: 100, y: 1700, w: 2, h: 199, bands: null });
    expectWindow(window, [100, 1700, 2, 199], value, [0, 0, 0]);
  });

  it.each([['lzw', 'horizontal'], ['deflate', 'horizontal'], ['packbits', 'none'], ['none', 'none'], ['lzw', 'none']] as const)('reads %s with predictor %s as libtiff writes it', async (compression, predictor) => {
    const [w, h] = [300, 200];
    const noise = Uint8Array.from({ length: w * h * 3 }, (_, i) => (i % 900 < 500 ? (i * 2654435761) >>> 24 : Math.floor(i / 3) % 7));
    for (const tile of [true, false]) {
      const bytes = await sharp(noise, { raw: { width: w, height: h, channels: 3 } }).tiff({ compression, predictor, tile, tileWidth: 64, tileHeight: 64 }).toBuffer();
      const raster = await open(bytes);
      expectWindow(await raster.read({ x: 33, y: 70, w: 200, h: 101, bands: null }), [33, 70, 200, 101], (x, y, c) => noise[(y * w + x) * 3 + c]!);
    }
  });

  it.each([['jpeg', 95, 4], ['jpeg', 75, 4], ['webp', 90, 4]] as const)('reads %s blocks of quality %i like libtiff', async (compression, quality, tolerance) => {
    const [w, h] = [256, 192];
    const smooth = Uint8Array.from({ length: w * h * 3 }, (_, i) => [Math.floor(i / 3) % w, 255 - Math.floor(i / 3 / w), 90][i % 3]!);
    const bytes = await sharp(smooth, { raw: { width: w, height: h, channels: 3 } }).tiff({ compression, quality, tile: true, tileWidth: 64, tileHeight: 64 }).toBuffer();
    const whole = await sharp(bytes).raw().toBuffer();
    const window = await (await open(bytes)).read({ x: 30, y: 40, w: 100, h: 64, bands: null });
    let worst = 0;
    for (let i = 0; i < 6400; i++) for (let c = 0; c < 3; c++) worst = Math.max(worst, Math.abs(window.bands[c]![i]! - whole[((40 + Math.floor(i / 100)) * w + 30 + (i % 100)) * 3 + c]!));
    expect(worst).toBeLessThanOrEqual(tolerance);
  });

  it('shows palettes, white-is-zero and grey as RGB', async () => {
    const palette = Array.from({ length: 768 }, (_, i) => ((i * 37) & 255) * 257);
    const value = (x: number, y: number): number => mark(x, y, 0);
    const painted = await open(writeTiff({ width: 30, height: 20, samples: 1, value, photometric: 3, tags: [[320, 3, palette]] }));
    expectWindow(await painted.read({ x: 4, y: 5, w: 20, h: 9, bands: null }), [4, 5, 20, 9], (x, y, c) => palette[c * 256 + value(x, y)]! >>> 8);
    const inverted = await open(writeTiff({ width: 30, height: 20, samples: 1, value, photometric: 0 }));
    expectWindow(await inverted.read({ x: 0, y: 0, w: 30, h: 20, bands: null }), [0, 0, 30, 20], (x, y) => 255 - value(x, y));
    const grey = await open(writeTiff({ width: 30, height: 20, samples: 2, value: mark, tags: [[338, 3, [0]]] }));
    expectWindow(await grey.read({ x: 0, y: 0, w: 30, h: 20, bands: null }), [0, 0, 30, 20], mark, [0, 0, 0]);
  });

  it('finds pixels without data: by value, opacity, missing blocks', async () => {
    const absent = async (spec: Partial<TiffSpec>): Promise<number[] | null> => {
      const raster = await open(writeTiff({ width: 32, height: 32, value: mark, block: [16, 16], ...spec }));
      expect(raster.header.hasNodata).toBe(true);
      const found = (await raster.read({ x: 8, y: 8, w: 16, h: 16, bands: null })).absent;
      return found === null ? null : Array.from(found);
    };
    const where = (test: (x: number, y: number) => boolean): number[] => Array.from({ length: 256 }, (_, i) => (test(8 + (i % 16), 8 + Math.floor(i / 16)) ? 1 : 0));
    const hole = (x: number, y: number): boolean => x + y < 20;
    expect(await absent({ value: (x, y, c) => (hole(x, y) ? 9 : c === 0 ? 9 : 1 + mark(x, y, c)), tags: [[42113, 2, '9']] })).toEqual(where(hole));
    expect(await absent({ value: (x, y) => (hole(x, y) ? Number.NaN : 1), type: 'f32', tags: [[42113, 2, 'nan']] })).toEqual(where(hole));
    expect(await absent({ value: (x, y) => (hole(x, y) ? -3.4e38 : 1), type: 'f32', tags: [[42113, 2, '-3.4e+38']] })).toEqual(where(hole));
    expect(await absent({ samples: 4, value: (x, y, c) => (c === 3 ? (hole(x, y) ? 0 : 200) : mark(x, y, c)), tags: [[338, 3, [2]]] })).toEqual(where(hole));
    expect(await absent({ sparse: (block) => block === 1, tags: [] })).toEqual(where((x, y) => x >= 16 && y < 16));
  });

  it('tells metres a pixel from tags, in whatever units', async () => {
    const resolution = async (tags: NonNullable<TiffSpec['tags']>): Promise<readonly number[] | null> => (await open(writeTiff({ width: 100, height: 60, value: mark, tags }))).header.resolution;
    const keys = (...more: number[]): (typeof tags)[number] => [34735, 3, [1, 1, 0, more.length / 4, ...more]];
    const tags: NonNullable<TiffSpec['tags']> = utm(0.5);
    expect(await resolution(tags)).toEqual([0.5, 0.5]);
    const feet = await resolution([[33550, 12, [3, 2, 0]], keys(1024, 0, 1, 1, 3076, 0, 1, 9003)]);
    expect([feet![0]! * 3937, feet![1]! * 3937].map(Math.round)).toEqual([3600, 2400]);
    const degrees = await resolution([[33550, 12, [0.001, 0.001, 0]], [33922, 12, [0, 0, 0, 10, 60.03, 0]], keys(1024, 0, 1, 2)]);
    expect(degrees![0]).toBeCloseTo(55.8, 1); // 55,800 m a degree of longitude at 60° north
    expect(degrees![1]).toBeCloseTo(111.4, 1);
    const mercator = await resolution([[33550, 12, [1, 1, 0]], [33922, 12, [0, 0, 0, 0, 8_399_738, 0]], keys(1024, 0, 1, 1, 3072, 0, 1, 3857)]);
    expect(mercator![0]).toBeCloseTo(0.5, 2); // 60° north
    const turned = await resolution([[34264, 12, [0.3, 0.4, 0, 1, 0.4, -0.3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]], keys(1024, 0, 1, 1)]);
    expect(turned).toEqual([0.5, 0.5]);
    expect(await resolution([[33550, 12, [1, 1, 0]]])).toBeNull();
    expect(await resolution([[33550, 12, [Number.NaN, 0, 0]], keys(1024, 0, 1, 1)])).toBeNull();
    expect(await resolution([[33550, 12, [1, 1, 0]], keys(1024, 0, 1, 1, 3076, 0, 1, 9999)])).toBeNull();
  });
});

describe('hostile TIFFs', () => {
  const sane = { width: 64, height: 64, value: mark, block: [16, 16] } as const satisfies TiffSpec;
  it.each([
    ['zero width', { tags: [[256, 4, [0]]] }, 'raster-malformed: says it has 0 × 64 pixels of 3 samples'],
    ['two widths', { tags: [[256, 4, [64, 64]]] }, 'raster-malformed: says it has NaN × 64 pixels of 3 samples'],
    ['an absurd size', { tags: [[256, 4, [4294967295]], [257, 4, [4294967295]]] }, 'raster-malformed: has room for 72057594037927940 blocks and places of 16'],
    ['an absurd tile', { tags: [[322, 4, [1 << 30]], [323, 4, [1 << 30]]] }, 'raster-blocks: has tiles of 3458764513820541000 bytes where up to 67108864 are read'],
    ['a tile of nothing', { tags: [[322, 3, [0]]] }, 'raster-malformed: says its blocks have 0 × 16 pixels'],
    ['too many samples', { tags: [[277, 3, [60000]]] }, 'raster-malformed: says it has 64 × 64 pixels of 60000 samples'],
    ['samples without depths', { tags: [[258, 3, [8]]] }, 'raster-malformed: has 3 samples a pixel and depths of 1'],
    ['unequal samples', { tags: [[258, 3, [8, 8, 16]]] }, 'raster-format: has samples of 8, 8, 16 bits in format 1, 1, 1; '],
    ['an unknown compression', { tags: [[259, 3, [50000]]] }, 'raster-format: is compressed by method 50000; '],
    ['CMYK', { samples: 4, tags: [[262, 3, [5]]] }, 'raster-format: has the colour space 5; '],
    ['tiles beyond the end', { tags: [[324, 4, new Array<number>(16).fill(0x7fffffff)]] }, 'raster-truncated: has block 0 of 16 up to byte 2147484415 of '],
    ['tiles of absurd length', { tags: [[325, 4, new Array<number>(16).fill(0x7fffffff)]] }, 'raster-malformed: says that block 0 takes 2147483647 bytes where it holds 768'],
    ['a short palette', { samples: 1, photometric: 3, tags: [[320, 3, [1, 2, 3, 4]]] }, 'raster-malformed: has a palette of 4 values where 768 belong'],
    ['big-endian predictor', { type: 'u16', little: false, tags: [[317, 3, [2]]] }, 'raster-format: is big-endian with a predictor'],
  ] satisfies [string, Partial<TiffSpec>, string][])('refuses %s', async (_, change, says) => {
    const found = await faultOf(writeTiff({ ...sane, ...change }));
    expect(found.slice(0, says.length)).toBe(says);
  });

  it('refuses tags that lie about how much there is', async () => {
    const bytes = Buffer.from(writeTiff({ ...sane, tags: [[42112, 2, 'some metadata of GDAL']] }));
    const directory = bytes.readUInt32LE(4);
    const at = directory + 2 + 12 * (bytes.readUInt16LE(directory) - 1);
    expect(bytes.readUInt16LE(at)).toBe(42112);
    bytes.writeUInt32LE(0xffffffff, at + 4);
    expect(await faultOf(bytes)).toContain('raster-truncated: has values of tag 42112 up to byte');
    bytes.writeUInt16LE(99, at + 2);
    expect(await faultOf(bytes)).toContain('raster-malformed: has tag 42112 of the unknown type 99');
    bytes.writeUInt16LE(65535, directory);
    expect(await faultOf(bytes)).toContain('raster-malformed: says its directory has 65535 entries');
    bytes.writeUInt32LE(3e9, 4);
    expect(await faultOf(bytes)).toContain('raster-truncated: has its directory at byte 3000000000 of');
  });

  it('takes no harm from directories in a circle', async () => {
    const bytes = Buffer.from(writeTiff(sane));
    const directory = bytes.readUInt32LE(4);
    bytes.writeUInt32LE(directory, directory + 2 + 12 * bytes.readUInt16LE(directory));
    const window = await (await open(bytes)).read({ x: 0, y: 0, w: 20, h: 20, bands: null });
    expectWindow(window, [0, 0, 20, 20], mark);
  });

  it('gives up a block that unpacks to more than it may hold', async () => {
    const bomb = writeTiff({ width: 64, height: 64, samples: 1, value: () => 0, block: [64, 64], deflate: true, tags: [[322, 3, [16]], [323, 3, [16]], [256, 4, [16]], [257, 4, [16]]] });
    await expect((await open(bomb)).read({ x: 0, y: 0, w: 16, h: 16, bands: null })).rejects.toThrow('has damaged Deflate bytes');
  });

  it('answers any cut or damaged file with a window or one reason', async () => {
    const files = [writeTiff({ ...sane, deflate: true, tags: utm(1) }), writeTiff({ ...sane, block: { rows: 8 }, big: true }), await sharp(Buffer.alloc(64 * 64 * 3, 77), { raw: { width: 64, height: 64, channels: 3 } }).tiff({ compression: 'lzw', predictor: 'horizontal', tile: true, tileWidth: 16, tileHeight: 16 }).toBuffer()];
    await fc.assert(
      fc.asyncProperty(fc.nat(2), fc.option(fc.double({ min: 0, max: 1, noNaN: true })), fc.array(fc.tuple(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.nat(255)), { maxLength: 6 }), fc.boolean(), async (which, cut, flips, nearEnd) => {
        const whole = files[which]!;
        const bytes = new Uint8Array(whole.subarray(0, cut === null ? whole.length : Math.floor(cut * whole.length)));
        // Directories lie at the end of these files: damage there says more.
        for (const [at, value] of flips) if (bytes.length > 0) bytes[nearEnd ? Math.max(0, bytes.length - 1 - Math.floor(at * 400)) : Math.floor(at * bytes.length)] = value;
        try {
          const raster = await open(bytes);
          const window = await raster.read({ x: 0, y: 0, w: Math.min(40, raster.header.width), h: Math.min(40, raster.header.height), bands: null });
          expect(window.bands[0].length).toBe(Math.min(40, raster.header.width) * Math.min(40, raster.header.height));
        } catch (error) {
          expect(error).toBeInstanceOf(RasterRefusal);
        }
      }),
      { numRuns: 600, seed: 7 },
    );
  });
});
