import { readdirSync, readFileSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { CHECK_ONLY, decodeImage, decoderVersions, DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import { type Decoded, EMBEDDING_STATUSES, type PreprocessSpec } from '../../src/embed/embedding.ts';
import { resample } from '../../src/embed/resample.ts';
import { blackPng, claimJpegSize, insertChunk, noise, orient, picture, pngChunk, type Raw, tiff, tiffTags, toSharp } from '../fixtures/images.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';

const exact = (width: number, height: number, more: Partial<PreprocessSpec> = {}): PreprocessSpec => ({
  ...CHECK_ONLY,
  resample: 'bicubic',
  resize: { mode: 'exact', width, height },
  ...more,
});
const dinov2: PreprocessSpec = { ...CHECK_ONLY, resample: 'bicubic', resize: { mode: 'shortest-edge', size: 256 }, crop: { width: 224, height: 224 } };

const decode = (bytes: Uint8Array, spec: PreprocessSpec = dinov2): Promise<Decoded> => decodeImage(bytes, spec, DEFAULT_DECODE_LIMITS);

async function pixelsOf(bytes: Uint8Array, spec: PreprocessSpec): Promise<Uint8Array> {
  const decoded = await decode(bytes, spec);
  if (decoded.status !== 'ok') throw new Error(`Expected pixels, got ${decoded.status}`);
  return decoded.pixels;
}

/** Far faster than the matcher on arrays of this length. */
function expectSame(got: Decoded | Uint8Array, want: Decoded | Uint8Array): void {
  const split = (value: Decoded | Uint8Array) => (value instanceof Uint8Array ? { pixels: value } : { pixels: new Uint8Array(), ...value });
  const [a, b] = [split(got), split(want)];
  expect({ ...a, pixels: a.pixels.length }).toEqual({ ...b, pixels: b.pixels.length });
  expect(Buffer.compare(a.pixels, b.pixels)).toBe(0);
}

/** Mean absolute difference in levels of 255. */
function difference(a: Uint8Array, b: Uint8Array): number {
  expect(a.length).toBe(b.length);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}

describe('bombs', () => {
  it('refuses huge sizes by the header, in a few milliseconds and megabytes', async () => {
    const small = toSharp(picture(32, 32));
    const gif = Buffer.concat([Buffer.from('GIF89a\xff\xff\xff\xff\0\0\0\x2c\0\0\0\0\xff\xff\xff\xff\0\x08\x02\x4c\x01\0\x3b', 'latin1')]);
    const webp = await small.clone().webp({ lossless: true }).toBuffer();
    webp.writeUInt32LE(0x0fffffff, 21); // 16384 × 16384
    const bombs = {
      png: [blackPng(30_000, 30_000), 'too-many-pixels', 30_000, 30_000],
      jpeg: [claimJpegSize(await small.clone().jpeg().toBuffer(), 65_500, 65_500), 'too-many-pixels', 65_500, 65_500],
      ribbon: [claimJpegSize(await small.clone().jpeg().toBuffer(), 40_000, 16), 'too-long-side', 40_000, 16],
      webp: [webp, 'too-many-pixels', 16_384, 16_384],
      tiff: [tiff(new Uint8Array(64), 60_000, 60_000, tiffTags(2, 8, 3)), 'too-many-pixels', 60_000, 60_000],
      gif: [gif, 'too-many-pixels', 65_535, 65_535],
    } as const;
    expect(bombs.png[0].length).toBeLessThan(1_000_000);
    const before = process.resourceUsage().maxRSS;
    for (const [name, [bytes, status, width, height]] of Object.entries(bombs)) {
      const cpuMs = startCpuTimer();
      expect(await decode(bytes), name).toEqual({ status, width, height });
      expect(cpuMs(), name).toBeLessThan(1000);
    }
    expect((process.resourceUsage().maxRSS - before) / 1024, 'MB').toBeLessThan(100);
  });

  it('keeps its memory small where a header bomb is let through', async () => {
    const before = process.resourceUsage().maxRSS;
    const limits = { ...DEFAULT_DECODE_LIMITS, pixelsMax: 2 ** 30 };
    const decoded = await decodeImage(blackPng(12_000, 12_000), exact(32, 32), limits);
    expect(decoded).toMatchObject({ status: 'ok', width: 12_000, height: 12_000 });
    expect((process.resourceUsage().maxRSS - before) / 1024, 'MB').toBeLessThan(100);
  });

  it('checks the file size before anything else is read', async () => {
    const png = await toSharp(picture(32, 32)).png().toBuffer();
    expect(await decodeImage(png, dinov2, { ...DEFAULT_DECODE_LIMITS, sizeBytesMax: png.length - 1 })).toEqual({ status: 'too-large-file', width: null, height: null });
  });

  it('refuses a side under the least, and takes one at it', async () => {
    const file = (height: number): Promise<Buffer> => toSharp(picture(20, height)).png().toBuffer();
    expect(await decode(await file(7))).toEqual({ status: 'too-small', width: 20, height: 7 });
    expect((await decode(await file(8))).status).toBe('ok');
  });

  it('counts one frame of an animation', async () => {
    const frames = toSharp(picture(40, 400)).clone();
    const { data, info } = await frames.raw().toBuffer({ resolveWithObject: true });
    const gif = await sharp(data, { raw: { width: 40, height: 400, channels: info.channels, pageHeight: 40 } }).gif().toBuffer();
    expect(await decodeImage(gif, dinov2, { ...DEFAULT_DECODE_LIMITS, pixelsMax: 1600, sideMax: 40 })).toMatchObject({ status: 'ok', width: 40, height: 40 });
  });
});

describe('what is no image', () => {
  it.each([
    ['empty', '', 'empty'],
    ['a web page', '<!DOCTYPE html><html><body><svg viewBox="0 0 9 9"><rect width="9" height="9"/></svg></body></html>', 'not-an-image'],
    ['a drawing', '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="9" height="9"/></svg>', 'unsupported-format'],
    ['a document', '%PDF-1.4\n', 'unsupported-format'],
    ['a video', '\0\0\0\x18ftypmp42\0\0\0\0isommp42', 'unsupported-format'],
    ['text', 'Picture 7 is kept elsewhere.', 'not-an-image'],
    ['two bytes of a JPEG', '\xff\xd8', 'truncated'],
  ])('%s', async (_, content, status) => {
    expect(await decode(Buffer.from(content, 'latin1'))).toEqual({ status, width: null, height: null });
  });
});

describe('damage', () => {
  const sizes = [[150, 200], [1000, 1400]] as const;

  it.each(sizes)('finds every cut of a JPEG of %i × %i, below the crop too', async (width, height) => {
    for (const progressive of [false, true]) {
      const jpeg = await toSharp(noise(width, height)).jpeg({ progressive }).toBuffer();
      expect((await decode(jpeg)).status).toBe('ok');
      for (const share of [0.001, 0.02, 0.3, 0.5, 0.9, 0.97, 0.995]) {
        const cut = jpeg.subarray(0, Math.floor(jpeg.length * share));
        for (const spec of [dinov2, CHECK_ONLY]) expect((await decode(cut, spec)).status, `${share}`).toBe('truncated');
      }
      // An interrupted download that left the rest of the file zero.
      const zeroed = Buffer.from(jpeg);
      zeroed.fill(0, Math.floor(jpeg.length * 0.9));
      expect((await decode(zeroed)).status).toBe('truncated');
    }
  });

  it('finds most scrambled codes, though JPEG has no checksum', async () => {
    for (const progressive of [false, true]) {
      const jpeg = await toSharp(picture(150, 200)).jpeg({ progressive }).toBuffer();
      const scan = jpeg.indexOf(Buffer.from([0xff, 0xda]));
      let found = 0;
      for (let seed = 1; seed <= 20; seed++) {
        const scrambled = Buffer.from(jpeg);
        const at = scan + 20 + Math.floor(((jpeg.length - scan - 100) * seed) / 21);
        for (let i = 0; i < 60; i++) scrambled[at + i] = noise(8, 8, seed).data[i]! % 255;
        const { status } = await decode(scrambled);
        expect(['ok', 'corrupt']).toContain(status);
        if (status === 'corrupt') found++;
      }
      expect(found).toBeGreaterThan(12);
    }
  });

  it('finds cuts of every other format', async () => {
    const image = toSharp(noise(120, 90));
    const files = { png: image.clone().png(), gif: image.clone().gif(), webp: image.clone().webp(), tiff: image.clone().tiff({ compression: 'lzw' }), avif: image.clone().avif({ effort: 0 }) };
    for (const [name, file] of Object.entries(files)) {
      const bytes = await file.toBuffer();
      expect((await decode(bytes)).status, name).toBe('ok');
      for (const share of [0.3, 0.7, 0.95]) expect((await decode(bytes.subarray(0, bytes.length * share))).status, `${name} ${share}`).toBe('truncated');
    }
  });

  it('gives a size with the reason where the header is whole', async () => {
    const jpeg = await toSharp(noise(90, 60)).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    expect(await decode(jpeg.subarray(0, jpeg.length / 2))).toEqual({ status: 'truncated', width: 60, height: 90 });
  });

  it('ends with a known status for any damage, the same one every time and in a crowd', async () => {
    const jpeg = await toSharp(noise(40, 30)).jpeg().toBuffer();
    const png = await toSharp(noise(20, 15)).png().toBuffer();
    const gif = await toSharp(noise(20, 15)).gif().toBuffer();
    const change = fc.tuple(fc.nat(3000), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(jpeg, png, gif), fc.array(change, { maxLength: 4 })), { minLength: 6, maxLength: 6 }), async (damages) => {
        const files = damages.map(([file, changes]) => {
          const bytes = Buffer.from(file);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          return bytes;
        });
        const alone: Decoded[] = [];
        for (const file of files) alone.push(await decode(file, CHECK_ONLY));
        const crowd = await Promise.all(files.map((file) => decode(file, CHECK_ONLY)));
        expect(crowd).toEqual(alone);
        for (const { status } of alone) expect(EMBEDDING_STATUSES).toContain(status);
      }),
      { numRuns: 60 },
    );
  });
});

