/** The rows of one part of `embeddings/` while they are made: any row in any order, from there to columns. */
import assert from 'node:assert/strict';
import type { Columns } from '../arrow/tables.ts';
import { decodeFloat16, encodeFloat16 } from '../vector/float16.ts';
import type { EmbedConfig } from './config.ts';
import type { Decoded, EmbeddingStatus } from './embedding.ts';

export interface EmbeddingRows {
  readonly d: number;
  readonly status: readonly EmbeddingStatus[];
  readonly id: readonly (string | null)[];
  readonly width: Uint32Array;
  readonly height: Uint32Array;
  /** n × d as they lie on disk; float16 as bits. */
  readonly vectors: Float32Array | Uint16Array;
  /** Bytes of all images that were read. */
  readonly sizeBytes: number;
  /** Largest absolute component of any vector, as rounded to the type on disk. */
  readonly maxAbs: number;
  put(row: number, id: string | null, decoded: Decoded, sizeBytes: number): void;
  /**
   * Normalises if the config says so and rounds to the type on disk. A vector that is not finite, that float16 cannot
   * hold, or that has no direction to normalise becomes a status.
   *
   * @param vector length d; overwritten with what the row holds
   */
  putVector(row: number, vector: Float32Array): void;
}

/** n rows of d dimensions; d = 0: without vectors. */
export function createRows(n: number, d: number, { dtype, normalize }: Pick<EmbedConfig, 'dtype' | 'normalize'>): EmbeddingRows {
  const status = new Array<EmbeddingStatus>(n);
  const id = new Array<string | null>(n);
  const width = new Uint32Array(n);
  const height = new Uint32Array(n);
  const vectors = dtype === 'float16' ? new Uint16Array(n * d) : new Float32Array(n * d);
  let total = 0;
  let maxAbs = 0;
  return {
    d, status, id, width, height, vectors,
    get sizeBytes() {
      return total;
    },
    get maxAbs() {
      return maxAbs;
    },
    put: (row, hash, decoded, sizeBytes) => {
      id[row] = hash;
      status[row] = decoded.status;
      width[row] = decoded.width ?? 0;
      height[row] = decoded.height ?? 0;
      total += sizeBytes;
    },
    putVector: (row, vector) => {
      assert.equal(vector.length, d, 'Expected a vector of d components');
      const length = lengthOf(vector);
      if (length === 0 && normalize) {
        status[row] = 'zero-vector';
        return;
      }
      if (normalize) for (let j = 0; j < d; j++) vector[j]! /= length;
      const stored = vectors.subarray(row * d, (row + 1) * d);
      if (stored instanceof Uint16Array) decodeFloat16(encodeFloat16(vector, stored), vector);
      else stored.set(vector);
      const largest = largestOf(vector);
      if (Number.isFinite(length) && Number.isFinite(largest)) maxAbs = Math.max(maxAbs, largest);
      else {
        status[row] = 'not-finite';
        stored.fill(0);
      }
    },
  };
}

/** The columns of `embeddings/`, in the order of the format. */
export function rowColumns({ d, status, id, width, height, vectors }: EmbeddingRows): Columns {
  const column = vectors instanceof Uint16Array ? ({ element: 'float16', values: vectors } as const) : ({ element: 'float32', values: vectors } as const);
  return {
    ...(d > 0 && { embedding: { type: 'vector', d, ...column } }),
    status: { type: 'dictionary', values: status },
    id: { type: 'utf8', values: id },
    width: { type: 'uint32', values: width },
    height: { type: 'uint32', values: height },
  };
}

function lengthOf(vector: Float32Array): number {
  let squares = 0;
  for (const value of vector) squares += value * value;
  return Math.sqrt(squares);
}

function largestOf(vector: Float32Array): number {
  let largest = 0;
  for (const value of vector) largest = Math.max(largest, Math.abs(value));
  return largest;
}
