/**
 * `survivors/`: the pool as later stages see it, once filters and the search for duplicates have judged it. Its manifest is
 * that of `embeddings/` with other counts: the vectors stay where they are, and beside each part lies a small table of how
 * every row ended: the status embedding gave it, or the first reason of a step after it.
 */
import assert from 'node:assert/strict';
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { type Manifest, type Part, type StoredManifest, readManifest, readPart, requireManifest } from '../run/manifest.ts';
import { type RunContext, type TaskKind, runStage } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { type EmbeddingPart, type EmbeddingsManifest, readEmbeddingFacts } from './embedding.ts';

export const SURVIVORS = 'survivors';

/** A step that takes rows out of the pool: parts over the same rows as those of `embeddings/`, with a column `reason`, null where a row stays. */
export type Verdicts = StoredManifest;

interface StatusPayload {
  readonly embeddings: EmbeddingPart;
  readonly verdicts: readonly Part[];
  readonly out: string;
}

interface StatusResult {
  readonly part: Part;
  readonly statuses: Readonly<Record<string, number>>;
}

/** One part: the first reason a row was given, in the order of the steps. */
export const statusTask: TaskKind<StatusPayload, StatusResult> = {
  name: 'survivors',
  version: 1,
  run: async ({ embeddings, verdicts, out }, { store, advance }) => {
    const status = [...(await readEmbeddingFacts(store, embeddings)).status];
    for (const part of verdicts) {
      const reasons = decodeTable(await readPart(store, part), part.path).strings('reason');
      for (let i = 0; i < status.length; i++) if (status[i] === 'ok' && reasons[i] !== null) status[i] = reasons[i]!;
    }
    const { sizeBytes, sha256 } = await store.write(out, encodeTable({ status: { type: 'dictionary', values: status } }));
    advance(status.length);
    const { firstRow, rowCount } = embeddings;
    return { part: { path: out, firstRow, rowCount, bytes: sizeBytes, sha256 }, statuses: countOf(status) };
  },
};

/**
 * Joins what embedding and the steps after it said of each row.
 *
 * @param verdicts in the order of the steps: the first reason wins
 * @param path key prefix of the table
 */
export function findSurvivors(context: RunContext, embeddings: StoredManifest<EmbeddingsManifest>, verdicts: readonly Verdicts[], path = SURVIVORS): Promise<StoredManifest<EmbeddingsManifest>> {
  const { d, encoder, maxAbs, parts, config, stats } = embeddings.manifest;
  return runStage<EmbeddingsManifest>(context, {
    path,
    stage: SURVIVORS,
    config,
    inputs: [embeddings, ...verdicts],
    seeded: false,
    make: async () => {
      const payloads = parts.map((part, p): StatusPayload => ({
        embeddings: part,
        verdicts: verdicts.map((one) => alignedPart(one.path, one.manifest, p, part)),
        out: `${path}/part-${String(p).padStart(5, '0')}.arrow`,
      }));
      const results = await context.executor.map(statusTask, payloads, path);
      const statuses: Record<string, number> = {};
      for (const result of results) for (const [status, rows] of Object.entries(result.statuses)) statuses[status] = (statuses[status] ?? 0) + rows;
      return {
        parts: parts.map((part, p) => ({ ...part, status: results[p]!.part })),
        files: results.map(({ part }) => part.path),
        stats: { ...stats, statuses },
        d, encoder, maxAbs, okRows: results.map((result) => result.statuses.ok ?? 0),
      };
    },
  });
}

/** The pool as stages after this one read it: `survivors/` where there is one, `embeddings/` otherwise. @throws {WinnowError} INPUT_MISSING */
export async function requirePool(store: Store): Promise<StoredManifest<EmbeddingsManifest>> {
  return (await readManifest<EmbeddingsManifest>(store, SURVIVORS)) ?? requireManifest<EmbeddingsManifest>(store, 'embeddings', 'embed');
}

function alignedPart(path: string, { parts }: Manifest, p: number, rows: Part): Part {
  const part = parts[p];
  assert(part !== undefined && part.firstRow === rows.firstRow && part.rowCount === rows.rowCount, `Expected part ${p} of ${path} to hold the rows of ${rows.path}`);
  return part;
}

function countOf(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}
