/**
 * The dedup stage: `embeddings/` to `duplicates/`. Copies of the same bytes, and images whose vectors are near, are joined to
 * groups; one image of each stays (DINOv2, arXiv 2304.07193, appendix A; reference section 3.1). Departures: which one stays
 * follows a stated rule, a group that is suspiciously large is reported and kept, and nothing said of a copy is lost.
 */
import assert from 'node:assert/strict';
import { encodeTable } from '../arrow/ipc.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type Part, type StoredManifest, rowCountOf, writePart } from '../run/manifest.ts';
import { type RunContext, type StageResult, runStage } from '../run/stage.ts';
import { COPY_THRESHOLD, type DedupConfig, type NearConfig, poolThreshold } from './config.ts';
import { DUPLICATE_REASONS, type DuplicateReason, type DuplicatesManifest, type DuplicatesStats } from './duplicates.ts';
import { bucketsFor, findExact } from './exact.ts';
import { type FactsResult, type Span, readFacts } from './facts.ts';
import { searchEngine } from './cells.ts';
import { type Group, type GroupedRows, findGroups } from './groups.ts';
import { type MemberWriter, createMemberWriter } from './members.ts';
import { type NearResult, findNear } from './near.ts';
import { verdictParts } from './taken-rows.ts';

export interface DedupRequest {
  readonly images: StoredManifest<ImagesManifest>;
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  /** Steps before this one: rows with a reason of theirs are neither dropped nor kept for others. */
  readonly verdicts: readonly StoredManifest[];
  /** The vectors to compare; null: no search for near-duplicates. Parts of the rows of those of `embeddings`. */
  readonly vectors: StoredManifest<EmbeddingsManifest> | null;
  /** More pairs of rows that show the same picture, and the manifests they came from. */
  readonly pairs?: { readonly tables: readonly Part[]; readonly inputs: readonly StoredManifest[] };
  readonly config: DedupConfig;
}

/** Key prefix of the stage, and of what it needs while it works. */
export const DUPLICATES = 'duplicates';
const BASE = `work/${DUPLICATES}/steps`;

/** Groups above the guard that the manifest lists. */
const GUARDED_MAX = 100;

/** @throws {WinnowError} CHECKSUM_MISMATCH, DIMENSION_MISMATCH */
export async function dedup(context: RunContext, request: DedupRequest): Promise<StoredManifest<DuplicatesManifest>> {
  const { images, embeddings, verdicts, vectors, pairs, config } = request;
  const near = vectors === null || config.near === false ? null : config.near;
  // How the own embedding was made is told by its manifest, an input.
  const { embed: _embed, ...decisive } = near ?? {};
  // Another instruction set can put a vector that lies between two cells into the other one.
  const engine = near === null ? null : (await searchEngine(context)).provenance;
  return runStage<DuplicatesManifest>(context, {
    path: DUPLICATES,
    stage: 'dedup',
    config: { ...config, near: near === null ? false : { ...decisive, threshold: thresholdOf(near, vectors!.manifest), engine } },
    inputs: [images, embeddings, ...verdicts, ...(vectors === null || vectors === embeddings ? [] : [vectors]), ...(pairs?.inputs ?? [])],
    seeded: near !== null,
    make: () => make(context, request, near),
  });
}

function thresholdOf({ threshold, embed }: NearConfig, { encoder }: EmbeddingsManifest): number {
  return threshold ?? (embed === undefined || encoder?.name === 'descriptor' ? poolThreshold(encoder) : COPY_THRESHOLD);
}

