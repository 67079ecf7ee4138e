/** What became of each row of the pool, as arrays: 7 bytes a row, read part by part. */
import { decodeTable } from '../arrow/ipc.ts';
import { NO_CLUSTER } from '../cluster/tree.ts';
import { readEmbeddingFacts } from '../embed/embedding.ts';
import { throwIfAborted } from '../errors.ts';
import { readPart, rowCountOf } from '../run/manifest.ts';
import { readSelection } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import type { ReportFacts } from './facts.ts';

export interface PoolRows {
  readonly n: number;
  /** Level-1 cluster by row; NO_CLUSTER where there is none. */
  readonly leaf: Uint32Array;
  /** Copies in the balanced selection, by row. */
  readonly copies: Uint16Array;
  /** Why a row is not in the tree: an index of `reasons`; 0 for rows that are. */
  readonly reason: Uint8Array;
  /** Reasons in order of first appearance; the first is empty. */
  readonly reasons: readonly string[];
  /** Row of each level-1 cluster closest to its centroid, ties by row; NO_CLUSTER where it is empty. Length k. */
  readonly closest: Uint32Array;
}

/** Without a tree the reasons are those of the pool's statuses. @throws {WinnowError} CHECKSUM_MISMATCH, ABORTED */
export async function readPoolRows(store: Store, facts: ReportFacts, signal: AbortSignal): Promise<PoolRows> {
  const n = rowCountOf(facts.images.manifest.parts);
  const k = facts.clusters?.manifest.levels[0]?.k ?? 0;
  const leaf = new Uint32Array(n).fill(NO_CLUSTER);
  const reason = new Uint8Array(n);
  const codes = new Map<string, number>([['', 0]]);
  // 255 reasons are more than there are; what came later would share the last code.
  const codeOf = (text: string): number => codes.get(text) ?? (codes.size < 255 ? codes.set(text, codes.size).size - 1 : 255);
  const closest = new Uint32Array(k).fill(NO_CLUSTER);
  if (facts.clusters !== null) {
    const best = new Float32Array(k).fill(Infinity);
    for (const part of facts.clusters.manifest.parts) {
      throwIfAborted(signal);
      const view = decodeTable(await readPart(store, part), part.path);
      const [cluster, distance, reasons, valid] = [view.numbers('cluster'), view.numbers('distance'), view.strings('reason'), view.validity('cluster')];
      for (let i = 0; i < part.rowCount; i++) {
        const row = part.firstRow + i;
        if (valid !== undefined && valid[i] === 0) {
          reason[row] = codeOf(reasons[i] ?? 'unknown');
          continue;
        }
        const c = cluster[i]!;
        leaf[row] = c;
        if (distance[i]! < best[c]!) {
          best[c] = distance[i]!;
          closest[c] = row;
        }
      }
    }
  } else if (facts.pool !== null) {
    for (const part of facts.pool.manifest.parts) {
      throwIfAborted(signal);
      const { status } = await readEmbeddingFacts(store, part);
      status.forEach((one, i) => one !== 'ok' && (reason[part.firstRow + i] = codeOf(one)));
    }
  }
  return { n, leaf, reason, reasons: [...codes.keys()], closest, copies: await readCopies(store, facts, n, signal) };
}

async function readCopies(store: Store, { balanced }: ReportFacts, n: number, signal: AbortSignal): Promise<Uint16Array> {
  const all = new Uint16Array(n);
  if (balanced === null) return all;
  for await (const { row, copies } of readSelection(store, balanced.manifest)) {
    throwIfAborted(signal);
    for (let i = 0; i < row.length; i++) all[row[i]!] = copies[i]!;
  }
  return all;
}
