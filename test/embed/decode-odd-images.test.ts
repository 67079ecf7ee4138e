/** Odd files of the test suites of image libraries: each ends with pixels or a reason, and pixels have the right colours. */
import { readdirSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Decoded } from '../../src/embed/embedding.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { decode, difference, expectSame } from './decode-cases.ts';

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
