import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { addColours, sumColours, totalColours } from '../../src/ingest/colour-sums.ts';
import { encodePng } from '../../src/ingest/png.ts';
import { absentShare, toTile } from '../../src/ingest/tile-pixels.ts';
import { type Tile, type TileLook, formatTilePath, parseTilePath } from '../../src/ingest/tile-path.ts';

const LOOK: TileLook = { size: 4, bands: null, range: null, nodata: null };
const BYTES = { range: [0, 255] } as const;

describe('toTile', () => {
  it('takes samples of a byte as they are', () => {
    const band = Uint8Array.from({ length: 16 }, (_, i) => i * 3);
    const tile = toTile({ bands: [band, band.map((value) => value + 1), band.map((value) => value + 2)], absent: null }, 4, 4, LOOK, BYTES);
    expect(tile).toEqual(Uint8Array.from({ length: 48 }, (_, i) => i));
  });

  it('maps a range to bytes, clamped, and what is not a number to 0', () => {
    const band = Float32Array.from([-5, 0, 0.5, 1, 2, Number.NaN, Number.POSITIVE_INFINITY, 0.25, 0, 0, 0, 0, 0, 0, 0, 0]);
    const tile = toTile({ bands: [band, band, band], absent: null }, 4, 4, { ...LOOK, range: [0, 1] }, { range: null });
    expect(Array.from(tile.filter((_, i) => i % 3 === 1)).slice(0, 8)).toEqual([0, 0, 128, 255, 255, 0, 255, 64]);
    expect(() => toTile({ bands: [band, band, band], absent: null }, 4, 4, LOOK, { range: null })).toThrow('say with `range` which values are black and white');
  });

  it('paints pixels without data black and tells their share', () => {
    const band = new Uint16Array(16).fill(65535);
    const window = { bands: [band, band, band.map((value, i) => (i === 7 ? 1 : value))], absent: Uint8Array.from({ length: 16 }, (_, i) => (i < 4 ? 1 : 0)) } as const;
    const tile = toTile(window, 4, 4, LOOK, { range: [0, 65535] });
    expect(Array.from(tile.subarray(0, 12))).toEqual(new Array(12).fill(0));
    expect(Array.from(tile.subarray(12, 15))).toEqual([255, 255, 255]);
    expect(absentShare(window, LOOK)).toBe(0.25);
    // All bands have to have the value, so pixel 7 counts as data.
    expect(absentShare(window, { ...LOOK, nodata: 65535 })).toBe(15 / 16);
    expect(window.absent.reduce((sum, one) => sum + one, 0)).toBe(4);
  });

  it('scales like libvips and Pillow do with a triangle, and keeps flat colour flat', async () => {
    const [w, h] = [90, 70];
    const bands = [0, 1, 2].map((c) => Uint8Array.from({ length: w * h }, (_, i) => Math.round(128 + 100 * Math.sin((i % w) / (9 + c)) * Math.cos(Math.floor(i / w) / 7)))) as [Uint8Array, Uint8Array, Uint8Array];
    const tile = toTile({ bands, absent: null }, w, h, { ...LOOK, size: 32 }, BYTES);
    const whole = Buffer.from(Array.from({ length: w * h * 3 }, (_, i) => bands[i % 3]![Math.floor(i / 3)]!));
    const other = await sharp(whole, { raw: { width: w, height: h, channels: 3 } }).resize(32, 32, { fit: 'fill', kernel: 'linear', fastShrinkOnLoad: false }).raw().toBuffer();
    expect(Math.max(...tile.map((value, i) => Math.abs(value - other[i]!)))).toBeLessThanOrEqual(3);
    const flat = new Uint8Array(w * h).fill(201);
    for (const size of [16, 90, 200]) expect(new Set(toTile({ bands: [flat, flat, flat], absent: null }, w, h, { ...LOOK, size }, BYTES))).toEqual(new Set([201]));
  });
});

describe('encodePng', () => {
  it('keeps every pixel', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 20 }), fc.nat(), async (width, height, seed) => {
        const rgb = Uint8Array.from({ length: width * height * 3 }, (_, i) => (seed % 3 === 0 ? Math.imul(i + seed, 2654435761) >>> 24 : (i * 5) & 255));
        const png = await encodePng(rgb, width, height);
        const { data, info } = await sharp(png, { failOn: 'warning' }).raw().toBuffer({ resolveWithObject: true });
        expect([info.width, info.height, info.channels]).toEqual([width, height, 3]);
        expect(new Uint8Array(data)).toEqual(rgb);
        expect(Buffer.compare(png, await encodePng(rgb, width, height))).toBe(0);
      }),
      { numRuns: 30 },
    );
  });
});

