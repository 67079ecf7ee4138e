/** A text of a reader as a vector among the images, by the text tower that belongs to the store's model. */
import { WinnowError } from '../errors.ts';
import type { TextEncoder } from '../retrieve/text-encoder.ts';

export interface TextQuery {
  /** Of unit length. @throws {WinnowError} DIMENSION_MISMATCH, and what the model fails with */
  embed(text: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** @param d dimensions of the store's vectors; `open` is called once, at the first text */
export function createTextQuery(d: number, open: () => Promise<TextEncoder>): TextQuery {
  let opening: Promise<TextEncoder> | null = null;
  const opened = (): Promise<TextEncoder> => {
    opening ??= open();
    opening.catch(() => (opening = null));
    return opening;
  };
  return {
    embed: async (text) => {
      const { vector } = await (await opened()).encode(text);
      if (vector.length !== d) throw new WinnowError('DIMENSION_MISMATCH', `Expected a text tower of ${d} dimensions, as the images have, got ${vector.length}`);
      const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
      return length === 0 ? vector : vector.map((value) => value / length);
    },
    close: async () => {
      await (await opening?.catch(() => null))?.close();
    },
  };
}
