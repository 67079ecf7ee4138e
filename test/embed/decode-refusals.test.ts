/** Files that give no pixels: bombs told by their header, what is no image, and damaged ones. */
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { CHECK_ONLY, decodeImage, DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import { type Decoded, EMBEDDING_STATUSES } from '../../src/embed/embedding.ts';
import { blackPng, claimJpegSize, noise, picture, tiff, tiffTags, toSharp } from '../fixtures/images.ts';
import { startCpuTimer } from '../helpers/cpu-time.ts';
import { decode, dinov2, exact } from './decode-cases.ts';

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