describe('orientation', () => {
  const upright = { small: picture(90, 60), large: picture(1000, 700) };

  it.each(['small', 'large'] as const)('EXIF 1 to 8 give the same upright pixels (%s)', async (size) => {
    const raw = upright[size];
    const want = await pixelsOf(await toSharp(raw).png().toBuffer(), dinov2);
    for (let orientation = 1; orientation <= 8; orientation++) {
      const stored = toSharp(orient(raw, orientation)).withMetadata({ orientation });
      for (const [format, file, tolerance] of [['png', stored.clone().png({ compressionLevel: 1 }), 0.02], ['webp', stored.clone().webp({ lossless: true, effort: 0 }), 0.02], ['jpeg', stored.clone().jpeg({ quality: 95, chromaSubsampling: '4:4:4' }), 1.5]] as const) {
        const decoded = await decode(await file.toBuffer());
        expect(decoded, `${format} ${orientation}`).toMatchObject({ status: 'ok', width: raw.width, height: raw.height });
        // Libvips scales rows and columns in another order after a turn, hence not quite zero for large ones.
        if (decoded.status === 'ok') expect(difference(decoded.pixels, want), `${format} ${orientation}`).toBeLessThan(tolerance);
      }
    }
  });
});

describe('colour', () => {
  const raw = picture(32, 24);
  const spec = exact(32, 24);
  const near = async (bytes: Uint8Array, want: Uint8Array, tolerance: number): Promise<void> => {
    expect(difference(await pixelsOf(bytes, spec), want)).toBeLessThanOrEqual(tolerance);
  };

  it('keeps 8-bit sRGB as it is, with a profile too', async () => {
    await near(await toSharp(raw).png().toBuffer(), raw.data, 0);
    await near(await toSharp(raw).withIccProfile('srgb').png().toBuffer(), raw.data, 0.1);
  });

  it('takes 16 bits by their full range', async () => {
    const deep = Uint16Array.from(raw.data, (value) => value * 257);
    await near(await sharp(deep, { raw: { width: 32, height: 24, channels: 3 } }).toColourspace('rgb16').png().toBuffer(), raw.data, 0);
    await near(tiff(new Uint8Array(deep.buffer), 32, 24, tiffTags(2, 16, 3)), raw.data, 0);
    const grey = Uint8Array.from({ length: 32 * 24 }, (_, i) => (i * 255) / 768);
    const wanted = Uint8Array.from({ length: 32 * 24 * 3 }, (_, i) => grey[Math.floor(i / 3)]!);
    const deepGrey = Uint16Array.from(grey, (value) => value * 257);
    await near(await sharp(deepGrey, { raw: { width: 32, height: 24, channels: 1 } }).toColourspace('grey16').png().toBuffer(), wanted, 0);
    await near(tiff(new Uint8Array(deepGrey.buffer), 32, 24, tiffTags(1, 16, 1)), wanted, 0);
    await near(tiff(new Uint8Array(deepGrey.map((value) => 65535 - value).buffer), 32, 24, tiffTags(0, 16, 1)), wanted, 0);
  });

  it('converts profiles to sRGB at 16 bits as at 8', async () => {
    const deep = Uint16Array.from(raw.data, (value) => value * 257);
    const plain = await sharp(deep, { raw: { width: 32, height: 24, channels: 3 } }).toColourspace('rgb16').png().toBuffer();
    for (const profile of ['srgb', 'p3'] as const) {
      const { icc } = await sharp(await toSharp(raw).withIccProfile(profile).png().toBuffer()).metadata();
      const chunk = pngChunk('iCCP', Buffer.concat([Buffer.from('profile\0\0', 'latin1'), deflateSync(icc!)]));
      const shallow = await pixelsOf(insertChunk(await toSharp(raw).png().toBuffer(), chunk), spec);
      await near(insertChunk(plain, chunk), shallow, 0.6);
      if (profile === 'p3') expect(difference(shallow, raw.data)).toBeGreaterThan(3);
    }
  });

  it('converts CMYK, Lab and linear floats', async () => {
    const muted: Raw = { ...raw, data: raw.data.map((value) => 90 + value / 4) };
    for (const made of [toSharp(muted).toColourspace('cmyk').jpeg({ quality: 100 }), toSharp(muted).toColourspace('cmyk').tiff({ compression: 'lzw' })]) {
      const bytes = await made.toBuffer();
      expect((await sharp(bytes).metadata()).space).toBe('cmyk');
      await near(bytes, muted.data, 6);
    }
    await near(await toSharp(raw).toColourspace('lab').tiff({ compression: 'none' }).toBuffer(), raw.data, 1);
    await near(await toSharp(raw).toColourspace('scrgb').tiff({ compression: 'none' }).toBuffer(), raw.data, 1);
    await near(await toSharp(raw).greyscale().jpeg({ quality: 100 }).toBuffer(), await greyOf(raw), 2);
  });

  it('refuses TIFFs without one meaning as a picture, instead of showing them wrongly', async () => {
    const floats = new Uint8Array(new Float32Array(32 * 24).fill(0.5).buffer);
    expect((await decode(tiff(floats, 32, 24, tiffTags(1, 32, 1, 3)))).status).toBe('unsupported-format');
    expect((await decode(tiff(raw.data, 32, 24, tiffTags(6, 8, 3)))).status).toBe('unsupported-format');
    expect((await decode(tiff(raw.data, 32, 24, [...tiffTags(2, 8, 3), [259, 3, [34712]]]))).status).toBe('unsupported-format');
  });

  it('lays transparency over the background: palette, grey, 16 bits, premultiplied', async () => {
    const red: PreprocessSpec = exact(32, 24, { background: [200, 40, 0] });
    const over = (data: Uint8Array, alpha: (i: number) => number): Uint8Array =>
      data.map((value, i) => Math.round((value * alpha(Math.floor(i / 3)) + red.background[i % 3]! * (255 - alpha(Math.floor(i / 3)))) / 255));
    const alpha = (i: number): number => (i * 7) % 256;
    const rgba = new Uint8Array(32 * 24 * 4);
    for (let i = 0; i < 32 * 24; i++) rgba.set([...raw.data.subarray(i * 3, i * 3 + 3), alpha(i)], i * 4);
    const flat = over(raw.data, alpha);
    const image = toSharp({ ...raw, channels: 4, data: rgba });
    for (const file of [image.clone().png(), image.clone().webp({ lossless: true, exact: true }), image.clone().toColourspace('rgb16').png()]) {
      expect(difference(await pixelsOf(await file.toBuffer(), red), flat)).toBeLessThan(0.6);
    }
    const greyAlpha = Uint8Array.from({ length: 32 * 24 * 2 }, (_, i) => (i % 2 === 0 ? 100 : alpha(i >> 1)));
    expect(await pixelsOf(tiff(greyAlpha, 32, 24, tiffTags(1, 8, 2, 1, [2])), red)).toEqual(over(new Uint8Array(raw.data.length).fill(100), alpha));
    const premultiplied = rgba.map((value, i) => (i % 4 === 3 ? value : Math.round((value * alpha(i >> 2)) / 255)));
    // Eight bits of a premultiplied colour are few where it is nearly transparent, and so is what is seen of it.
    expect(difference(await pixelsOf(tiff(premultiplied, 32, 24, tiffTags(2, 8, 4, 1, [1])), red), flat)).toBeLessThan(0.6);
    // Near infrared is not opacity.
    expect(await pixelsOf(tiff(rgba, 32, 24, tiffTags(2, 8, 4, 1, [0])), red)).toEqual(raw.data);
    const binary = rgba.map((value, i) => (i % 4 === 3 ? (alpha(i >> 2) > 127 ? 255 : 0) : value & 0xc0));
    const palette = await toSharp({ ...raw, channels: 4, data: binary }).png({ palette: true, colours: 256, dither: 0 }).toBuffer();
    expect((await sharp(palette).metadata()).isPalette).toBe(true);
    const posterized = over(raw.data.map((value) => value & 0xc0), (i) => (alpha(i) > 127 ? 255 : 0));
    expect(difference(await pixelsOf(palette, red), posterized)).toBeLessThan(3);
  });

  it('takes the first frame of an animation and the first page', async () => {
    const [width, height] = [32, 24];
    const stacked = new Uint8Array(width * height * 3 * 3);
    stacked.set(raw.data);
    stacked.fill(10, raw.data.length);
    stacked.fill(200, raw.data.length * 2);
    const animation = sharp(stacked, { raw: { width, height: height * 3, channels: 3, pageHeight: height } });
    for (const file of [animation.clone().webp({ lossless: true, delay: [50, 50, 50] }), animation.clone().tiff({ compression: 'lzw' })]) {
      const bytes = await file.toBuffer();
      expect((await sharp(bytes).metadata()).pages).toBe(3);
      expectSame(await decode(bytes, spec), { status: 'ok', width, height, pixels: raw.data });
    }
    await near(await animation.clone().gif({ delay: [50, 50, 50], dither: 0 }).toBuffer(), raw.data, 12);
  });
});

