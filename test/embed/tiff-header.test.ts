import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { readTiffHeader } from '../../src/embed/tiff-header.ts';
import { picture, tiff, tiffTags, toSharp } from '../fixtures/images.ts';

const pixels = (bytes: number): Uint8Array => new Uint8Array(bytes);

describe('readTiffHeader', () => {
  it.each([
    ['grey 1 bit', tiffTags(1, 1, 1), true],
    ['grey 8 bits, white is zero', tiffTags(0, 8, 1), true],
    ['grey 16 bits', tiffTags(1, 16, 1), true],
    ['grey 12 bits', tiffTags(1, 12, 1), false],
    ['grey signed', tiffTags(1, 16, 1, 2), false],
    ['grey 32 bits', tiffTags(1, 32, 1), false],
    ['grey float', tiffTags(1, 32, 1, 3), false],
    ['grey and alpha', tiffTags(1, 8, 2, 1, [2]), true],
    ['five channels of an instrument', tiffTags(1, 8, 5, 1, [0, 0, 0, 0]), false],
    ['RGB', tiffTags(2, 8, 3), true],
    ['RGB 16 bits', tiffTags(2, 16, 3), true],
    ['RGB float', tiffTags(2, 32, 3, 3), true],
    ['RGB double', tiffTags(2, 64, 3, 3), false],
    ['RGB and near infrared', tiffTags(2, 8, 4, 1, [0]), true],
    ['RGB of two samples', tiffTags(2, 8, 2), false],
    ['RGB and eight more', tiffTags(2, 8, 11, 1, [0, 0, 0, 0, 0, 0, 0, 0]), false],
    ['CMYK', tiffTags(5, 8, 4), true],
    ['YCbCr without JPEG', tiffTags(6, 8, 3), false],
    ['YCbCr in JPEG', [...tiffTags(6, 8, 3), [259, 3, [7]] as const], true],
    ['mask', tiffTags(4, 1, 1), false],
    ['colour filter array', tiffTags(32803, 16, 1), false],
    ['DNG', [...tiffTags(2, 8, 3), [50706, 3, [1]] as const], false],
    ['thumbnail first', [...tiffTags(2, 8, 3), [254, 4, [1]] as const], false],
  ] as const)('%s', (_, tags, isPicture) => {
    expect(readTiffHeader(tiff(pixels(64), 2, 2, [...tags]))?.isPicture).toBe(isPicture);
  });

  it.each([
    ['no more bands', tiffTags(2, 8, 3), 'none'],
    ['undescribed', tiffTags(2, 8, 4), 'alpha'],
    ['unspecified', tiffTags(2, 8, 4, 1, [0]), 'other'],
    ['associated', tiffTags(2, 8, 4, 1, [1]), 'alpha'],
    ['unassociated', tiffTags(2, 8, 4, 1, [2]), 'alpha'],
  ] as const)('extra bands: %s', (_, tags, extraBands) => {
    expect(readTiffHeader(tiff(pixels(64), 2, 2, [...tags]))?.extraBands).toBe(extraBands);
  });

  it('reads what libvips writes, big and small, little- and big-endian', async () => {
    const image = toSharp(picture(20, 10));
    for (const options of [{}, { bigtiff: true }, { tile: true }, { compression: 'jpeg' as const }, { predictor: 'horizontal' as const }]) {
      const bytes = await image.clone().tiff(options).toBuffer();
      const header = readTiffHeader(bytes);
      expect(header, JSON.stringify(options)).toMatchObject({ isPicture: true, extraBands: 'none', isCommonCompression: true });
      expect(header!.endByte).toBeLessThanOrEqual(bytes.length);
      expect(readTiffHeader(bytes.subarray(0, bytes.length - 1))!.endByte).toBeGreaterThan(bytes.length - 1);
    }
    const lab = await image.clone().toColourspace('lab').tiff({ compression: 'none' }).toBuffer();
    expect(readTiffHeader(lab)?.isPicture).toBe(true);
    expect((await sharp(lab).metadata()).space).toBe('lab');
  });

  it('never throws', () => {
    const whole = tiff(pixels(30), 5, 2, tiffTags(2, 8, 3));
    fc.assert(
      fc.property(fc.nat(whole.length), fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 20 }), (cut, changes) => {
        const broken = Buffer.from(whole);
        for (const [at, value] of changes) broken[at] = value;
        readTiffHeader(broken.subarray(0, cut));
      }),
      { numRuns: 3000 },
    );
  });
});
