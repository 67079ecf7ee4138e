/**
 * A small float raster with anti-aliased fills: four sub-scanlines a row with exact horizontal coverage, even-odd
 * rule. Units: the short side spans −1 … 1 about the centre, y points down.
 */
import type { Colour } from './colour.ts';

/** Writes the colour at (x, y) into `out`, which holds the colour that is there already. */
export type Shader = (x: number, y: number, out: Float32Array) => void;

const SUBROWS = 4;

export class Canvas {
  readonly width: number;
  readonly height: number;
  /** Row-major RGB in 0 … 1, length 3 · width · height. */
  readonly rgb: Float32Array;
  /** Pixels in one unit. */
  readonly unit: number;
  readonly #coverage: Float32Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.rgb = new Float32Array(3 * width * height);
    this.unit = Math.min(width, height) / 2;
    this.#coverage = new Float32Array(width + 2);
  }

  /** Half the width in units: at least 1. */
  get halfWidth(): number {
    return this.width / 2 / this.unit;
  }

  /** Half the height in units: at least 1. */
  get halfHeight(): number {
    return this.height / 2 / this.unit;
  }

  /** Runs `shader` at the centre of every pixel. */
  shade(shader: Shader): void {
    const out = new Float32Array(3);
    const { rgb, width, height, unit } = this;
    let at = 0;
    for (let row = 0; row < height; row++) {
      const y = (row + 0.5 - height / 2) / unit;
      for (let column = 0; column < width; column++, at += 3) {
        out[0] = rgb[at]!;
        out[1] = rgb[at + 1]!;
        out[2] = rgb[at + 2]!;
        shader((column + 0.5 - width / 2) / unit, y, out);
        rgb[at] = out[0]!;
        rgb[at + 1] = out[1]!;
        rgb[at + 2] = out[2]!;
      }
    }
  }

  /** Fills a closed polygon given as x0, y0, x1, y1, … in units. */
  polygon(points: readonly number[], colour: Colour, opacity = 1): void {
    const n = points.length / 2;
    const xs = new Float64Array(n);
    const ys = new Float64Array(n);
    let [top, bottom, left, right] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < n; i++) {
      xs[i] = points[2 * i]! * this.unit + this.width / 2;
      ys[i] = points[2 * i + 1]! * this.unit + this.height / 2;
      top = Math.min(top, ys[i]!);
      bottom = Math.max(bottom, ys[i]!);
      left = Math.min(left, xs[i]!);
      right = Math.max(right, xs[i]!);
    }
    const crossings: number[] = [];
    const last = Math.min(this.height - 1, Math.ceil(bottom) - 1);
    const from = Math.max(0, Math.floor(left));
    const to = Math.min(this.width, Math.ceil(right));
    for (let row = Math.max(0, Math.floor(top)); row <= last; row++) {
      this.#coverage.fill(0, from, to);
      for (let sub = 0; sub < SUBROWS; sub++) {
        this.#addSpans(findCrossings(xs, ys, row + (sub + 0.5) / SUBROWS, crossings));
      }
      for (let column = from; column < to; column++) {
        const covered = this.#coverage[column]!;
        if (covered > 0) this.#blend(3 * (row * this.width + column), colour, Math.min(1, covered) * opacity);
      }
    }
  }

  /** Fills the points within `radius` of the segment a–b, in units: a disc when both ends are equal. */
  capsule(ax: number, ay: number, bx: number, by: number, radius: number, colour: Colour, opacity = 1): void {
    const { unit, width, height } = this;
    const x0 = ax * unit + width / 2;
    const y0 = ay * unit + height / 2;
    const dx = (bx - ax) * unit;
    const dy = (by - ay) * unit;
    const reach = Math.max(0.5, radius * unit) + 0.5;
    // A line thinner than a pixel keeps its ink: one pixel wide, paler.
    const ink = opacity * Math.min(1, Math.max(0.3, 2 * radius * unit));
    const length2 = dx * dx + dy * dy || 1;
    const left = Math.max(0, Math.floor(Math.min(x0, x0 + dx) - reach));
    const right = Math.min(width - 1, Math.ceil(Math.max(x0, x0 + dx) + reach));
    const bottom = Math.min(height - 1, Math.ceil(Math.max(y0, y0 + dy) + reach));
    for (let row = Math.max(0, Math.floor(Math.min(y0, y0 + dy) - reach)); row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const px = column + 0.5 - x0;
        const py = row + 0.5 - y0;
        const t = Math.max(0, Math.min(1, (px * dx + py * dy) / length2));
        const ex = px - t * dx;
        const ey = py - t * dy;
        const square = ex * ex + ey * ey;
        if (square >= reach * reach) continue;
        this.#blend(3 * (row * width + column), colour, Math.min(1, reach - Math.sqrt(square)) * ink);
      }
    }
  }

  #addSpans(crossings: readonly number[]): void {
    const coverage = this.#coverage;
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.max(0, crossings[i]!);
      const to = Math.min(this.width, crossings[i + 1]!);
      if (to <= from) continue;
      const first = Math.floor(from);
      const last = Math.floor(to);
      for (let column = first; column <= last; column++) {
        coverage[column]! += (Math.min(to, column + 1) - Math.max(from, column)) / SUBROWS;
      }
    }
  }

  #blend(at: number, colour: Colour, alpha: number): void {
    const { rgb } = this;
    rgb[at]! += (colour[0] - rgb[at]!) * alpha;
    rgb[at + 1]! += (colour[1] - rgb[at + 1]!) * alpha;
    rgb[at + 2]! += (colour[2] - rgb[at + 2]!) * alpha;
  }
}

/** The x of every edge that crosses the line y, ascending, in `out`. */
function findCrossings(xs: Float64Array, ys: Float64Array, y: number, out: number[]): readonly number[] {
  out.length = 0;
  for (let i = 0, j = xs.length - 1; i < xs.length; j = i++) {
    const a = ys[j]!;
    const b = ys[i]!;
    if (a <= y === b <= y) continue;
    const x = xs[j]! + ((y - a) / (b - a)) * (xs[i]! - xs[j]!);
    let slot = out.push(x) - 1;
    for (; slot > 0 && out[slot - 1]! > x; slot--) out[slot] = out[slot - 1]!;
    out[slot] = x;
  }
  return out;
}
