import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Filter, resample, resampleCost } from '../../src/embed/resample.ts';

function pattern(width: number, height: number): Uint8Array {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const check = ((Math.floor(x / 5) + Math.floor(y / 3)) % 2) * 120;
      for (let c = 0; c < 3; c++) data[(y * width + x) * 3 + c] = (x * 53 + y * 97 + c * 151 + x * y * 29 + check) % 256;
    }
  }
  return data;
}

const whole = (width: number, height: number) => ({ left: 0, top: 0, width, height });

describe('resample', () => {
  it('gives the bytes of Pillow 12.3: bicubic 5 × 4 to 3 × 2', () => {
    const got = resample(pattern(5, 4), { width: 5, height: 4 }, { width: 3, height: 2 }, whole(3, 2), 'bicubic');
    expect([...got]).toEqual([82, 172, 128, 83, 106, 134, 153, 105, 131, 126, 125, 172, 101, 134, 146, 112, 118, 163]);
  });

  // SHA-256 (first 16 digits) of `Image.fromarray(pattern).resize((width, height), filter).tobytes()`.
  it.each([
    [64, 64, 224, 224, 'nearest', '8b8564ef4c5610aa'],
    [64, 64, 224, 224, 'lanczos', 'b01fb95c3d1a2d23'],
    [64, 64, 224, 224, 'bilinear', '7dc4ace5b9c8547a'],
    [64, 64, 224, 224, 'bicubic', 'cb30794a72b95e6b'],
    [128, 96, 224, 168, 'nearest', '0df491cc6773ed0f'],
    [128, 96, 224, 168, 'bicubic', 'dc644f470d2ce817'],
    [500, 375, 341, 256, 'nearest', '79cc66f501f90232'],
    [500, 375, 341, 256, 'lanczos', 'f58223b78771e231'],
    [500, 375, 341, 256, 'bilinear', 'e6f928396596df39'],
    [500, 375, 341, 256, 'bicubic', '93f8aec67aa576ad'],
    [333, 500, 256, 384, 'bicubic', 'a4e71ae78154067c'],
    [37, 61, 61, 37, 'nearest', '93b5fe2fc03e1d16'],
    [37, 61, 61, 37, 'lanczos', '99d2d85a6b883a52'],
    [37, 61, 61, 37, 'bilinear', '3c7bfd146753703f'],
    [37, 61, 61, 37, 'bicubic', '0d1880d649721063'],
    [1, 1, 5, 4, 'lanczos', 'ec08c54e7e9ad8c3'],
    [300, 7, 20, 40, 'nearest', '50e0c6be6487f25d'],
    [300, 7, 20, 40, 'lanczos', '1281da089f2db20f'],
    [300, 7, 20, 40, 'bicubic', 'b9f095d9849e3faa'],
  ] as const)('gives the bytes of Pillow 12.3: %i × %i to %i × %i, %s', (fromWidth, fromHeight, width, height, filter, golden) => {
    const got = resample(pattern(fromWidth, fromHeight), { width: fromWidth, height: fromHeight }, { width, height }, whole(width, height), filter);
    expect(createHash('sha256').update(got).digest('hex').slice(0, 16)).toBe(golden);
  });

  const side = fc.integer({ min: 1, max: 40 });
  const filters = fc.constantFrom<Filter>('nearest', 'bilinear', 'bicubic', 'lanczos');

  it('computes any window as the whole would have it', () => {
    fc.assert(
      fc.property(side, side, side, side, fc.nat(), fc.nat(), fc.nat(), fc.nat(), filters, (fw, fh, tw, th, a, b, c, d, filter) => {
        const left = a % tw;
        const top = b % th;
        const window = { left, top, width: 1 + (c % (tw - left)), height: 1 + (d % (th - top)) };
        const from = { width: fw, height: fh };
        const all = resample(pattern(fw, fh), from, { width: tw, height: th }, whole(tw, th), filter);
        const part = resample(pattern(fw, fh), from, { width: tw, height: th }, window, filter);
        for (let y = 0; y < window.height; y++) {
          const start = ((top + y) * tw + left) * 3;
          expect(part.subarray(y * window.width * 3, (y + 1) * window.width * 3)).toEqual(all.subarray(start, start + window.width * 3));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('keeps a constant image constant and the same size unchanged', () => {
    fc.assert(
      fc.property(side, side, side, side, fc.integer({ min: 0, max: 255 }), filters, (fw, fh, tw, th, value, filter) => {
        const flat = new Uint8Array(fw * fh * 3).fill(value);
        const got = resample(flat, { width: fw, height: fh }, { width: tw, height: th }, whole(tw, th), filter);
        expect(got.every((byte) => byte === value)).toBe(true);
        const same = pattern(fw, fh);
        expect(resample(same, { width: fw, height: fh }, { width: fw, height: fh }, whole(fw, fh), filter)).toEqual(same);
      }),
    );
  });

  it('refuses lengths and windows that do not fit', () => {
    const from = { width: 4, height: 4 };
    expect(() => resample(new Uint8Array(47), from, from, whole(4, 4), 'bicubic')).toThrow('width · height · 3');
    expect(() => resample(new Uint8Array(48), from, from, { ...whole(4, 4), left: 1 }, 'bicubic')).toThrow('window');
  });

  it('estimates more work for larger sources and wider filters', () => {
    const to = { width: 224, height: 224 };
    const cost = (edge: number, filter: Filter) => resampleCost({ width: edge, height: edge }, to, whole(224, 224), filter);
    expect(cost(64, 'bicubic')).toBeLessThan(cost(512, 'bicubic'));
    expect(cost(512, 'bilinear')).toBeLessThan(cost(512, 'lanczos'));
  });
});