async function greyOf(raw: Raw): Promise<Uint8Array> {
  return new Uint8Array(await toSharp(raw).greyscale().toColourspace('srgb').removeAlpha().png().toBuffer().then((png) => sharp(png).toColourspace('srgb').raw().toBuffer()));
}

describe('scaling', () => {
  it('is the resample of the decoded pixels for small images, in every mode', async () => {
    const raw = noise(150, 110);
    const png = await toSharp(raw).png().toBuffer();
    const source = { width: 150, height: 110 };
    const all = (to: { width: number; height: number }) => ({ left: 0, top: 0, ...to });
    for (const filter of ['nearest', 'bilinear', 'bicubic', 'lanczos'] as const) {
      const to = { width: 224, height: 200 };
      expectSame(await pixelsOf(png, exact(224, 200, { resample: filter })), resample(raw.data, source, to, all(to), filter));
    }
    expectSame(await pixelsOf(png, dinov2), resample(raw.data, source, { width: 349, height: 256 }, { left: 62, top: 16, width: 224, height: 224 }, 'bicubic'));
    const cover = exact(0, 0, { resize: { mode: 'cover', width: 60, height: 80 } });
    expectSame(await pixelsOf(png, cover), resample(raw.data, source, { width: 109, height: 80 }, { left: 24, top: 0, width: 60, height: 80 }, 'bicubic'));
  });

  it('pads what is smaller than the crop with black', async () => {
    const spec = exact(20, 10, { crop: { width: 24, height: 15 } });
    const pixels = await pixelsOf(await toSharp({ ...picture(20, 10), data: new Uint8Array(600).fill(99) }).png().toBuffer(), spec);
    const at = (x: number, y: number): number => pixels[(y * 24 + x) * 3]!;
    expect([at(1, 3), at(2, 2), at(2, 3), at(21, 12), at(22, 12), at(21, 13)]).toEqual([0, 0, 99, 99, 0, 0]);
  });

  let large: Raw;
  beforeAll(() => void (large = picture(1500, 1000)));

  it('is within a level of it for large ones', async () => {
    const source = { width: 1500, height: 1000 };
    const want = resample(large.data, source, { width: 384, height: 256 }, { left: 80, top: 16, width: 224, height: 224 }, 'bicubic');
    for (const file of [toSharp(large).png(), toSharp(large).jpeg({ quality: 98, chromaSubsampling: '4:4:4' }), toSharp(large).ensureAlpha(1).webp({ lossless: true })]) {
      expect(difference(await pixelsOf(await file.toBuffer(), dinov2), want)).toBeLessThan(1);
    }
  });

  it('handles ribbons both ways', async () => {
    for (const [width, height] of [[8000, 40], [40, 8000], [20_000, 400], [400, 20_000]] as const) {
      const png = await sharp({ create: { width, height, channels: 3, background: '#336699' } }).png().toBuffer();
      const decoded = await decode(png);
      expect(decoded).toMatchObject({ status: 'ok', width, height });
      if (decoded.status === 'ok') expect([...decoded.pixels.subarray(0, 3), decoded.pixels.length]).toEqual([0x33, 0x66, 0x99, 224 * 224 * 3]);
    }
  });

  it('gives the same results in a crowd', async () => {
    const files = await Promise.all([toSharp(noise(64, 64)).jpeg().toBuffer(), toSharp(large).jpeg().toBuffer(), toSharp(noise(300, 200)).webp().toBuffer()]);
    const alone = await Promise.all(files.map((file) => decode(file)));
    const crowd = await Promise.all(Array.from({ length: 24 }, (_, i) => decode(files[i % 3]!)));
    crowd.forEach((decoded, i) => expectSame(decoded, alone[i % 3]!));
  });

  it('lets large images that do not stream take turns', async () => {
    const webp = await sharp({ create: { width: 4800, height: 3600, channels: 3, background: '#336699' } }).webp({ effort: 0, lossless: true }).toBuffer();
    const decoded = await Promise.all([decode(webp), decode(webp.subarray(0, webp.length - 9)), decode(webp)]);
    expect(decoded.map(({ status }) => status)).toEqual(['ok', 'truncated', 'ok']);
  });
});

