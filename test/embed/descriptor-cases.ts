/** Images made up for tests of the descriptor, and the squared length of its vectors. */
import fc from 'fast-check';
import { SIDE } from '../../src/embed/descriptor-planes.ts';
import { randomStream } from '../../src/random.ts';

export const IMAGE_BYTES = 3 * SIDE * SIDE;

/** An image from a function of its pixel: red, green, blue of any range, clamped to bytes. */
export function draw(colour: (x: number, y: number) => readonly [number, number, number]): Uint8Array {
  const out = new Uint8ClampedArray(IMAGE_BYTES);
  for (let i = 0; i < SIDE * SIDE; i++) out.set(colour(i % SIDE, Math.floor(i / SIDE)), 3 * i);
  return new Uint8Array(out.buffer);
}

/** Any image from plain noise to a smooth wave, with every byte value possible. */
export const images = fc.record({ seed: fc.nat(), noise: fc.integer({ min: 0, max: 300 }), period: fc.integer({ min: 1, max: 90 }) }).map(({ seed, noise, period }) => {
  const stream = randomStream(seed, 'image');
  const wave = (i: number, c: number) => 128 + 100 * Math.sin((i * (c + 1)) / period + seed * c);
  let at = 0;
  return draw((x, y) => [wave(x, 0) + noise * (stream.uniform(at++) - 0.5), wave(y, 1) + noise * (stream.uniform(at++) - 0.5), wave(x + y, 2)]);
});

export function squares(vector: Float32Array): number {
  return vector.reduce((sum, value) => sum + value * value, 0);
}