async function make(context: RunContext, request: DedupRequest, near: NearConfig | null): Promise<StageResult<DuplicatesManifest>> {
  const { embeddings, vectors } = request;
  const spans = planSpans(context, request, embeddings);
  const facts = await scanFacts(context, request, spans);
  const compared = facts.reduce((sum, { counts }) => sum + counts.reduce((a, b) => a + b, 0), 0);
  const exact = await findExact(context, spans, facts, BASE);
  let found: NearResult | null = null;
  if (near !== null && vectors !== null) {
    const vectorSpans = planSpans(context, { ...request, verdicts: [] }, vectors);
    assert.deepEqual(vectorSpans.map(({ firstRow, rowCount }) => [firstRow, rowCount]), spans.map(({ firstRow, rowCount }) => [firstRow, rowCount]), `Expected the parts of ${vectors.path} to hold the rows of those of ${embeddings.path}`);
    found = await findNear(context, { vectors, spans: vectorSpans, facts, exact: exact.keys, points: compared - exact.copies, config: near, threshold: thresholdOf(near, vectors.manifest), base: BASE });
  }
  const guard = request.config.guard ?? Math.max(100, Math.ceil(0.01 * compared));
  return writeGroups(context, request, { spans, facts, exact: exact.keys, found, compared, guard });
}

/** Consecutive parts whose vectors take an eighth of the memory that may be held; results do not depend on it. */
function planSpans({ execution }: RunContext, { verdicts }: Pick<DedupRequest, 'verdicts'>, { manifest }: StoredManifest<EmbeddingsManifest>): Span[] {
  const rowsMax = execution.memoryBytes / 8 / (Math.max(1, manifest.d) * 4);
  const spans: Span[] = [];
  const taken = verdictParts(manifest.parts, verdicts);
  for (const [p, part] of manifest.parts.entries()) {
    const own = taken[p]!;
    const last = spans.at(-1);
    if (last === undefined || last.rowCount + part.rowCount > rowsMax) spans.push({ firstRow: part.firstRow, rowCount: part.rowCount, parts: [part], verdicts: [own] });
    else spans[spans.length - 1] = { firstRow: last.firstRow, rowCount: last.rowCount + part.rowCount, parts: [...last.parts, part], verdicts: [...last.verdicts, own] };
  }
  return spans;
}

async function scanFacts({ executor, progress }: RunContext, { images, config, embeddings }: DedupRequest, spans: readonly Span[]): Promise<FactsResult[]> {
  const rows = rowCountOf(embeddings.manifest.parts);
  progress.begin('duplicates: ids', rows, 'images');
  const payloads = spans.map((span, s) => ({
    span,
    keep: config.keep,
    images: typeof config.keep === 'object' ? images.manifest.parts.filter((part) => part.firstRow < span.firstRow + span.rowCount && part.firstRow + part.rowCount > span.firstRow) : [],
    buckets: bucketsFor(rows),
    out: `${BASE}/facts-${s}`,
  }));
  const facts = await executor.map(readFacts, payloads, DUPLICATES);
  progress.end(`${rows} ids read`);
  return facts;
}

interface Found {
  readonly spans: readonly Span[];
  readonly facts: readonly FactsResult[];
  readonly exact: readonly string[];
  readonly found: NearResult | null;
  readonly compared: number;
  readonly guard: number;
}

