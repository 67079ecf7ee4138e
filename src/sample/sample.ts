/**
 * Balanced sampling: quotas down the cluster tree, then a draw in every leaf (reference section 2.4; Vo et al. 2024).
 * Departures: `furthest` exists, distances are those stored at assignment, every order is keyed or by distance with
 * ties by row, so targets are nested exactly (see `allocate.ts`), and what the pool cannot give is a number.
 */
import assert from 'node:assert/strict';
import { encodeTable } from '../arrow/ipc.ts';
import { type ClusterTree, type ClustersManifest, NO_CLUSTER, groupByParent, readAssignment, readTree, truncateTree } from '../cluster/tree.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { randomStream } from '../random.ts';
import { type Part, type StoredManifest, rowCountOf, writePart } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type LevelAllocation, allocateTree } from './allocate.ts';
import { type OverridesConfig, type SampleConfig, targetCount } from './config.ts';
import { type OverridesEffect, describeEffect, limitTree, quotasOfLevels } from './overrides.ts';
import { SELECTION_PART_ROWS, type SelectionManifest } from './selection.ts';
import { forSmallest } from './smallest.ts';

export interface SamplePayload {
  /** SHA-256 of the manifest of `clusters/`. */
  readonly clusters: string;
  /** Key prefix of the selection, such as `selections/balanced`. */
  readonly path: string;
  readonly config: SampleConfig;
  /** Curation by hand of this very tree. */
  readonly overrides?: OverridesConfig | undefined;
  readonly seed: number;
}

export type SampleResult = Pick<SelectionManifest, 'requested' | 'selected' | 'unique' | 'shortfall'> & { readonly parts: Part[]; readonly stats: Record<string, unknown> };

/**
 * The whole stage as one task. Holds 14 bytes a row of the pool (leaf 4, distance 4, row by leaf 4, copies 2) and
 * about 40 bytes a cluster; the pool has to stay below 2^32 rows. Reads the assignment one part at a time.
 *
 * @throws {WinnowError} TARGET_UNREACHABLE when `strict` and the pool is too small, before anything is written;
 * TOO_FEW_ROWS when no image is clustered; OVERRIDES_STALE when the overrides are of another tree; CHECKSUM_MISMATCH when `clusters/` is not the one the payload names
 */
export const sampleTask: TaskKind<SamplePayload, SampleResult> = { name: 'sample', version: 1, run };

/** Rows of the pool in memory: what a draw looks at. */
export interface Leaves {
  /** Level-1 cluster by row; NO_CLUSTER for rows that were not clustered. */
  readonly leaf: Uint32Array;
  /** Squared distance to the leaf's centroid, by row. */
  readonly distance: Float32Array;
}

/**
 * Draws each leaf's quota q from its s rows: all of them `multiplier` times when q ≥ s · multiplier, else ⌊q / s⌋ copies
 * of each and one more of q mod s rows: those first by a keyed draw (`random`), by distance ascending (`closest`) or
 * descending (`furthest`), ties by row. A larger quota takes every copy that a smaller one takes.
 *
 * @param quota copies each leaf gives, length k
 * @returns copies by row, 0 … multiplier. O(n log s) time, 6 bytes a row beside the arguments.
 */
export function drawCopies({ leaf, distance }: Leaves, quota: Float64Array, { strategy, multiplier }: Pick<SampleConfig, 'strategy' | 'multiplier'>, seed: number): Uint16Array {
  const { offset, child: row } = groupByParent(leaf, quota.length);
  const stream = randomStream(seed, 'sample', 'leaf');
  const keyOf = { random: (r: number) => stream.uniform(r), closest: (r: number) => distance[r]!, furthest: (r: number) => -distance[r]! }[strategy];
  const copies = new Uint16Array(leaf.length);
  let keys = new Float64Array(1024);
  let scratch = new Float64Array(1024);
  for (let c = 0; c < quota.length; c++) {
    if (quota[c] === 0) continue;
    const from = offset[c]!;
    const s = offset[c + 1]! - from;
    assert(quota[c]! <= s * multiplier, `Expected leaf ${c} to give at most ${s} × ${multiplier} images, got a quota of ${quota[c]}`);
    const extra = quota[c]! % s;
    const full = (quota[c]! - extra) / s;
    for (let j = 0; j < s; j++) copies[row[from + j]!] = full;
    if (extra === 0) continue;
    if (s > keys.length) {
      keys = new Float64Array(2 * s);
      scratch = new Float64Array(2 * s);
    }
    for (let j = 0; j < s; j++) keys[j] = keyOf(row[from + j]!);
    forSmallest(keys, s, extra, scratch, (j) => copies[row[from + j]!]!++);
  }
  return copies;
}

