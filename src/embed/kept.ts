/** Rows of an older part of `embeddings/` that stay as they are while others of it are tried again. */
import { decodeTable } from '../arrow/ipc.ts';
import { isTransient } from '../download/status.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import type { EmbeddingStatus } from './embedding.ts';
import type { EmbeddingRows } from './rows.ts';

export interface KeptRows {
  /** Whether the row stays: its status is none that may pass. */
  has(row: number): boolean;
  /** Copies it, vector and all. */
  copy(row: number, to: EmbeddingRows): void;
}

/** @param part the same rows as the part being made, of the same encoder and type */
export async function readKept(store: Store, part: Part, d: number): Promise<KeptRows> {
  const view = decodeTable(await readPart(store, part), part.path);
  const status = view.strings('status') as EmbeddingStatus[];
  const [id, width, height] = [view.strings('id'), view.numbers('width'), view.numbers('height')];
  const vectors = d === 0 ? null : view.vector('embedding').values;
  return {
    has: (row) => !isTransient(status[row]!),
    copy: (row, to) => {
      const size = { width: width[row]!, height: height[row]! };
      to.put(row, id[row]!, status[row] === 'ok' ? { status: 'ok', ...size, pixels: NO_PIXELS } : { status: status[row] as Exclude<EmbeddingStatus, 'ok'>, ...size }, 0);
      if (vectors !== null) to.vectors.set(vectors.subarray(row * d, (row + 1) * d), row * d);
    },
  };
}

const NO_PIXELS = new Uint8Array(0);
