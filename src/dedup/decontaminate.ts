/**
 * Decontamination (DINOv2, arXiv 2304.07193, appendix A; reference section 3.1): rows of the pool that are near an image of an
 * evaluation set go, and with each the whole group of duplicates it is in. Departures: a group above the guard of `duplicates/`,
 * which likely is a chain through different pictures, loses only the rows that are near themselves; and both sides are reported.
 *
 * Memory beside the tasks': a few numbers for each group that is touched and each row that is hit.
 */
import assert from 'node:assert/strict';
import { encodeTable } from '../arrow/ipc.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type Part, type StoredManifest, rowCountOf } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { float64Of } from './arrays.ts';
import { CONTAMINATION, type ContaminationManifest, type ContaminationReason, type ContaminationSet, type DecontaminateConfig } from './contamination.ts';
import { type DuplicatesManifest, readDuplicates } from './duplicates.ts';
import { writeReferences } from './reference-report.ts';
import { HIT_WORDS, type PoolSpan, type ReferencePayload, type ReferenceResult, referenceTask } from './search-references.ts';
import { verdictParts } from './taken-rows.ts';

/** An evaluation set, listed and embedded. */
export interface EvaluationSet {
  readonly name: string;
  readonly threshold: number;
  readonly mode: DecontaminateConfig['mode'];
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
}

export interface DecontaminateRequest {
  readonly images: StoredManifest<ImagesManifest>;
  /** The pool's vectors, of the kind that the sets were embedded with. */
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** Tables of filters; duplicates are compared all the same, since a copy of what stays may be the nearer one. */
  readonly verdicts: readonly StoredManifest[];
  /** Groups that go as a whole; null: each row is on its own. */
  readonly duplicates: StoredManifest<DuplicatesManifest> | null;
  readonly sets: readonly EvaluationSet[];
}

/** Rows of a task: 16 parts, so that the references are read once for as many. */
const SPAN_PARTS = 16;

/**
 * Compares the pool with all sets and writes `contamination/`; then holds the gate. The gate decides no byte: another `mode`
 * makes nothing again.
 *
 * @throws {WinnowError} CONTAMINATED when a set of mode `fail` has a match (the table and its report are there by then); DIMENSION_MISMATCH
 */
export async function decontaminate(context: RunContext, request: DecontaminateRequest): Promise<StoredManifest<ContaminationManifest>> {
  const { embeddings, verdicts, duplicates, sets } = request;
  for (const set of sets) requireSameSpace(embeddings, set);
  const stored = await runStage<ContaminationManifest>(context, {
    path: CONTAMINATION,
    stage: 'dedup',
    config: { sets: sets.map(({ name, threshold }) => ({ name, threshold })) },
    inputs: [request.images, embeddings, ...verdicts, ...(duplicates === null ? [] : [duplicates]), ...sets.flatMap((set) => [set.images, set.embeddings])],
    seeded: false,
    make: () => make(context, request),
  });
  for (const set of stored.manifest.sets) if (sets.find(({ name }) => name === set.name)?.mode === 'fail') requireClean(set, context.store);
  return stored;
}

function requireSameSpace(pool: StoredManifest<EmbeddingsManifest>, { name, embeddings }: EvaluationSet): void {
  const [wanted, got] = [pool.manifest.d, embeddings.manifest.d];
  if (wanted > 0 && wanted === got) return;
  throw new WinnowError('DIMENSION_MISMATCH', `Expected vectors of the evaluation set ${name} with the ${wanted} dimensions of those in ${pool.path}, got ${got}: embed both with the same model`);
}

function requireClean({ name, matched, images, rows, threshold, top }: ContaminationSet, store: Store): void {
  if (matched === 0) return;
  const worst = top[0]!;
  throw new WinnowError(
    'CONTAMINATED',
    `Expected no image of the evaluation set ${name} in the pool, got ${matched} of ${images} with a similarity above ${threshold} to ${rows} images of the pool, such as ${worst.referenceUri} and ${worst.uri} (${worst.similarity.toFixed(3)}); all are in ${CONTAMINATION}/ of ${store.uri}: take them out, or say \`mode: drop\``,
    { details: { set: name, matched, rows, top } },
  );
}