async function run(payload: SamplePayload, env: TaskEnv): Promise<SampleResult> {
  const { config, seed, path } = payload;
  const { stored, tree: whole } = await readTree(env.store);
  if (stored.sha256 !== payload.clusters) {
    throw new WinnowError('CHECKSUM_MISMATCH', `Expected the clusters whose manifest has SHA-256 ${payload.clusters.slice(0, 12)}…, found ${stored.sha256.slice(0, 12)}… in ${env.store.uri}: run \`winnow sample\` again`);
  }
  const images = sum(whole.levels.at(-1)!.size);
  const { depth, floor, requested, available, allocations, effect } = planQuotas(whole, stored, payload);
  checkTarget(requested, images, available, config);
  const tree = truncateTree(whole, depth);
  const leaves = await readLeaves(stored, env);
  assertSizes(tree, leaves.leaf);
  const copies = drawCopies(leaves, allocations[0]!.quota, config, seed);
  throwIfAborted(env.signal);
  const parts = await writeSelection(env, path, copies, leaves.distance);
  const selected = Math.min(requested, available);
  assert(sum(copies) === selected, `Expected the leaves to give ${selected} images, got ${sum(copies)}`);
  const stats = { images, depth, floor, ...(effect !== null && { overrides: effect }), levels: tree.levels.map((_, l) => describeLevel(tree, l, allocations[l]!, config.multiplier)) };
  return { parts, stats, requested, selected, unique: rowCountOf(parts), shortfall: requested - selected };
}

/** The quotas of a draw, by sizes alone. */
export interface QuotaPlan {
  /** Level whose clusters share the target. */
  readonly depth: number;
  readonly floor: number;
  /** Images asked for. */
  readonly requested: number;
  /** Images that the pool can give, copies counted. */
  readonly available: number;
  /** Level 1 first, up to `depth`. */
  readonly allocations: readonly LevelAllocation[];
  /** What the overrides changed; null without any. */
  readonly effect: OverridesEffect | null;
}

/**
 * What each cluster gives, before any image is drawn. O(Σ k) time and memory.
 *
 * @param tree all levels of the stored tree
 * @throws {WinnowError} OVERRIDES_STALE, CONFIG_INVALID
 */
export function planQuotas(tree: ClusterTree, clusters: StoredManifest<ClustersManifest>, { config, overrides, seed }: Pick<SamplePayload, 'config' | 'overrides' | 'seed'>): QuotaPlan {
  const { depth, floor } = resolveDial(config, clusters.manifest);
  const { multiplier } = config;
  const images = sum(tree.levels.at(-1)!.size);
  const requested = targetCount(config.target, images);
  const plain = allocateTree(tree, requested, multiplier, seed, { depth, floor });
  if (overrides === undefined) return { depth, floor, requested, available: images * multiplier, allocations: plain, effect: null };
  const limits = limitTree(tree, clusters.sha256, overrides, { depth, multiplier, floor, seed });
  const allocations = allocateTree(tree, requested, multiplier, seed, { depth, floor, limits });
  const effect = describeEffect(tree, overrides, quotasOfLevels(tree, plain), quotasOfLevels(tree, allocations));
  return { depth, floor, requested, available: sum(limits.capacity[depth - 1]!), allocations, effect };
}

/** Where the recipe leaves the dial to the data, what the tree was planned with decides. */
function resolveDial({ depth, floor }: SampleConfig, { draw, levels }: ClustersManifest): { depth: number; floor: number } {
  const L = levels.length;
  if (depth !== 'auto' && depth > L) throw new WinnowError('CONFIG_INVALID', `Expected sample.depth from 1 to the levels of the tree (${L}), got ${depth}`);
  return { depth: depth === 'auto' ? draw.depth : depth, floor: floor === 'auto' ? draw.floor : floor };
}

