/** Contact sheets of a finished run: a random draw beside the curated set, and clusters with their closest members. */
import { type ClustersManifest, NO_CLUSTER, groupByParent, readAssignment } from '../cluster/tree.ts';
import type { DecodeLimits } from '../embed/embedding.ts';
import type { ByteReader, ImagesManifest } from '../ingest/image.ts';
import { drawDistinct, randomStream } from '../random.ts';
import { requireManifest, rowCountOf } from '../run/manifest.ts';
import { type SelectionManifest, readSelection } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';
import { drawContactSheet } from './contact-sheet.ts';

const COLUMNS = 16;
const ROWS = 6;
const CLUSTERS = 14;

export interface RunSheetOptions {
  readonly reader: ByteReader;
  readonly limits: DecodeLimits;
  readonly seed: number;
}

/**
 * Writes `sheets/before-after.png` (above: a random draw of the pool; below: one of the selection, both in pool order) and
 * `sheets/clusters.png` (level-1 clusters from the largest to the smallest, a row each, closest members first).
 *
 * @returns the keys. Holds 8 bytes a row of the pool.
 */
export async function drawRunSheets(store: Store, options: RunSheetOptions): Promise<string[]> {
  const images = (await requireManifest<ImagesManifest>(store, 'images', 'ingest')).manifest;
  const clusters = (await requireManifest<ClustersManifest>(store, 'clusters', 'cluster')).manifest;
  const selection = (await requireManifest<SelectionManifest>(store, 'selections/balanced', 'sample')).manifest;
  const { leaf, distance } = await readLeaves(store, clusters);
  const pool = Uint32Array.from(leaf.keys()).filter((row) => leaf[row] !== NO_CLUSTER);
  const selected: number[] = [];
  for await (const { row } of readSelection(store, selection)) selected.push(...row);
  const draw = (rows: ArrayLike<number>, name: string): number[][] => grid(Array.from(drawDistinct(randomStream(options.seed, 'sheets', name), rows.length, COLUMNS * ROWS), (i) => rows[i]!));
  const sheets = {
    'sheets/before-after.png': [{ cells: draw(pool, 'random') }, { cells: draw(selected, 'curated') }],
    'sheets/clusters.png': [{ cells: clusterRows(leaf, distance, clusters.levels[0]!.k) }],
  };
  for (const [key, blocks] of Object.entries(sheets)) await store.write(key, await drawContactSheet(store, images, blocks, options));
  return Object.keys(sheets);
}

async function readLeaves(store: Store, clusters: ClustersManifest): Promise<{ leaf: Uint32Array; distance: Float32Array }> {
  const n = rowCountOf(clusters.parts);
  const leaf = new Uint32Array(n);
  const distance = new Float32Array(n);
  for await (const block of readAssignment(store, clusters)) {
    leaf.set(block.cluster, block.firstRow);
    distance.set(block.distance, block.firstRow);
  }
  return { leaf, distance };
}

function clusterRows(leaf: Uint32Array, distance: Float32Array, k: number): number[][] {
  const { offset, child } = groupByParent(leaf, k);
  const bySize = Array.from({ length: k }, (_, c) => c).filter((c) => offset[c + 1]! - offset[c]! >= 3).sort((a, b) => offset[b + 1]! - offset[b]! - (offset[a + 1]! - offset[a]!) || a - b);
  const shown = Array.from({ length: Math.min(CLUSTERS, bySize.length) }, (_, i) => bySize[Math.floor((i * bySize.length) / Math.min(CLUSTERS, bySize.length))]!);
  return shown.map((c) => [...child.subarray(offset[c]!, offset[c + 1]!)].sort((a, b) => distance[a]! - distance[b]! || a - b).slice(0, COLUMNS));
}

function grid(cells: readonly number[]): number[][] {
  return Array.from({ length: Math.ceil(cells.length / COLUMNS) }, (_, r) => cells.slice(r * COLUMNS, (r + 1) * COLUMNS));
}
