/**
 * One picture: a concept's drawing, then what a camera does to it: light from one side, vignette, exposure, white
 * balance, lack of focus, grain.
 */
import { randomStream } from '../random.ts';
import type { Canvas } from './canvas.ts';
import { Dice } from './dice.ts';
import { drawLattice, Noise } from './noise.ts';
import type { Concept, Scene } from './scene.ts';
import { openScene } from './scene.ts';

/** Eight-bit RGB pixels, row-major, length 3 · width · height. */
export interface Picture {
  width: number;
  height: number;
  rgb: Uint8Array;
}

/** Tables that all pictures of a seed share: 65,536 uniform and 65,536 standard normal numbers. */
export interface PictureTables {
  seed: number;
  lattice: Float32Array;
  grain: Float32Array;
}

/** Tables that all pictures of a corpus share: noise fields and the like, from the seed alone. */
export function drawTables(seed: number): PictureTables {
  const stream = randomStream(seed, 'demo', 'grain');
  const grain = Float32Array.from({ length: 65536 }, (_, i) => stream.normal(i));
  return { seed, lattice: drawLattice(randomStream(seed, 'demo', 'lattice')), grain };
}

/**
 * Draws picture `index` as the concept shows it: sides of 96 … 128 pixels. A pure function of (seed, index, concept);
 * about 2 ms.
 */
export function drawPicture(tables: PictureTables, index: number, concept: Concept): Picture {
  const dice = new Dice(randomStream(tables.seed, 'demo', 'picture', index));
  const long = 4 * dice.integer(24, 32);
  const short = Math.max(96, 4 * Math.round((long * dice.choose([1, 1, 0.9, 0.8, 0.75])) / 4));
  const wide = dice.chance(0.6);
  const scene = openScene(wide ? long : short, wide ? short : long, dice, new Noise(tables.lattice, dice));
  concept.draw(scene);
  expose(scene);
  if (dice.chance(0.4)) blur(scene.canvas, dice.between(0.05, 0.3));
  return develop(scene, tables.grain);
}

/** Light and colour cast, in place. */
function expose({ canvas, dice }: Scene): void {
  const angle = dice.angle();
  const slope = dice.chance(0.6) ? dice.between(0, 0.25) : 0;
  const [dx, dy] = [slope * Math.cos(angle), slope * Math.sin(angle)];
  const vignette = dice.chance(0.35) ? dice.between(0.05, 0.25) : 0;
  const level = dice.between(0.82, 1.14);
  const contrast = dice.between(0.8, 1.12);
  const warmth = dice.between(-0.05, 0.05);
  const base = 0.5 - 0.5 * contrast;
  canvas.shade((x, y, out) => {
    const light = level * (1 + dx * x + dy * y - vignette * (x * x + y * y));
    out[0] = (base + contrast * out[0]!) * light * (1 + warmth);
    out[1] = (base + contrast * out[1]!) * light;
    out[2] = (base + contrast * out[2]!) * light * (1 - warmth);
  });
}

/** A three-tap blur along both axes, each neighbour with weight `side` (at most 1/3), in place. */
function blur({ rgb, width, height }: Canvas, side: number): void {
  const pass = (count: number, lines: number, step: number, lineStep: number): void => {
    for (let line = 0; line < lines; line++) {
      for (let channel = 0; channel < 3; channel++) {
        let at = line * lineStep + channel;
        let before = rgb[at]!;
        for (let i = 0; i < count; i++, at += step) {
          const here = rgb[at]!;
          const after = i + 1 < count ? rgb[at + step]! : here;
          rgb[at] = here + side * (before + after - 2 * here);
          before = here;
        }
      }
    }
  };
  pass(width, height, 3, 3 * width);
  pass(height, width, 3 * width, 3);
}

/** Adds grain, part of it common to the three channels, and rounds to bytes. */
function develop({ canvas, dice }: Scene, grain: Float32Array): Picture {
  const { width, height, rgb: light } = canvas;
  const amount = 255 * dice.between(0.004, 0.04);
  const own = amount * dice.between(0, 0.6);
  const shared = amount - own;
  let common = dice.integer(0, 65535);
  let single = dice.integer(0, 65535);
  const rgb = new Uint8ClampedArray(light.length);
  for (let at = 0; at < rgb.length; at += 3) {
    // Odd steps through the table visit all of it, and the two walks never keep company.
    common = (common + 5) & 0xffff;
    single = (single + 21) & 0xffff;
    const speck = shared * grain[common]!;
    rgb[at] = 255 * light[at]! + speck + own * grain[single]!;
    rgb[at + 1] = 255 * light[at + 1]! + speck + own * grain[(single + 7) & 0xffff]!;
    rgb[at + 2] = 255 * light[at + 2]! + speck + own * grain[(single + 14) & 0xffff]!;
  }
  return { width, height, rgb: new Uint8Array(rgb.buffer) };
}
