/**
 * Near-duplicates by perceptual hash: all pairs within a Hamming radius, as edges. Out of core: a task indexes one window of
 * rows and every later row of the table streams past it, so memory is that of a window whatever n is, and n / window passes over
 * 8 bytes a row are read.
 *
 * Of two rows the later one asks with all its variants, the earlier one answers with its own hash: without flips the relation is
 * plain Hamming distance. Pairs that connect nothing new are left out, unless one is a row's nearest: groups of thousands of like
 * pictures would otherwise have millions of pairs. Components and nearest rows are those of all pairs.
 */
import { encodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { type Part, type StoredManifest, requireManifest, writePart } from '../run/manifest.ts';
import type { TaskKind } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { createHashSearch, openHashWindow } from './hash-window.ts';
import { HASH_BITS, type HashBlock, type HashesManifest, readHashes } from './perceptual-hash.ts';

export interface HashPairsPayload {
  /** Key prefix and manifest hash of the table. */
  readonly hashes: { readonly path: string; readonly sha256: string };
  /** Index of the window's first part, and how many it has. */
  readonly first: number;
  readonly window: number;
  readonly radius: number;
  /** Key prefix of what is written; names the task's window. */
  readonly out: string;
}

export interface HashPairsResult {
  /** Tables of `a`, `b`, `similarity` (1 − distance / 64), a < b. */
  readonly pairs: readonly Part[];
}

/** Rows of a window, about 120 bytes each. A constant, since the pairs that are left out depend on it. */
export const WINDOW_ROWS = 2 ** 20;
const PAIRS_A_PART = 2 ** 18;

/** Cuts a table of hashes into windows. @param windowRows rows a window at most, but for one part that has more */
export function planHashPairs({ path, sha256, manifest: { parts } }: StoredManifest<HashesManifest>, { radius, out, windowRows = WINDOW_ROWS }: { radius: number; out: string; windowRows?: number }): HashPairsPayload[] {
  const payloads: HashPairsPayload[] = [];
  for (let first = 0; first < parts.length; ) {
    const end = parts[first]!.firstRow + windowRows;
    let window = 1;
    while (first + window < parts.length && parts[first + window]!.firstRow + parts[first + window]!.rowCount <= end) window++;
    payloads.push({ hashes: { path, sha256 }, first, window, radius, out: `${out}/window-${payloads.length}` });
    first += window;
  }
  return payloads;
}

/** Finds the pairs whose earlier row lies in the window. Advances by rows that asked. */
export const findHashPairs: TaskKind<HashPairsPayload, HashPairsResult> = {
  name: 'dedup-hash-pairs',
  version: 1,
  run: async ({ hashes, first, window, radius, out }, env) => {
    const { manifest, sha256 } = await requireManifest<HashesManifest>(env.store, hashes.path, 'dedup');
    if (sha256 !== hashes.sha256) throw new WinnowError('CHECKSUM_MISMATCH', `Expected the hashes whose manifest has SHA-256 ${hashes.sha256.slice(0, 12)}…, found ${sha256.slice(0, 12)}… at ${hashes.path}: run \`winnow dedup\` again`);
    const { variants } = manifest;
    const parts = manifest.parts.slice(first);
    const blocks: HashBlock[] = [];
    for (const part of parts.slice(0, window)) blocks.push(await readHashes(env.store, part));
    const search = createHashSearch(openHashWindow(blocks, variants), radius);
    const writer = createPairWriter(env.store, out);
    for (const [p, part] of parts.entries()) {
      throwIfAborted(env.signal);
      const { firstRow, rowCount, valid, words } = blocks[p] ?? (await readHashes(env.store, part));
      for (let i = 0; i < rowCount; i++) {
        if (valid[i] === 0) continue;
        search.ask(firstRow + i, words.subarray(i * variants * 2, (i + 1) * variants * 2), (earlier, distance) => writer.add(earlier, firstRow + i, distance));
      }
      await writer.flush(PAIRS_A_PART);
      env.advance(rowCount);
    }
    search.nearest(writer.add);
    await writer.flush(1);
    return { pairs: writer.parts };
  },
};

interface PairWriter {
  readonly parts: readonly Part[];
  add(a: number, b: number, distance: number): void;
  /** Writes what was added, if it is at least `count` pairs, in parts of at most PAIRS_A_PART. */
  flush(count: number): Promise<void>;
}

function createPairWriter(store: Store, out: string): PairWriter {
  const parts: Part[] = [];
  let a: number[] = [];
  let b: number[] = [];
  let similarity: number[] = [];
  return {
    parts,
    add: (earlier, row, distance) => {
      a.push(earlier);
      b.push(row);
      similarity.push(1 - distance / HASH_BITS);
    },
    flush: async (count) => {
      while (a.length >= count) {
        const bytes = encodeTable({
          a: { type: 'uint64', values: Float64Array.from(a.slice(0, PAIRS_A_PART)) },
          b: { type: 'uint64', values: Float64Array.from(b.slice(0, PAIRS_A_PART)) },
          similarity: { type: 'float32', values: Float32Array.from(similarity.slice(0, PAIRS_A_PART)) },
        });
        parts.push(await writePart(store, out, parts, Math.min(PAIRS_A_PART, a.length), bytes));
        [a, b, similarity] = [a.slice(PAIRS_A_PART), b.slice(PAIRS_A_PART), similarity.slice(PAIRS_A_PART)];
      }
    },
  };
}