async function make(context: RunContext, request: DecontaminateRequest): Promise<{ parts: Part[]; files: string[]; stats: ContaminationManifest['stats']; sets: ContaminationSet[] }> {
  const { store, executor, progress, signal } = context;
  const { embeddings, sets, duplicates, images } = request;
  const { parts, d } = embeddings.manifest;
  progress.begin(CONTAMINATION, rowCountOf(parts), 'images');
  const payloads = planSpans(request).map((span, s): ReferencePayload => ({ span, sets: sets.map(({ threshold, embeddings: { manifest } }) => ({ parts: manifest.parts, threshold })), d, out: `work/${CONTAMINATION}/hits-${s}` }));
  const results = await executor.map(referenceTask, payloads, CONTAMINATION);
  const touched = await findTouched(store, results, duplicates, signal);
  const written = await writeRows(store, results, { parts, sets, duplicates, touched, signal });
  const reported: ContaminationSet[] = [];
  for (const [index, set] of sets.entries()) reported.push(await writeReferences(store, results, { index, ...set, rows: written.rowsOf[index]!, pool: images }));
  const leaving = written.stats.leaving;
  progress.end(reported.map(({ name, matched, images: of, rows }) => `${name}: ${matched} of ${of} images in the pool (${rows} rows)`).join('; ') + `; ${leaving} images leave the pool`);
  return { parts: written.parts, files: reported.flatMap(({ references }) => references.map(({ path }) => path)), stats: written.stats, sets: reported };
}

function planSpans({ embeddings: { manifest }, verdicts }: DecontaminateRequest): PoolSpan[] {
  const judged = verdictParts(manifest.parts, verdicts);
  const spans: PoolSpan[] = [];
  for (let p = 0; p < manifest.parts.length; p += SPAN_PARTS) spans.push({ parts: manifest.parts.slice(p, p + SPAN_PARTS), verdicts: judged.slice(p, p + SPAN_PARTS) });
  return spans;
}

/** The strongest link of a row or of a group with a set. */
interface Hit {
  readonly set: number;
  readonly via: number;
  readonly reference: number;
  readonly similarity: number;
}

/** Hits of one span by row: of the sets that a row is near, the one it is nearest to. */
async function readHits(store: Store, { rows }: ReferenceResult, onHit: (hit: Hit) => void = () => undefined): Promise<Map<number, Hit>> {
  const values = float64Of(await store.read(rows));
  const hits = new Map<number, Hit>();
  for (let at = 0; at < values.length; at += HIT_WORDS) {
    const hit = { set: values[at]!, via: values[at + 1]!, reference: values[at + 2]!, similarity: values[at + 3]! };
    onHit(hit);
    const before = hits.get(hit.via);
    if (before === undefined || hit.similarity > before.similarity) hits.set(hit.via, hit);
  }
  return hits;
}

/** Groups with a row that is hit, by the strongest of their hits; groups above the guard are left out. */
async function findTouched(store: Store, results: readonly ReferenceResult[], duplicates: DecontaminateRequest['duplicates'], signal: AbortSignal): Promise<Map<number, Hit>> {
  const touched = new Map<number, Hit>();
  if (duplicates === null) return touched;
  const guarded = new Set<number>();
  const hitsOf = hitsByPart(store, results, duplicates.manifest.parts);
  for (const part of duplicates.manifest.parts) {
    throwIfAborted(signal);
    const { firstRow, rowCount, reason, group, keeper } = await readDuplicates(store, part);
    const hits = await hitsOf(part);
    for (let i = 0; i < rowCount; i++) {
      const own = group[i]!;
      if (own < 0) continue;
      // A member that stays beside the keeper: the group was too large to be believed.
      if (keeper[i] === 0 && reason[i] === null) guarded.add(own);
      const hit = hits.get(firstRow + i);
      const before = touched.get(own);
      if (hit !== undefined && (before === undefined || hit.similarity > before.similarity)) touched.set(own, hit);
    }
  }
  for (const group of guarded) touched.delete(group);
  return touched;
}

