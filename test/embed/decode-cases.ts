/** How tests of decoding have images decoded, and how they compare what came of them. */
import { expect } from 'vitest';
import { CHECK_ONLY, decodeImage, DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import type { Decoded, PreprocessSpec } from '../../src/embed/embedding.ts';

/** To this size, whatever the shape. */
export const exact = (width: number, height: number, more: Partial<PreprocessSpec> = {}): PreprocessSpec => ({
  ...CHECK_ONLY,
  resample: 'bicubic',
  resize: { mode: 'exact', width, height },
  ...more,
});
/** What DINOv2 asks for. */
export const dinov2: PreprocessSpec = { ...CHECK_ONLY, resample: 'bicubic', resize: { mode: 'shortest-edge', size: 256 }, crop: { width: 224, height: 224 } };

export const decode = (bytes: Uint8Array, spec: PreprocessSpec = dinov2): Promise<Decoded> => decodeImage(bytes, spec, DEFAULT_DECODE_LIMITS);

/** The same status, sizes and pixels: far faster than the matcher on arrays of this length. */
export function expectSame(got: Decoded | Uint8Array, want: Decoded | Uint8Array): void {
  const split = (value: Decoded | Uint8Array) => (value instanceof Uint8Array ? { pixels: value } : { pixels: new Uint8Array(), ...value });
  const [a, b] = [split(got), split(want)];
  expect({ ...a, pixels: a.pixels.length }).toEqual({ ...b, pixels: b.pixels.length });
  expect(Buffer.compare(a.pixels, b.pixels)).toBe(0);
}

/** Mean absolute difference in levels of 255. */
export function difference(a: Uint8Array, b: Uint8Array): number {
  expect(a.length).toBe(b.length);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}
