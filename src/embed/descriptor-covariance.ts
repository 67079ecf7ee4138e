/**
 * How colour, texture and place go together in an image: the covariance of 22 quantities over its pixels (Tuzel, Porikli
 * and Meer, "Region Covariance", ECCV 2006), joined with their means into one positive matrix (Gaussian embedding, Li et
 * al., CVPR 2017), of which the matrix square root is taken (MPN-COV, Li et al., ICCV 2017) before dot products compare
 * it. The root keeps a few strong variances from drowning the rest; a root of each entry instead does worse than none.
 * No quantity changes in the mirror image, so neither does the block.
 */
import { HALF, HALF_STRIDE, type Planes, STRIDE } from './descriptor-planes.ts';
import { createSquareRoot } from './descriptor-root.ts';

const QUANTITIES = 22;
/** The first of them. */
const PLACES = 3;
/** The quantities and the constant 1 that carries their means. */
const ORDER = QUANTITIES + 1;
const PIXELS = HALF * HALF;
/** Weight of means against covariances. */
const MEAN_WEIGHT = 0.3;

/** Entries of a symmetric matrix on and above its diagonal. */
export const COVARIANCE_DIMS = (ORDER * (ORDER + 1)) / 2;

/** Makes the covariance block: COVARIANCE_DIMS values from `start` whose squares add up to 1. */
export function createCovarianceBlock(): (planes: Planes, out: Float32Array, start: number) => void {
  // quantity-major: quantities[q · PIXELS + pixel]
  const quantities = new Float64Array(QUANTITIES * PIXELS);
  const means = new Float64Array(QUANTITIES);
  const matrix = new Float64Array(ORDER * ORDER);
  const root = new Float64Array(ORDER * ORDER);
  const squareRoot = createSquareRoot(ORDER);
  writePlaces(quantities);
  return (planes, out, start) => {
    writeColours(planes, quantities);
    writeFineTexture(planes, quantities);
    writeCoarseTexture(planes, quantities);
    // The means of places are the same for every image and stay zero.
    for (let q = PLACES; q < QUANTITIES; q++) means[q] = centre(quantities.subarray(q * PIXELS, (q + 1) * PIXELS));
    embed(quantities, means, matrix);
    squareRoot(matrix, root);
    writeUpper(root, out, start);
  };
}

/** Quantities 0–2: height, distance from the middle column, distance from the middle. The same for every image, so written and centred once. */
function writePlaces(out: Float64Array): void {
  for (let i = 0; i < PIXELS; i++) {
    const y = (Math.floor(i / HALF) + 0.5) / HALF;
    const x = ((i % HALF) + 0.5) / HALF;
    out[i] = 3.4 * y;
    out[PIXELS + i] = 6.8 * Math.abs(x - 0.5);
    out[2 * PIXELS + i] = 6 * Math.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2);
  }
  for (let q = 0; q < PLACES; q++) centre(out.subarray(q * PIXELS, (q + 1) * PIXELS));
}

/** Quantities 3–8: L*, a*, b*, chroma, and the size of the gradients of a* and b*. Divisors bring each to about unit variance. */
function writeColours({ halfLightness, halfA, halfB }: Planes, out: Float64Array): void {
  for (let i = 0; i < PIXELS; i++) {
    const at = ((i >> 5) + 1) * HALF_STRIDE + (i & 31) + 1;
    const a = halfA[at]!;
    const b = halfB[at]!;
    out[3 * PIXELS + i] = halfLightness[at]! / 25;
    out[4 * PIXELS + i] = a / 11;
    out[5 * PIXELS + i] = b / 11;
    out[6 * PIXELS + i] = Math.sqrt(a * a + b * b) / 11;
    out[7 * PIXELS + i] = gradient(halfA, at) / 6;
    out[8 * PIXELS + i] = gradient(halfB, at) / 6;
  }
}

function gradient(plane: Float32Array, at: number): number {
  const dx = plane[at + 1]! - plane[at - 1]!;
  const dy = plane[at + HALF_STRIDE]! - plane[at - HALF_STRIDE]!;
  return Math.sqrt(dx * dx + dy * dy);
}

