/**
 * Where an image has which local structure: Basic Image Features with orientation (Crosier and Griffin, "Using Basic
 * Image Features for Texture Classification", IJCV 2010). Each pixel of the smoothed lightness is flat, a slope, a dark
 * or bright spot, a dark or bright line, or a saddle, whichever of seven responses of its first and second derivatives is
 * largest. Counted over a 3 × 3 grid. Departures: 3 × 3 binomial smoothing and differences in place of Gaussian
 * derivatives, one scale, and left and right are folded together so that an image and its mirror image agree.
 */
import { padEdges, type Planes, SIDE, STRIDE } from './descriptor-planes.ts';

/** Classes: 0 flat, 1–8 slope by octant, 9 dark spot, 10 bright spot, 11–14 dark line, 15–18 bright line, 19–22 saddle, by quarter turn. */
const CLASSES = 23;
/** Responses below this many L* units count as flat: about the noise of a JPEG. */
const FLAT = 3;
/** Slopes against second derivatives. */
const SLOPE_GAIN = 1.43;
const CELLS = 3;

/** Class of a pixel in the mirror image. Octants count from +x towards +y, lines by the direction of greatest curvature. */
const MIRROR = [0, 5, 4, 3, 2, 1, 8, 7, 6, 9, 10, 11, 14, 13, 12, 15, 18, 17, 16, 19, 22, 21, 20];

/** Place of each class in the middle column, where a class and its mirror are one. */
const MIDDLE = MIRROR.map((mirror, own) => MIRROR.filter((other, i) => i <= other && i < Math.min(own, mirror)).length);
const MIDDLE_CLASSES = MIRROR.filter((mirror, own) => own <= mirror).length;

/** Three rows of: classes in the left and right third together, classes in the middle third. */
export const STRUCTURE_DIMS = CELLS * (CLASSES + MIDDLE_CLASSES);

/**
 * Makes the structure block: square roots of the shares of each class in each cell, so that a dot product compares
 * distributions (Bhattacharyya). The STRUCTURE_DIMS values written from `start` have squares that add up to 1.
 */
export function createStructureBlock(): (planes: Planes, out: Float32Array, start: number) => void {
  const rows = new Float32Array(STRIDE * STRIDE);
  const smooth = new Float32Array(STRIDE * STRIDE);
  const counts = new Float64Array(CELLS * CELLS * CLASSES);
  return (planes, out, start) => {
    smoothen(planes.lightness, rows, smooth);
    countClasses(smooth, counts);
    writeShares(counts, out, start);
  };
}

function smoothen(source: Float32Array, rows: Float32Array, out: Float32Array): void {
  for (let y = 0; y < STRIDE; y++) {
    for (let x = 1; x <= SIDE; x++) {
      const i = y * STRIDE + x;
      rows[i] = 0.25 * (source[i - 1]! + source[i + 1]!) + 0.5 * source[i]!;
    }
  }
  for (let y = 1; y <= SIDE; y++) {
    for (let x = 1; x <= SIDE; x++) {
      const i = y * STRIDE + x;
      out[i] = 0.25 * (rows[i - STRIDE]! + rows[i + STRIDE]!) + 0.5 * rows[i]!;
    }
  }
  padEdges(out, SIDE);
}

function countClasses(smooth: Float32Array, counts: Float64Array): void {
  counts.fill(0);
  for (let y = 0; y < SIDE; y++) {
    const cellRow = CELLS * CELL_OF[y]!;
    for (let x = 0; x < SIDE; x++) {
      const i = (y + 1) * STRIDE + x + 1;
      const twice = 2 * smooth[i]!;
      const dx = (smooth[i + 1]! - smooth[i - 1]!) / 2;
      const dy = (smooth[i + STRIDE]! - smooth[i - STRIDE]!) / 2;
      const dxx = smooth[i + 1]! + smooth[i - 1]! - twice;
      const dyy = smooth[i + STRIDE]! + smooth[i - STRIDE]! - twice;
      // Each diagonal on its own, so that the mirrored pixel rounds to the exact negative.
      const dxy = (smooth[i + STRIDE + 1]! + smooth[i - STRIDE - 1]! - (smooth[i - STRIDE + 1]! + smooth[i + STRIDE - 1]!)) / 4;
      counts[(cellRow + CELL_OF[x]!) * CLASSES + classOf(dx, dy, dxx, dyy, dxy)]!++;
    }
  }
}

function classOf(dx: number, dy: number, dxx: number, dyy: number, dxy: number): number {
  const slope = SLOPE_GAIN * Math.sqrt(dx * dx + dy * dy);
  const laplacian = dxx + dyy;
  const anisotropy = Math.sqrt((dxx - dyy) * (dxx - dyy) + 4 * dxy * dxy);
  const darkLine = Math.SQRT1_2 * (anisotropy + laplacian);
  const brightLine = Math.SQRT1_2 * (anisotropy - laplacian);
  const largest = Math.max(FLAT, slope, laplacian, -laplacian, darkLine, brightLine, anisotropy);
  if (largest === FLAT) return 0;
  if (largest === slope) return 1 + octant(dx, dy);
  if (largest === laplacian) return 9;
  if (largest === -laplacian) return 10;
  const direction = Math.abs(dxx - dyy) >= Math.abs(2 * dxy) ? (dxx > dyy ? 0 : 2) : dxy > 0 ? 1 : 3;
  if (largest === darkLine) return 11 + direction;
  return (largest === brightLine ? 15 : 19) + direction;
}

/** Nearest multiple of 45° of a direction, 0 … 7, by comparisons alone. */
function octant(dx: number, dy: number): number {
  const width = Math.abs(dx);
  const height = Math.abs(dy);
  if (height < TAN_22_5 * width) return dx > 0 ? 0 : 4;
  if (width < TAN_22_5 * height) return dy > 0 ? 2 : 6;
  if (dy > 0) return dx > 0 ? 1 : 3;
  return dx > 0 ? 7 : 5;
}

function writeShares(counts: Float64Array, out: Float32Array, start: number): void {
  const perRow = CLASSES + MIDDLE_CLASSES;
  for (let row = 0; row < CELLS; row++) {
    const left = row * CELLS * CLASSES;
    const middle = left + CLASSES;
    const right = middle + CLASSES;
    const at = start + row * perRow;
    out.fill(0, at, at + perRow);
    for (let c = 0; c < CLASSES; c++) {
      out[at + c]! += counts[left + c]! + counts[right + MIRROR[c]!]!;
      out[at + CLASSES + MIDDLE[c]!]! += counts[middle + c]!;
    }
    // A row holds a third of the image, so its root shares would add up to a little more or less than a third.
    for (let c = 0; c < perRow; c++) out[at + c] = Math.sqrt(out[at + c]! / (SIDE * SIDE));
  }
}

/** Third that a column or row belongs to, symmetric about the middle: 21, 22 and 21 pixels. */
const CELL_OF = Uint8Array.from({ length: SIDE }, (_, i) => (i < 21 ? 0 : i < 43 ? 1 : 2));

const TAN_22_5 = Math.SQRT2 - 1;
