/** What a concept draws with, and the layouts that concepts share: textures that cover, things that stand before a backdrop. */
import { Canvas } from './canvas.ts';
import type { Colour } from './colour.ts';
import { hsl, mix } from './colour.ts';
import type { Dice } from './dice.ts';
import type { Noise } from './noise.ts';
import { Pen } from './pen.ts';

/** One picture in the making. */
export interface Scene {
  canvas: Canvas;
  pen: Pen;
  dice: Dice;
  noise: Noise;
}

/** A family of pictures that a person would give one name. */
export interface Concept {
  /** Kebab-case; the folder and the label. */
  name: string;
  /** Paints every pixel of the canvas. Its only freedom is the scene's dice and noise. */
  draw(scene: Scene): void;
}

/** The colour of a texture at (x, y) of its own frame; `pixel` is the size of one pixel there. */
export type Texture = (x: number, y: number, out: Float32Array, pixel: number) => void;

/** Builds a scene on an empty canvas. */
export function openScene(width: number, height: number, dice: Dice, noise: Noise): Scene {
  const canvas = new Canvas(width, height);
  return { canvas, pen: new Pen(canvas), dice, noise };
}

/**
 * Covers the canvas with a texture seen from a random place, turned by up to `turn` radians either way and magnified by
 * `zoom`. One picture in six shows it as a disc, a panel or a half before a plain ground.
 */
export function cover(scene: Scene, options: { zoom: readonly [number, number]; turn: number; shift?: number }, texture: Texture): void {
  const { canvas, dice } = scene;
  const zoom = dice.between(...options.zoom);
  const angle = dice.between(-options.turn, options.turn);
  const shift = options.shift ?? 0.5;
  const [sx, sy] = [dice.between(-shift, shift), dice.between(-shift, shift)];
  const [cos, sin] = [Math.cos(angle) / zoom, Math.sin(angle) / zoom];
  const pixel = 1 / (canvas.unit * zoom);
  const inside = chooseCutout(scene);
  if (inside) backdrop(scene);
  canvas.shade((u, v, out) => {
    if (inside && !inside(u, v)) return;
    const x = u - sx;
    const y = v - sy;
    texture(x * cos + y * sin, y * cos - x * sin, out, pixel);
  });
}

function chooseCutout({ canvas, dice }: Scene): ((x: number, y: number) => boolean) | undefined {
  const kind = dice.integer(0, 17);
  const [cx, cy] = [dice.between(-0.2, 0.2), dice.between(-0.2, 0.2)];
  const size = dice.between(0.7, 0.95);
  const angle = dice.between(-0.4, 0.4);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  if (kind === 0) return (x, y) => Math.hypot(x - cx, y - cy) < size;
  if (kind === 1) return (x, y) => Math.max(Math.abs(x * cos + y * sin - cx), Math.abs(y * cos - x * sin - cy)) < size * 0.9;
  if (kind === 2) return (x, y) => x * cos + y * sin > cx * 2 - 0.3 * canvas.halfWidth;
  return undefined;
}

/**
 * A quiet ground for things: a gradient between two related colours, sometimes mottled. `hue` ± `spread` degrees says
 * where the thing is usually found; one ground in eight has any hue.
 */
export function backdrop(scene: Scene, options: { hue?: number; spread?: number; lightness?: readonly [number, number] } = {}): void {
  const { canvas, dice, noise } = scene;
  const spread = dice.chance(1 / 8) ? 180 : (options.spread ?? 180);
  const hue = (options.hue ?? 180) + dice.between(-spread, spread);
  const saturation = dice.between(0.05, 0.5);
  const lightness = dice.between(...(options.lightness ?? [0.25, 0.9]));
  const a = hsl(hue, saturation, lightness);
  const b = hsl(hue + dice.between(-30, 30), saturation, Math.max(0.08, Math.min(0.95, lightness + dice.between(-0.22, 0.22))));
  const angle = dice.angle();
  const [cos, sin] = [Math.cos(angle) * 0.4, Math.sin(angle) * 0.4];
  const mottle = dice.chance(0.4) ? dice.between(0.2, 0.7) : 0;
  const grain = dice.between(1.5, 5);
  canvas.shade((x, y, out) => {
    const wave = mottle > 0 ? mottle * (noise.fractal(x * grain, y * grain, 3, 9) - 0.5) : 0;
    paint(out, mix(a, b, Math.max(0, Math.min(1, 0.5 + x * cos + y * sin + wave))));
  });
}

/**
 * Draws one large thing or several smaller ones, none of them far outside, each through a pen whose unit is the
 * thing's half size. `turn` is the largest angle in radians.
 */
export function place(scene: Scene, options: { most: number; turn: number; size?: number }, draw: (pen: Pen, i: number) => void): void {
  const { canvas, dice, pen } = scene;
  const count = dice.chance(0.35) ? 1 : dice.integer(2, Math.max(2, options.most));
  const columns = Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  const cell = Math.min(canvas.halfWidth / columns, canvas.halfHeight / rows);
  for (let i = 0; i < count; i++) {
    const inRow = Math.min(columns, count - Math.floor(i / columns) * columns);
    const x = (((i % columns) + 0.5) / inRow) * 2 - 1;
    const y = ((Math.floor(i / columns) + 0.5) / rows) * 2 - 1;
    const size = cell * (options.size ?? 0.9) * dice.between(0.75, 1.1);
    const jitter = 0.35 * cell;
    const [dx, dy] = [dice.between(-jitter, jitter), dice.between(-jitter, jitter)];
    draw(pen.at(x * canvas.halfWidth + dx, y * canvas.halfHeight + dy, size, dice.between(-options.turn, options.turn)), i);
  }
}

/** Sets `out` to the colour, or moves it there by `t` of 0 … 1. */
export function paint(out: Float32Array, colour: Colour, t = 1): void {
  out[0]! += (colour[0] - out[0]!) * t;
  out[1]! += (colour[1] - out[1]!) * t;
  out[2]! += (colour[2] - out[2]!) * t;
}

/** 0 below −pixel / 2, 1 above pixel / 2, linear between: the soft edge of anything with a signed distance. */
export function edge(distance: number, pixel: number): number {
  return Math.max(0, Math.min(1, distance / pixel + 0.5));
}

/** 1 inside the stripes of the given period and share, 0 between them. */
export function stripe(x: number, period: number, share: number, pixel: number): number {
  const t = x / period - Math.floor(x / period);
  return edge((share / 2 - Math.abs(t - 0.5)) * period, pixel);
}