/** Quantities 9–16: derivatives of L* at 64 × 64, summed over 2 × 2 pixels. */
function writeFineTexture({ lightness }: Planes, out: Float64Array): void {
  for (let i = 0; i < PIXELS; i++) {
    const corner = (2 * (i >> 5) + 1) * STRIDE + 2 * (i & 31) + 1;
    let across = 0;
    let down = 0;
    let downSigned = 0;
    let falling = 0;
    let rising = 0;
    let acrossTwice = 0;
    let downTwice = 0;
    let laplacian = 0;
    for (let q = 0; q < 4; q++) {
      const at = corner + (q >> 1) * STRIDE + (q & 1);
      const twice = 2 * lightness[at]!;
      const left = lightness[at - 1]!;
      const right = lightness[at + 1]!;
      const above = lightness[at - STRIDE]!;
      const below = lightness[at + STRIDE]!;
      across += Math.abs(right - left);
      down += Math.abs(below - above);
      downSigned += below - above;
      falling += Math.abs(lightness[at + STRIDE + 1]! - lightness[at - STRIDE - 1]!);
      rising += Math.abs(lightness[at + STRIDE - 1]! - lightness[at - STRIDE + 1]!);
      const dxx = right + left - twice;
      const dyy = below + above - twice;
      acrossTwice += Math.abs(dxx);
      downTwice += Math.abs(dyy);
      laplacian += dxx + dyy;
    }
    out[9 * PIXELS + i] = across / 48;
    out[10 * PIXELS + i] = down / 48;
    out[11 * PIXELS + i] = (falling + rising) / 100;
    out[12 * PIXELS + i] = Math.abs(falling - rising) / 40;
    out[13 * PIXELS + i] = acrossTwice / 32;
    out[14 * PIXELS + i] = downTwice / 32;
    out[15 * PIXELS + i] = downSigned / 60;
    out[16 * PIXELS + i] = laplacian / 60;
  }
}

/** Quantities 17–21: derivatives of L* at 32 × 32. */
function writeCoarseTexture({ halfLightness }: Planes, out: Float64Array): void {
  for (let i = 0; i < PIXELS; i++) {
    const at = ((i >> 5) + 1) * HALF_STRIDE + (i & 31) + 1;
    const twice = 2 * halfLightness[at]!;
    const left = halfLightness[at - 1]!;
    const right = halfLightness[at + 1]!;
    const above = halfLightness[at - HALF_STRIDE]!;
    const below = halfLightness[at + HALF_STRIDE]!;
    out[17 * PIXELS + i] = Math.abs(right - left) / 15;
    out[18 * PIXELS + i] = Math.abs(below - above) / 15;
    out[19 * PIXELS + i] = (below - above) / 20;
    out[20 * PIXELS + i] = Math.abs(right + left - twice) / 8;
    out[21 * PIXELS + i] = Math.abs(below + above - twice) / 8;
  }
}

/** Subtracts the mean. @returns it */
function centre(plane: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < PIXELS; i++) sum += plane[i]!;
  const mean = sum / PIXELS;
  for (let i = 0; i < PIXELS; i++) plane[i]! -= mean;
  return mean;
}

/** matrix = [[Σ + w² μ μᵀ, w μ], [w μᵀ, 1]], μ the means and w their weight. */
function embed(quantities: Float64Array, means: Float64Array, matrix: Float64Array): void {
  const last = ORDER - 1;
  for (let u = 0; u < QUANTITIES; u++) {
    const meanU = MEAN_WEIGHT * means[u]!;
    for (let v = u; v < QUANTITIES; v++) {
      const covariance = dot(quantities, u * PIXELS, v * PIXELS) / PIXELS;
      const entry = covariance + meanU * MEAN_WEIGHT * means[v]!;
      matrix[u * ORDER + v] = entry;
      matrix[v * ORDER + u] = entry;
    }
    matrix[u * ORDER + last] = meanU;
    matrix[last * ORDER + u] = meanU;
  }
  matrix[ORDER * ORDER - 1] = 1;
}

/** Four sums side by side: a processor adds into one only every few cycles. */
function dot(values: Float64Array, a: number, b: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let i = 0; i < PIXELS; i += 4) {
    s0 += values[a + i]! * values[b + i]!;
    s1 += values[a + i + 1]! * values[b + i + 1]!;
    s2 += values[a + i + 2]! * values[b + i + 2]!;
    s3 += values[a + i + 3]! * values[b + i + 3]!;
  }
  return s0 + s1 + (s2 + s3);
}

/** Upper triangle, row by row; √2 off the diagonal makes dot products those of the whole matrices. The root's squares add up to the trace of the matrix. */
function writeUpper(root: Float64Array, out: Float32Array, start: number): void {
  let squares = 0;
  for (let i = 0; i < ORDER * ORDER; i++) squares += root[i]! * root[i]!;
  const scale = 1 / Math.sqrt(squares);
  let at = start;
  for (let u = 0; u < ORDER; u++) {
    out[at++] = scale * root[u * ORDER + u]!;
    for (let v = u + 1; v < ORDER; v++) out[at++] = scale * Math.SQRT2 * root[u * ORDER + v]!;
  }
}
