/**
 * Balance of a column of labels: in the pool, in a random subset of the size of the selection, and in the selection.
 * Labels never choose images; this only measures what balancing did.
 */
import { decodeTable } from '../arrow/ipc.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { randomStream } from '../random.ts';
import { readPart } from '../run/manifest.ts';
import { type SelectionManifest, readSelection } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';

export interface Balance {
  readonly images: number;
  /** Labels with at least one image. */
  readonly labels: number;
  /** exp(entropy of the label shares): the number of equally large labels that would be as even. */
  readonly effective: number;
  /** Entropy divided by that of all the pool's labels in equal shares; 1 is perfectly even. */
  readonly entropy: number;
}

export interface BalanceReport {
  readonly pool: Balance;
  /** Means over `randomSeeds` random subsets of the selection's size. */
  readonly random: Balance;
  readonly randomSeeds: number;
  readonly selection: Balance;
  /** Labels whose share grew and shrank most: share in the selection over share in the pool. */
  readonly gains: readonly LabelChange[];
  readonly losses: readonly LabelChange[];
}

export interface LabelChange {
  readonly label: string;
  readonly pool: number;
  readonly selected: number;
}

const RANDOM_SEEDS = 5;

/** @returns null when no usable image of the pool has a label. Holds 4 bytes a row of the pool. */
export async function measureBalance(store: Store, images: ImagesManifest, embeddings: EmbeddingsManifest, selection: SelectionManifest): Promise<BalanceReport | null> {
  const { codes, names } = await readLabels(store, images, embeddings);
  if (names.length === 0) return null;
  const rows = codes.length;
  const pool = new Float64Array(names.length);
  for (const code of codes) if (code !== NO_LABEL) pool[code]!++;
  const selected = new Float64Array(names.length);
  for await (const { row, copies } of readSelection(store, selection)) {
    for (let i = 0; i < row.length; i++) if (codes[row[i]!] !== NO_LABEL) selected[codes[row[i]!]!]! += copies[i]!;
  }
  const usable = Uint32Array.from({ length: rows }, (_, row) => row).filter((row) => codes[row] !== NO_LABEL);
  const size = Math.min(usable.length, selected.reduce((sum, count) => sum + count, 0));
  const random = Array.from({ length: RANDOM_SEEDS }, (_, seed) => balanceOf(randomSubset(usable, size, seed, codes, names.length), names.length));
  const changes = names.map((label, code) => ({ label, pool: pool[code]!, selected: selected[code]! })).filter((change) => change.pool > 0);
  changes.sort((a, b) => b.selected / b.pool - a.selected / a.pool || (a.label < b.label ? -1 : 1));
  return {
    pool: balanceOf(pool, names.length),
    random: meanOf(random),
    randomSeeds: RANDOM_SEEDS,
    selection: balanceOf(selected, names.length),
    gains: changes.slice(0, 5),
    losses: changes.slice(-5).reverse(),
  };
}

/** Balance of counts by label. @param among labels of the pool, for the normalised entropy */
export function balanceOf(counts: Float64Array, among: number): Balance {
  const images = counts.reduce((sum, count) => sum + count, 0);
  let entropy = 0;
  let labels = 0;
  for (const count of counts) {
    if (count === 0) continue;
    labels++;
    entropy -= (count / images) * Math.log(count / images);
  }
  return { images, labels, effective: images === 0 ? 0 : Math.exp(entropy), entropy: among <= 1 ? 1 : entropy / Math.log(among) };
}

const NO_LABEL = 0xffffffff;

/** Label of each row as a code; NO_LABEL for rows without one or that were rejected. */
async function readLabels(store: Store, images: ImagesManifest, embeddings: EmbeddingsManifest): Promise<{ codes: Uint32Array; names: string[] }> {
  const last = images.parts.at(-1);
  const codes = new Uint32Array(last === undefined ? 0 : last.firstRow + last.rowCount).fill(NO_LABEL);
  const known = new Map<string, number>();
  for (const part of images.parts) {
    const labels = decodeTable(await readPart(store, part), part.path).strings('label');
    labels.forEach((label, i) => {
      if (label === null) return;
      let code = known.get(label);
      if (code === undefined) known.set(label, (code = known.size));
      codes[part.firstRow + i] = code;
    });
  }
  for (const part of embeddings.parts) {
    const { status } = await readEmbeddingFacts(store, part);
    status.forEach((one, i) => one !== 'ok' && (codes[part.firstRow + i] = NO_LABEL));
  }
  return { codes, names: [...known.keys()] };
}

function randomSubset(usable: Uint32Array, size: number, seed: number, codes: Uint32Array, labels: number): Float64Array {
  const stream = randomStream(seed, 'report', 'random-subset');
  const keys = Float64Array.from(usable, (row) => stream.uniform(row));
  const threshold = size >= keys.length ? Infinity : keys.slice().sort()[size]!;
  const counts = new Float64Array(labels);
  usable.forEach((row, i) => keys[i]! < threshold && counts[codes[row]!]!++);
  return counts;
}

function meanOf(balances: readonly Balance[]): Balance {
  const mean = (key: keyof Balance): number => balances.reduce((sum, balance) => sum + balance[key], 0) / balances.length;
  return { images: mean('images'), labels: mean('labels'), effective: mean('effective'), entropy: mean('entropy') };
}
