/** The pixels that images decode to: upright, of the right colours, scaled as asked, alone and in a crowd. */
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { decoderVersions } from '../../src/embed/decode.ts';
import type { PreprocessSpec } from '../../src/embed/embedding.ts';
import { resample } from '../../src/embed/resample.ts';
import { insertChunk, noise, orient, picture, pngChunk, type Raw, tiff, tiffTags, toSharp } from '../fixtures/images.ts';
import { decode, difference, dinov2, exact, expectSame } from './decode-cases.ts';

async function pixelsOf(bytes: Uint8Array, spec: PreprocessSpec): Promise<Uint8Array> {
  const decoded = await decode(bytes, spec);
  if (decoded.status !== 'ok') throw new Error(`Expected pixels, got ${decoded.status}`);
  return decoded.pixels;
}

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
