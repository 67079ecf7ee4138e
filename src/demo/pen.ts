/** Drawing in a local frame: a concept draws its thing once about (0, 0), and the pen puts it anywhere, turned and scaled. */
import type { Canvas } from './canvas.ts';
import type { Colour } from './colour.ts';

const CURVE_POINTS = 28;

export class Pen {
  readonly #canvas: Canvas;
  readonly #x: number;
  readonly #y: number;
  readonly #scale: number;
  readonly #angle: number;

  constructor(canvas: Canvas, x = 0, y = 0, scale = 1, angle = 0) {
    this.#canvas = canvas;
    this.#x = x;
    this.#y = y;
    this.#scale = scale;
    this.#angle = angle;
  }

  /** A pen whose origin, unit and x axis are the given ones of this pen. Angles are radians, clockwise as y points down. */
  at(x: number, y: number, scale = 1, angle = 0): Pen {
    const [ox, oy] = this.#place(x, y);
    return new Pen(this.#canvas, ox, oy, this.#scale * scale, this.#angle + angle);
  }

  disc(x: number, y: number, radius: number, colour: Colour, opacity = 1): void {
    const [cx, cy] = this.#place(x, y);
    this.#canvas.capsule(cx, cy, cx, cy, radius * this.#scale, colour, opacity);
  }

  /** Strokes the polyline x0, y0, x1, y1, … with round ends. */
  line(points: readonly number[], width: number, colour: Colour, opacity = 1): void {
    let [ax, ay] = this.#place(points[0] ?? 0, points[1] ?? 0);
    for (let i = 2; i + 1 < points.length; i += 2) {
      const [bx, by] = this.#place(points[i]!, points[i + 1]!);
      this.#canvas.capsule(ax, ay, bx, by, (width / 2) * this.#scale, colour, opacity);
      [ax, ay] = [bx, by];
    }
  }

  /** Fills the closed polygon x0, y0, x1, y1, …, even-odd. */
  shape(points: readonly number[], colour: Colour, opacity = 1): void {
    const placed: number[] = [];
    for (let i = 0; i + 1 < points.length; i += 2) placed.push(...this.#place(points[i]!, points[i + 1]!));
    this.#canvas.polygon(placed, colour, opacity);
  }

  box(left: number, top: number, right: number, bottom: number, colour: Colour, opacity = 1): void {
    this.shape([left, top, right, top, right, bottom, left, bottom], colour, opacity);
  }

  ellipse(x: number, y: number, rx: number, ry: number, colour: Colour, opacity = 1): void {
    this.at(x, y).polar((angle) => 1 / Math.hypot(Math.cos(angle) / rx, Math.sin(angle) / ry), colour, opacity);
  }

  /** Fills the curve r(angle) about the origin. */
  polar(radius: (angle: number) => number, colour: Colour, opacity = 1, count = CURVE_POINTS): void {
    const points: number[] = [];
    for (let i = 0; i < count; i++) {
      const angle = (2 * Math.PI * i) / count;
      const r = radius(angle);
      points.push(r * Math.cos(angle), r * Math.sin(angle));
    }
    this.shape(points, colour, opacity);
  }

  /** A pointed leaf from the origin along +x: length 1 times `length`, widest before the middle. */
  leaf(length: number, width: number, colour: Colour, opacity = 1): void {
    const upper: number[] = [];
    const lower: number[] = [];
    for (let i = 0; i <= 10; i++) {
      const t = i / 10;
      const half = (width / 2) * Math.sin(Math.PI * t ** 0.8);
      upper.push(t * length, -half);
      lower.unshift(t * length, half);
    }
    this.shape([...upper, ...lower], colour, opacity);
  }

  #place(x: number, y: number): [number, number] {
    const cos = Math.cos(this.#angle) * this.#scale;
    const sin = Math.sin(this.#angle) * this.#scale;
    return [this.#x + x * cos - y * sin, this.#y + x * sin + y * cos];
  }
}