describe('tile paths', () => {
  const anyTile: fc.Arbitrary<Tile> = fc.record({
    raster: fc.oneof(fc.string({ unit: 'grapheme', minLength: 1 }), fc.constant('a#xywh=1,2,3,4&size=5')),
    x: fc.nat(2 ** 31 - 1), y: fc.nat(2 ** 31 - 1), w: fc.integer({ min: 1, max: 4096 }), h: fc.integer({ min: 1, max: 4096 }),
    look: fc.record({
      size: fc.integer({ min: 1, max: 2048 }),
      bands: fc.option(fc.tuple(fc.integer({ min: 1, max: 1024 }), fc.integer({ min: 1, max: 1024 }), fc.integer({ min: 1, max: 1024 }))),
      range: fc.option(fc.tuple(fc.double({ min: -1e9, max: 0, noNaN: true, noDefaultInfinity: true }).map((one) => one + 0), fc.double({ min: 1e-9, max: 1e12, noNaN: true }))),
      nodata: fc.option(fc.double({ min: -3.4e38, max: 3.4e38, noNaN: true }).map((one) => one + 0)),
    }),
  });

  it('say all that decides a tile, and nothing is lost', () => {
    fc.assert(
      fc.property(anyTile, (tile) => {
        expect(parseTilePath(formatTilePath(tile))).toEqual(tile);
      }),
    );
    expect(formatTilePath({ raster: 'scenes/a.tif', x: 1024, y: 96, w: 512, h: 512, look: { size: 512, bands: [4, 3, 2], range: [0, 3000], nodata: 0 } })).toBe('scenes/a.tif#xywh=1024,96,512,512&size=512&bands=4,3,2&range=0,3000&nodata=0');
  });

  it('that are none, or ask for too much, are those of files', () => {
    for (const path of ['a.tif', 'a.tif#xywh=1,2,3,4', '#xywh=0,0,4,4&size=4', 'a#xywh=0,0,0,4&size=4', 'a#xywh=0,0,99999,99999&size=4', 'a#xywh=0,0,4,4&size=9999', 'a#xywh=0,0,4,4&size=0', 'a#xywh=0,0,4,4&size=4&range=5,1', 'a#xywh=0,0,4,4&size=4&bands=0,1,2', 'a#xywh=0,0,4,4&size=4&bands=1,2']) {
      expect(parseTilePath(path), path).toBeNull();
    }
  });
});

describe('colour sums', () => {
  it('are the same for any order and grouping, beyond 2^53', () => {
    const tile = sumColours(Uint8Array.from({ length: 300 }, (_, i) => (i * 91) & 255));
    const dark = sumColours(new Uint8Array(30));
    const [a, b] = [addColours(addColours(undefined, tile), dark), addColours(dark, tile)];
    expect(a).toEqual(b);
    expect(totalColours([tile, undefined, dark])).toEqual(totalColours([a]));
    expect(totalColours([undefined])).toBeUndefined();
    const huge = { pixels: 2 ** 50, sum: [2 ** 52, 0, 1], squares: [2 ** 53 - 1, 0, 1] };
    const total = totalColours([huge, huge, totalColours([huge, huge])])!;
    expect([total.pixels, total.squares[0]]).toEqual([String(2n ** 52n), String(4n * (2n ** 53n - 1n))]);
  });

  it('give the mean and deviation of all pixels', () => {
    const rgb = Uint8Array.from({ length: 3000 }, (_, i) => (i % 3 === 1 ? 255 : Math.imul(i, 2654435761) >>> 24));
    const { mean, std } = totalColours([sumColours(rgb.subarray(0, 999)), sumColours(rgb.subarray(999))])!;
    for (let c = 0; c < 3; c++) {
      const values = Array.from(rgb.filter((_, i) => i % 3 === c), (value) => value / 255);
      const average = values.reduce((sum, value) => sum + value, 0) / values.length;
      expect(mean[c]).toBeCloseTo(average, 10);
      expect(std[c]).toBeCloseTo(Math.sqrt(values.reduce((sum, value) => sum + (value - average) ** 2, 0) / values.length), 6);
    }
    expect(std[1]).toBe(0);
  });
});
