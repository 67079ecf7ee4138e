/**
 * The planes the built-in descriptor looks at: CIE L*a*b* (1976, D65) of an sRGB image at 64 × 64, and their 2 × 2
 * means at 32 × 32. Lightness and colour are separated so that each can be weighed; distances in this space are close
 * to what people see. Departure: the cube root comes from a table of 4,096 steps.
 */

/** Pixels of a side of the image, and of its 2 × 2 means. */
export const SIDE = 64;
export const HALF = SIDE / 2;
/** Pixels of a row with one repeated pixel at each end: neighbours of an edge pixel need no branch. */
export const STRIDE = SIDE + 2;
export const HALF_STRIDE = HALF + 2;

/** One image. Padded planes: pixel (x, y) is at (y + 1) · stride + x + 1. Memory of the maker, valid until its next call. */
export interface Planes {
  /** L* at 64 × 64, 0 … 100. */
  readonly lightness: Float32Array;
  /** L*, a* (green to red), b* (blue to yellow) at 32 × 32, a* and b* about −100 … 100. */
  readonly halfLightness: Float32Array;
  readonly halfA: Float32Array;
  readonly halfB: Float32Array;
}

/** Makes a reader of RGB bytes (64 · 64 · 3 from `start`) that reuses its planes. */
export function createPlaneReader(): (rgb: Uint8Array, start: number) => Planes {
  const planes = {
    lightness: new Float32Array(STRIDE * STRIDE),
    halfLightness: new Float32Array(HALF_STRIDE * HALF_STRIDE),
    halfA: new Float32Array(HALF_STRIDE * HALF_STRIDE),
    halfB: new Float32Array(HALF_STRIDE * HALF_STRIDE),
  };
  return (rgb, start) => {
    fill(planes, rgb, start);
    return planes;
  };
}

function fill({ lightness, halfLightness, halfA, halfB }: Planes, rgb: Uint8Array, start: number): void {
  halfLightness.fill(0);
  halfA.fill(0);
  halfB.fill(0);
  for (let y = 0; y < SIDE; y++) {
    const halfRow = ((y >> 1) + 1) * HALF_STRIDE + 1;
    for (let x = 0; x < SIDE; x++) {
      const at = start + 3 * (y * SIDE + x);
      const red = LINEAR[rgb[at]!]!;
      const green = LINEAR[rgb[at + 1]!]!;
      const blue = LINEAR[rgb[at + 2]!]!;
      const fx = CUBE_ROOT[(0.433953 * red + 0.376219 * green + 0.189828 * blue + 0.5) | 0]!;
      const fy = CUBE_ROOT[(0.212673 * red + 0.715152 * green + 0.072175 * blue + 0.5) | 0]!;
      const fz = CUBE_ROOT[(0.017758 * red + 0.109473 * green + 0.872769 * blue + 0.5) | 0]!;
      const light = 116 * fy - 16;
      const half = halfRow + (x >> 1);
      lightness[(y + 1) * STRIDE + x + 1] = light;
      halfLightness[half]! += 0.25 * light;
      halfA[half]! += 125 * (fx - fy);
      halfB[half]! += 50 * (fy - fz);
    }
  }
  padEdges(lightness, SIDE);
  padEdges(halfLightness, HALF);
  padEdges(halfA, HALF);
  padEdges(halfB, HALF);
}

/** Repeats the edge pixels of a side × side image around it. */
export function padEdges(plane: Float32Array, side: number): void {
  const stride = side + 2;
  for (let y = 1; y <= side; y++) {
    plane[y * stride] = plane[y * stride + 1]!;
    plane[y * stride + side + 1] = plane[y * stride + side]!;
  }
  plane.copyWithin(0, stride, 2 * stride);
  plane.copyWithin((side + 1) * stride, side * stride, (side + 1) * stride);
}

/** Steps of a linear light of 1 in the cube root's table. */
const STEPS = 4096;

/** sRGB byte to linear light, 0 … STEPS. */
const LINEAR = Float64Array.from({ length: 256 }, (_, byte) => {
  const value = byte / 255;
  return STEPS * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
});

/** The f of CIE L*a*b*: a cube root with a straight start. */
const CUBE_ROOT = Float64Array.from({ length: STEPS + 1 }, (_, step) => {
  const t = step / STEPS;
  return t > 216 / 24389 ? Math.cbrt(t) : (t * (24389 / 27) + 16) / 116;
});
