/** The draws of one picture, one after another. A picture has its own stream, so pictures never move each other. */
import type { RandomStream } from '../random.ts';

/** A cursor over a stream: the n-th call takes draw n, so the calls of one picture must keep their order. */
export class Dice {
  readonly #stream: RandomStream;
  #counter = 0;

  constructor(stream: RandomStream) {
    this.#stream = stream;
  }

  /** Uniform in [low, high). */
  between(low: number, high: number): number {
    return low + (high - low) * this.#stream.uniform(this.#counter++);
  }

  /** Uniform integer, both ends included. */
  integer(low: number, high: number): number {
    return low + this.#stream.below(this.#counter++, high - low + 1);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.#stream.uniform(this.#counter++) < p;
  }

  /** One of the list, all equally likely. */
  choose<T>(list: readonly [T, ...T[]]): T {
    return list[this.#stream.below(this.#counter++, list.length)] ?? list[0];
  }

  /** An angle in [0, 2π). */
  angle(): number {
    return this.between(0, 2 * Math.PI);
  }
}