function checkTarget(requested: number, images: number, available: number, { target, multiplier, strict }: SampleConfig): void {
  if (images === 0) throw new WinnowError('TOO_FEW_ROWS', `Expected clustered images to sample from, got none`);
  if (strict && requested > available) {
    throw new WinnowError('TARGET_UNREACHABLE', `Expected sample.target (${target}, ${requested} images) within what the pool can give, which is ${available} (${images} clustered images, each at most ${multiplier} times${available < images * multiplier ? ', less what `overrides` cap or exclude' : ''}): lower sample.target, raise sample.multiplier, or set sample.strict to false`, {
      details: { requested, images, multiplier, available, shortfall: requested - available },
    });
  }
}

async function readLeaves(stored: StoredManifest<ClustersManifest>, env: TaskEnv): Promise<Leaves> {
  const n = rowCountOf(stored.manifest.parts);
  assert(n < NO_CLUSTER, `Expected a pool of less than 2^32 rows for sampling in one task, got ${n}`);
  const leaf = new Uint32Array(n);
  const distance = new Float32Array(n);
  for await (const block of readAssignment(env.store, stored.manifest)) {
    throwIfAborted(env.signal);
    leaf.set(block.cluster, block.firstRow);
    distance.set(block.distance, block.firstRow);
    env.advance(block.cluster.length);
  }
  return { leaf, distance };
}

function assertSizes(tree: ClusterTree, leaf: Uint32Array): void {
  const { k, size } = tree.levels[0]!;
  const count = new Float64Array(k);
  for (const c of leaf) if (c !== NO_CLUSTER) count[c]!++;
  for (let c = 0; c < k; c++) assert(count[c] === size[c], `Expected ${size[c]} rows in level-1 cluster ${c}, the assignment has ${count[c]}`);
}

/** Parts of SELECTION_PART_ROWS entries, rows ascending. */
async function writeSelection(env: TaskEnv, path: string, copies: Uint16Array, distance: Float32Array): Promise<Part[]> {
  const parts: Part[] = [];
  const entry = { row: new Float64Array(SELECTION_PART_ROWS), copies: new Uint16Array(SELECTION_PART_ROWS), score: new Float32Array(SELECTION_PART_ROWS) };
  let filled = 0;
  for (let r = 0; r < copies.length; r++) {
    if (copies[r] === 0) continue;
    entry.row[filled] = r;
    entry.copies[filled] = copies[r]!;
    entry.score[filled] = distance[r]!;
    if (++filled < SELECTION_PART_ROWS) continue;
    throwIfAborted(env.signal);
    parts.push(await writePart(env.store, path, parts, filled, encodeEntries(entry, filled)));
    filled = 0;
  }
  if (filled > 0) parts.push(await writePart(env.store, path, parts, filled, encodeEntries(entry, filled)));
  return parts;
}

function encodeEntries(entry: { row: Float64Array; copies: Uint16Array; score: Float32Array }, rowCount: number): Uint8Array {
  return encodeTable({
    row: { type: 'uint64', values: entry.row.slice(0, rowCount) },
    copies: { type: 'uint16', values: entry.copies.slice(0, rowCount) },
    score: { type: 'float32', values: entry.score.slice(0, rowCount) },
  });
}

/** What the quotas did to one level: `before` is the share of the pool under each cluster, `after` that of the selection. */
function describeLevel(tree: ClusterTree, l: number, { quota, ...counts }: LevelAllocation, multiplier: number): Record<string, unknown> {
  const { k, size } = tree.levels[l]!;
  let exhausted = 0;
  let untouched = 0;
  for (let c = 0; c < k; c++) {
    if (size[c] === 0) continue;
    if (quota[c] === 0) untouched++;
    else if (quota[c] === size[c]! * multiplier) exhausted++;
  }
  return { level: l + 1, k, exhausted, untouched, ...counts, before: balance(size), after: balance(quota) };
}

/** Entropy of shares in nats, and its exponential: the number of equal clusters that would be as balanced. */
function balance(counts: Float64Array): { entropy: number; effective: number } {
  const total = sum(counts);
  let entropy = 0;
  for (const count of counts) if (count > 0) entropy -= (count / total) * Math.log(count / total);
  return { entropy, effective: Math.exp(entropy) };
}

/** Exact for integers up to 2^53. */
function sum(values: Float64Array | Uint16Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