describe('decoderVersions', () => {
  it('names what made the pixels', () => {
    expect(decoderVersions()).toEqual({ sharp: expect.stringMatching(/^0\.\d+\.\d+/), libvips: expect.stringMatching(/^8\.\d+\.\d+/) });
  });
});

const missing = withoutSharedData();
if (missing !== null) process.stderr.write(`${missing}\n`);

describe.skipIf(missing !== null)('files of the test suites of image libraries', () => {
  const folder = `${sharedData}/odd-images`;
  const files = missing === null ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => /\/.*\./.test(path)).sort() : [];
  const results = new Map<string, Decoded>();
  const pixelsAt = (path: string): Uint8Array => {
    const decoded = results.get(path);
    if (decoded?.status !== 'ok') throw new Error(`Expected pixels of ${path}, got ${decoded?.status}`);
    return decoded.pixels;
  };

  beforeAll(async () => {
    for (const path of files) results.set(path, await decode(readFileSync(`${folder}/${path}`)));
  });

  it('ends every one with pixels or a reason', () => {
    const counts: Record<string, Record<string, number>> = {};
    for (const [path, { status }] of results) {
      const category = (counts[path.split('/')[0]!] ??= {});
      category[status] = (category[status] ?? 0) + 1;
    }
    expect(counts).toEqual({
      '16bit-float-lab': { ok: 7, 'unsupported-format': 2 },
      'animated-multipage': { ok: 15 },
      'bomb-limits': { ok: 1, 'too-many-pixels': 2, 'too-small': 1, 'unsupported-format': 1 },
      cmyk: { ok: 3 },
      corrupt: { ok: 18, corrupt: 38, truncated: 25, 'unsupported-format': 23, 'too-small': 3, 'too-many-pixels': 1, empty: 1, 'not-an-image': 1 },
      'exif-orientation': { ok: 21 },
      'grey-alpha-palette': { ok: 7, 'too-small': 3 },
      'icc-gamut': { ok: 2, 'too-small': 1 },
      'not-image': { ok: 1, empty: 1, 'not-an-image': 2, truncated: 1 },
      truncated: { ok: 2, truncated: 3, 'not-an-image': 1 },
      'unsupported-format': { 'unsupported-format': 11, 'not-an-image': 1 },
    });
  });

  it('undoes every orientation', () => {
    for (const orientation of [3, 4, 5, 6, 7, 8]) {
      const turned = pixelsAt(`exif-orientation/pillow__hopper_orientation_${orientation}.webp`);
      expect(difference(turned, pixelsAt('exif-orientation/pillow__hopper_orientation_2.webp'))).toBeLessThan(3); // lossy
    }
    for (const orientation of [3, 5, 7]) {
      const turned = pixelsAt(`exif-orientation/pillow__g4_orientation_${orientation}.tif`);
      expect(difference(turned, pixelsAt('exif-orientation/pillow__g4_orientation_1.tif'))).toBeLessThan(1); // drawn anew each time
    }
    expect(results.get('exif-orientation/libvips__avif-orientation-6.avif')).toMatchObject({ width: 3024, height: 4032 });
  });

  // Mean red, green and blue of Pillow 12.3 with LittleCMS, same resize and crop, white background.
  it.each([
    ['exif-orientation/sharp__Landscape_6.jpg', [109, 106, 102]],
    ['exif-orientation/libvips__avif-orientation-6.avif', [144, 110, 74]],
    ['cmyk/sharp__Channel_digital_image_CMYK_color.jpg', [111, 116, 106]],
    ['16bit-float-lab/sharp__16-bit-grey-alpha.png', [247, 247, 247]],
    ['16bit-float-lab/sharp__bggn4a16.png', [203, 203, 203]],
    ['16bit-float-lab/sharp__tifftag-photoshop.tiff', [27, 33, 9]],
    ['grey-alpha-palette/sharp__grey-8bit-alpha.png', [239, 239, 239]],
    ['grey-alpha-palette/sharp__with-alpha.png', [147, 87, 215]],
    ['grey-alpha-palette/pillow__rgb_trns.png', [128, 191, 173]],
    ['animated-multipage/pillow__iss634.webp', [131, 134, 90]],
    ['animated-multipage/pillow__dispose_none.gif', [53, 158, 251]],
    ['animated-multipage/pillow__multipage_out_of_order.tiff', [0, 128, 0]],
    ['truncated/pillow__truncated_end_chunk.png', [96, 82, 92]],
  ])('%s has the colours it should', (path, want) => {
    const pixels = pixelsAt(path);
    const sums = [0, 0, 0];
    pixels.forEach((value, i) => (sums[i % 3]! += value));
    sums.forEach((sum, c) => expect(Math.abs((sum * 3) / pixels.length - want[c]!)).toBeLessThan(1.2));
  });

  it('says the same of all of them at once', async () => {
    const paths = files.filter((path) => !path.endsWith('.avif'));
    const crowd = await Promise.all(paths.map((path) => decode(readFileSync(`${folder}/${path}`))));
    crowd.forEach((decoded, i) => expectSame(decoded, results.get(paths[i]!)!));
  });
});