async function writeGroups(context: RunContext, { images, embeddings, pairs }: DedupRequest, { spans, facts, exact, found, compared, guard }: Found): Promise<StageResult<DuplicatesManifest>> {
  const { store, signal, log } = context;
  const rows = rowCountOf(embeddings.manifest.parts);
  const tally = { groups: 0, largestGroup: 0, members: 0, guarded: [] as { keeper: number; size: number }[], guardedGroups: 0, guardedRows: 0 };
  const onGroup = (group: Group): void => countGroup(tally, group, guard);
  const dropped: Partial<Record<DuplicateReason, number>> = {};
  const parts: Part[] = [];
  let members: MemberWriter | null = null;
  for await (const grouped of findGroups(store, { spans, facts, exact, pairs: found?.pairs ?? [], tables: pairs?.tables ?? [], base: BASE, signal }, onGroup)) {
    members ??= createMemberWriter(store, { path: `${DUPLICATES}/members`, base: BASE, images: images.manifest, rows, membersMax: tally.members });
    const reason = judge(grouped, guard);
    for (const part of grouped.span.parts) parts.push(await writePart(store, DUPLICATES, parts, part.rowCount, encodeRows(grouped, reason, part)));
    for (let i = 0; i < grouped.span.rowCount; i++) {
      if (grouped.keeper[i]! < 0) continue;
      const why = DUPLICATE_REASONS[reason[i]!];
      if (why !== undefined) dropped[why] = (dropped[why] ?? 0) + 1;
      await members.add(grouped.keeper[i]!, grouped.span.firstRow + i, reason[i]!, grouped.nearest[i]!, Math.min(1, grouped.similarity[i]!));
    }
  }
  const listed = (await members?.finish()) ?? [];
  const { members: memberRows, ...groups } = tally;
  const stats: DuplicatesStats = { rows, compared, dropped, ...groups, memberRows, guard, ...(found !== null && { near: found.stats }) };
  if (tally.guardedGroups > 0) {
    log.warn({ stage: 'dedup', ...tally.guarded[0] }, `duplicates: ${tally.guardedGroups} group${tally.guardedGroups === 1 ? '' : 's'} of more than ${guard} different files, ${tally.guardedRows} rows in all, kept whole (the largest around row ${tally.guarded[0]!.keeper}): likely chains through different pictures; ask for nearer pairs, or raise dedup.guard to drop them`);
  }
  return { parts, members: listed, files: listed.map(({ path }) => path), stats };
}

function countGroup(tally: { groups: number; largestGroup: number; members: number; guarded: { keeper: number; size: number }[]; guardedGroups: number; guardedRows: number }, { keeper, files, rows }: Group, guard: number): void {
  tally.members += rows;
  if (files <= guard) {
    tally.groups += 1;
    tally.largestGroup = Math.max(tally.largestGroup, rows);
    return;
  }
  tally.guardedGroups += 1;
  tally.guardedRows += rows;
  tally.guarded.push({ keeper, size: files });
  tally.guarded.sort((a, b) => b.size - a.size || a.keeper - b.keeper);
  if (tally.guarded.length > GUARDED_MAX) tally.guarded.pop();
}

/** Index of the reason of each row of a span; −1: it stays. Bytes that are there twice are dropped whatever their group's size. */
function judge({ span: { firstRow, rowCount }, keeper, size, copy }: GroupedRows, guard: number): Int8Array {
  return Int8Array.from({ length: rowCount }, (_, i) => {
    if (copy[i] === 1) return EXACT;
    if (keeper[i]! >= 0 && keeper[i] !== firstRow + i && size[i]! <= guard) return NEAR;
    return -1;
  });
}

function encodeRows({ span, keeper, nearest, similarity }: GroupedRows, reason: Int8Array, { firstRow, rowCount }: Part): Uint8Array {
  const from = firstRow - span.firstRow;
  const [group, other, near] = [keeper.slice(from, from + rowCount), nearest.slice(from, from + rowCount), similarity.slice(from, from + rowCount)];
  const known = Uint8Array.from(group, (row) => (row < 0 ? 0 : 1));
  const orZero = (values: Float64Array): Float64Array => values.map((value) => Math.max(0, value));
  return encodeTable({
    reason: { type: 'dictionary', values: Array.from(reason.subarray(from, from + rowCount), (one) => DUPLICATE_REASONS[one] ?? null), dictionary: DUPLICATE_REASONS },
    group: { type: 'uint64', values: orZero(group), valid: known },
    keeper: { type: 'bool', values: Uint8Array.from(group, (row, i) => (row === firstRow + i ? 1 : 0)) },
    nearest: { type: 'uint64', values: orZero(other), valid: known },
    similarity: { type: 'float32', values: near.map((value) => Math.min(1, value)), valid: known },
  });
}

const EXACT = DUPLICATE_REASONS.indexOf('exact-duplicate');
const NEAR = DUPLICATE_REASONS.indexOf('near-duplicate');
