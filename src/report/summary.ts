/** What a run says at its end, from the manifests alone: the funnel, the tree, the parts and the balance of labels. */
import type { ClustersManifest } from '../cluster/tree.ts';
import { EMBEDDING_STATUSES, type EmbeddingsManifest } from '../embed/embedding.ts';
import { SURVIVORS } from '../embed/survivors.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { readManifest } from '../run/manifest.ts';
import type { MixtureManifest, OverlapCount } from '../mix/mixture.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { DatasetManifest } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';
import { type BalanceReport, measureBalance } from './balance.ts';
import { boundedText } from './page.ts';
import { wrapLine } from './wrap.ts';

export interface Summary {
  readonly store: string;
  /** Every image of the pool, by what became of it; values of `steps` that are not `listed` add up to it. */
  readonly funnel: { readonly listed: number; readonly rejected: Readonly<Record<string, number>>; readonly setAside: number; readonly notDrawn: number; readonly selected: number };
  readonly tree: readonly { readonly level: number; readonly k: number; readonly effective: number; readonly largestShare: number; readonly small: number }[];
  readonly warnings: readonly string[];
  readonly selection: { readonly requested: number; readonly selected: number; readonly unique: number; readonly shortfall: number };
  readonly balance: BalanceReport | null;
  /** Images that parts share with those before them; absent where the recipe does not ask. */
  readonly overlap?: { readonly policy: 'keep' | 'first'; readonly parts: readonly OverlapCount[] };
  readonly parts: readonly { readonly name: string; readonly kind: string; readonly rows: number; readonly uniqueImages: number; readonly shards: number }[];
}

interface HealthFigures {
  readonly effective: number;
  readonly largestShare: number;
  readonly small: number;
}

/** @returns null when the store has no finished selection yet */
export async function summarise(store: Store): Promise<Summary | null> {
  const [images, embeddings, survivors, clusters, selection, mixture, dataset] = await Promise.all([
    readManifest<ImagesManifest>(store, 'images'),
    readManifest<EmbeddingsManifest>(store, 'embeddings'),
    readManifest<EmbeddingsManifest>(store, SURVIVORS),
    readManifest<ClustersManifest>(store, 'clusters'),
    readManifest<SelectionManifest>(store, 'selections/balanced'),
    readManifest<MixtureManifest>(store, 'mixture'),
    readManifest<never>(store, 'dataset'),
  ]);
  if (images === null || embeddings === null || clusters === null || selection === null) return null;
  const { requested, selected, unique, shortfall } = selection.manifest;
  const statuses = (survivors ?? embeddings).manifest.stats.statuses as Record<string, number>;
  const { setAside, clustered, warnings, health } = clusters.manifest.stats as { setAside: number; clustered: number; warnings: string[]; health: { levels: HealthFigures[] } };
  const listed = embeddings.manifest.stats.rows as number;
  const overlap = mixture?.manifest.stats.overlap as Summary['overlap'];
  return {
    store: store.uri,
    funnel: { listed, rejected: rejectedOf(statuses), setAside, notDrawn: clustered - unique, selected: unique },
    tree: clusters.manifest.levels.map(({ level, k }, l) => ({ level, k, ...pick(health.levels[l]!) })),
    warnings,
    selection: { requested, selected, unique, shortfall },
    balance: await measureBalance(store, images.manifest, embeddings.manifest, selection.manifest),
    ...(overlap !== undefined && { overlap }),
    parts: ((dataset?.manifest as unknown as DatasetManifest | undefined)?.parts ?? []).map(({ name, kind, rows, uniqueImages, shards }) => ({ name, kind, rows, uniqueImages, shards: shards.length })),
  };
}