/** Hits of the span that holds a part; parts are asked for in order. */
function hitsByPart(store: Store, results: readonly ReferenceResult[], parts: readonly Part[], onHit?: (hit: Hit) => void): (part: Part) => Promise<Map<number, Hit>> {
  let span = -1;
  let hits = new Map<number, Hit>();
  return async (part) => {
    const wanted = Math.floor(parts.indexOf(part) / SPAN_PARTS);
    if (wanted !== span) hits = await readHits(store, results[wanted]!, onHit);
    span = wanted;
    return hits;
  };
}

interface RowsRequest extends Pick<DecontaminateRequest, 'sets' | 'duplicates'> {
  readonly parts: readonly Part[];
  readonly touched: ReadonlyMap<number, Hit>;
  readonly signal: AbortSignal;
}

async function writeRows(store: Store, results: readonly ReferenceResult[], { parts, sets, duplicates, touched, signal }: RowsRequest): Promise<{ parts: Part[]; stats: ContaminationManifest['stats']; rowsOf: number[] }> {
  const rowsOf = sets.map(() => 0);
  const hitsOf = hitsByPart(store, results, parts, ({ set }) => void rowsOf[set]!++);
  const dropped = { contaminated: 0, 'contaminated-group': 0 };
  let leaving = 0;
  const written: Part[] = [];
  for (const [p, part] of parts.entries()) {
    throwIfAborted(signal);
    const hits = await hitsOf(part);
    const copies = duplicates?.manifest.parts[p];
    assert(duplicates === null || (copies?.firstRow === part.firstRow && copies.rowCount === part.rowCount), `Expected part ${p} of duplicates/ to hold the rows of ${part.path}`);
    const block = copies === undefined ? null : await readDuplicates(store, copies);
    const columns = openColumns(part.rowCount);
    for (let i = 0; i < part.rowCount; i++) {
      const own = hits.get(part.firstRow + i);
      const hit = own ?? touched.get(block?.group[i] ?? -1);
      if (hit === undefined) continue;
      const reason = own === undefined ? 'contaminated-group' : 'contaminated';
      columns.put(i, reason, sets[hit.set]!.name, hit);
      dropped[reason]++;
      if ((block?.reason[i] ?? null) === null) leaving++;
    }
    const path = `${CONTAMINATION}/part-${String(p).padStart(5, '0')}.arrow`;
    const { sizeBytes, sha256 } = await store.write(path, columns.encode());
    written.push({ path, firstRow: part.firstRow, rowCount: part.rowCount, bytes: sizeBytes, sha256 });
  }
  return { parts: written, stats: { dropped, leaving }, rowsOf };
}

function openColumns(n: number): { put(i: number, reason: ContaminationReason, set: string, hit: Hit): void; encode(): Uint8Array } {
  const reason = new Array<ContaminationReason | null>(n).fill(null);
  const evaluation = new Array<string | null>(n).fill(null);
  const [reference, via, similarity, valid] = [new Float64Array(n), new Float64Array(n), new Float32Array(n), new Uint8Array(n)];
  return {
    put: (i, why, set, hit) => {
      reason[i] = why;
      evaluation[i] = set;
      reference[i] = hit.reference;
      via[i] = hit.via;
      similarity[i] = hit.similarity;
      valid[i] = 1;
    },
    encode: () =>
      encodeTable({
        reason: { type: 'dictionary', values: reason },
        evaluation: { type: 'dictionary', values: evaluation },
        reference: { type: 'uint64', values: reference, valid },
        via: { type: 'uint64', values: via, valid },
        similarity: { type: 'float32', values: similarity, valid },
      }),
  };
}
