/**
 * What blur and flatness are measured on: 8-bit luma of an image scaled down to at most 65,536 pixels, aspect kept, never up.
 * Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy"), which
 * depends on scale and contrast: the bounded size makes images of all resolutions comparable and says how soft a picture is at
 * the size it will be trained at, not at its own. Departure: 4-neighbour kernel with edges repeated, on integers.
 */
import type { PreprocessSpec } from '../embed/embedding.ts';
import type { BlurRule, FlatRule } from './filter.ts';

export interface LumaFigures {
  /** Variance of the Laplacian. */
  readonly sharpness: number;
  /** Standard deviation, 0 … 127.5. */
  readonly deviation: number;
  /** Entropy of the histogram in bits, 0 … 8. */
  readonly entropy: number;
}

const PIXELS_MAX = 2 ** 16;

/** How an image of that size is decoded to be measured. */
export function lumaSpec(width: number, height: number): PreprocessSpec {
  const scale = Math.min(1, Math.sqrt(PIXELS_MAX / (width * height)));
  const side = (length: number): number => Math.max(1, Math.round(length * scale));
  return {
    resize: { mode: 'exact', width: side(width), height: side(height) },
    crop: null, resample: 'bilinear', background: [255, 255, 255], layout: 'nhwc', type: 'uint8', rescale: 1, mean: [0, 0, 0], std: [1, 1, 1],
  };
}

/**
 * All sums are of integers, so the figures do not depend on the order of the pixels.
 *
 * @param pixels RGB, height × width × 3
 */
export function measureLuma(pixels: Uint8Array, width: number, height: number): LumaFigures {
  const luma = toLuma(pixels);
  const counts = new Uint32Array(256);
  for (const value of luma) counts[value]!++;
  const n = luma.length;
  let [sum, squares, entropy] = [0, 0, 0];
  counts.forEach((count, value) => {
    sum += count * value;
    squares += count * value * value;
    if (count > 0) entropy -= (count / n) * Math.log2(count / n);
  });
  return { sharpness: laplacianVariance(luma, width, height), deviation: Math.sqrt(Math.max(0, squares / n - (sum / n) ** 2)), entropy: Math.max(0, entropy) };
}

/** What is wrong with an image by such a rule, for people, or null. */
export function lumaFault(rule: BlurRule | FlatRule, { sharpness, deviation, entropy }: LumaFigures): string | null {
  const below = (name: string, value: number, least: number): string | null => (value < least ? `${name} ${value.toFixed(2)}, at least ${least} wanted` : null);
  if (rule.kind === 'blur') return below('sharpness', sharpness, rule.blur.sharpnessMin);
  return below('deviation', deviation, rule.flat.deviationMin) ?? below('entropy', entropy, rule.flat.entropyMin);
}

/** Rec. 601 weights in thousandths, rounded to the nearest. */
function toLuma(pixels: Uint8Array): Uint8Array {
  const luma = new Uint8Array(pixels.length / 3);
  for (let i = 0, p = 0; i < luma.length; i++, p += 3) luma[i] = (299 * pixels[p]! + 587 * pixels[p + 1]! + 114 * pixels[p + 2]! + 500) / 1000;
  return luma;
}

function laplacianVariance(luma: Uint8Array, width: number, height: number): number {
  let [sum, squares] = [0, 0];
  for (let y = 0; y < height; y++) {
    const row = y * width;
    const above = y === 0 ? row : row - width;
    const below = y === height - 1 ? row : row + width;
    for (let x = 0; x < width; x++) {
      const value = luma[above + x]! + luma[below + x]! + luma[row + (x === 0 ? 0 : x - 1)]! + luma[row + (x === width - 1 ? x : x + 1)]! - 4 * luma[row + x]!;
      sum += value;
      squares += value * value;
    }
  }
  const n = width * height;
  return squares / n - (sum / n) ** 2;
}