/** The summary as text of at most 80 columns. */
export function renderSummary(summary: Summary): string {
  const { funnel, tree, selection, balance, parts, warnings, overlap } = summary;
  const lines = ['Funnel', row('images found', funnel.listed)];
  for (const [reason, count] of Object.entries(funnel.rejected)) lines.push(row(reason.startsWith('filter:') ? `  filtered: ${reason.slice('filter:'.length)}` : `  rejected: ${reason}`, -count));
  if (funnel.setAside > 0) lines.push(row('  set aside: outlier clusters', -funnel.setAside));
  lines.push(row('  not drawn', -funnel.notDrawn), row('kept', funnel.selected));
  if (selection.selected !== selection.unique) lines.push(row('  with repeats', selection.selected));
  if (selection.shortfall > 0) lines.push(row('  short of the target by', selection.shortfall));
  lines.push('', 'Tree', '  level   clusters  effective  largest share  small clusters');
  for (const level of tree) lines.push(`  ${String(level.level).padStart(5)} ${String(level.k).padStart(10)} ${level.effective.toFixed(1).padStart(10)} ${percent(level.largestShare).padStart(14)} ${String(level.small).padStart(15)}`);
  if (warnings.length > 0) lines.push(...warnings.map((warning) => `  ! ${warning}`));
  if (balance !== null) lines.push('', ...renderBalance(balance));
  if (parts.length > 0) lines.push('', 'Dataset', ...parts.map(({ name, kind, rows, uniqueImages, shards }) => `  ${name.padEnd(20)} ${kind.padEnd(10)} ${rows} rows, ${uniqueImages} images, ${shards} shard${shards === 1 ? '' : 's'}`));
  if (parts.length > 0 && overlap !== undefined) lines.push(...overlap.parts.map((part) => renderOverlap(part, overlap.policy)));
  return `${lines.flatMap((line) => wrapLine(line)).join('\n')}\n`;
}

function renderOverlap({ part, images, rows, with: shared }: OverlapCount, policy: 'keep' | 'first'): string {
  const by = Object.entries(shared).map(([name, count]) => `${name} ${count}`).join(', ');
  const many = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;
  return `  ${part}: shares ${many(images, 'image')} with earlier parts${images === 0 ? '' : ` (${by}): ${many(rows, 'row')} ${policy === 'first' ? 'left out' : 'kept'}`}`;
}

function renderBalance({ pool, random, randomSeeds, selection, gains, losses }: BalanceReport): string[] {
  const line = (name: string, { images, labels, effective, entropy }: BalanceReport['pool']): string =>
    `  ${name.padEnd(22)} ${String(Math.round(images)).padStart(8)} ${labels.toFixed(0).padStart(7)} ${effective.toFixed(1).padStart(10)} ${entropy.toFixed(3).padStart(8)}`;
  return [
    'Balance of labels (never used to choose)',
    `  ${''.padEnd(22)} ${'images'.padStart(8)} ${'labels'.padStart(7)} ${'effective'.padStart(10)} ${'entropy'.padStart(8)}`,
    line('pool', pool),
    line(`random (mean of ${randomSeeds})`, random),
    line('curated', selection),
    `  effective number of labels: ${(selection.effective / random.effective).toFixed(2)} times a random subset of the same size`,
    `  kept most:  ${gains.map(change).join(', ')}`,
    `  kept least: ${losses.map(change).join(', ')}`,
  ];
}

function change({ label, pool, selected }: { label: string; pool: number; selected: number }): string {
  return `${boundedText(label, 40)} ${selected}/${pool}`;
}

/** In the order of the steps: what embedding found first, then what later steps said, by name. */
function rejectedOf(statuses: Readonly<Record<string, number>>): Record<string, number> {
  const known: readonly string[] = EMBEDDING_STATUSES;
  const later = Object.keys(statuses).filter((status) => !known.includes(status)).sort();
  return Object.fromEntries([...known, ...later].filter((status) => status !== 'ok' && (statuses[status] ?? 0) > 0).map((status) => [status, statuses[status]!]));
}

function pick({ effective, largestShare, small }: HealthFigures): HealthFigures {
  return { effective, largestShare, small };
}

function row(name: string, count: number): string {
  return `  ${name.padEnd(34)} ${String(count).padStart(10)}`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
