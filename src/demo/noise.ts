/**
 * Value noise and cellular noise (Worley 1996) on one 256 × 256 table of random numbers, periodic with 256. The table
 * belongs to a seed and is shared by all pictures; a picture looks at it from its own random offset.
 */
import type { RandomStream } from '../random.ts';
import type { Dice } from './dice.ts';

const SIDE = 256;

/** Uniform numbers in [0, 1), length 65,536. */
export function drawLattice(stream: RandomStream): Float32Array {
  const lattice = new Float32Array(SIDE * SIDE);
  const words = new Uint32Array(4);
  for (let i = 0; i < lattice.length; i += 4) {
    stream.words(i / 4, words);
    for (let j = 0; j < 4; j++) lattice[i + j] = (words[j]! >>> 8) / 16777216;
  }
  return lattice;
}

/** The noise one picture sees. Coordinates are real numbers; neighbouring lattice points are 1 apart. */
export class Noise {
  readonly #lattice: Float32Array;
  readonly #offset: number;
  /** Of the last `cell` call: distances to the nearest and second-nearest points, and the nearest cell's own number. */
  nearest = 0;
  second = 0;
  cellValue = 0;

  constructor(lattice: Float32Array, dice: Dice) {
    this.#lattice = lattice;
    this.#offset = dice.integer(0, lattice.length - 1);
  }

  /** The number at a lattice point, [0, 1): integer coordinates only. */
  at(x: number, y: number, layer = 0): number {
    return this.#lattice[(this.#offset + layer * 20011 + (y & 255) * SIDE + (x & 255)) & 0xffff]!;
  }

  /** Smooth noise in [0, 1). */
  value(x: number, y: number, layer = 0): number {
    const column = Math.floor(x);
    const row = Math.floor(y);
    const u = x - column;
    const v = y - row;
    const s = u * u * (3 - 2 * u);
    const t = v * v * (3 - 2 * v);
    // `at` for the four corners, with what they share computed once: this is the hottest place of the drawing.
    const lattice = this.#lattice;
    const base = this.#offset + layer * 20011;
    const above = base + (row & 255) * SIDE;
    const below = base + ((row + 1) & 255) * SIDE;
    const left = column & 255;
    const right = (column + 1) & 255;
    const a = lattice[(above + left) & 0xffff]!;
    const b = lattice[(above + right) & 0xffff]!;
    const c = lattice[(below + left) & 0xffff]!;
    const d = lattice[(below + right) & 0xffff]!;
    return a + (b - a) * s + (c - a) * t + (a - b - c + d) * s * t;
  }

  /** Sum of octaves, each twice as fine and half as strong; in [0, 1), mean near 0.5. */
  fractal(x: number, y: number, octaves: number, layer = 0): number {
    let sum = 0;
    let weight = 0.5;
    let total = 0;
    for (let octave = 0; octave < octaves; octave++) {
      sum += weight * this.value(x, y, layer + octave);
      total += weight;
      weight *= 0.5;
      x = x * 2 + 17.3;
      y = y * 2 + 9.1;
    }
    return sum / total;
  }

  /** Fills `nearest`, `second` and `cellValue` for jittered points, one in each lattice square. */
  cell(x: number, y: number, jitter = 1): void {
    const column = Math.floor(x);
    const row = Math.floor(y);
    let first = Infinity;
    let second = Infinity;
    for (let j = row - 1; j <= row + 1; j++) {
      for (let i = column - 1; i <= column + 1; i++) {
        const dx = i + 0.5 + (this.at(i, j) - 0.5) * jitter - x;
        const dy = j + 0.5 + (this.at(i, j, 1) - 0.5) * jitter - y;
        const square = dx * dx + dy * dy;
        if (square < first) {
          second = first;
          first = square;
          this.cellValue = this.at(i, j, 2);
        } else if (square < second) second = square;
      }
    }
    this.nearest = Math.sqrt(first);
    this.second = Math.sqrt(second);
  }
}
