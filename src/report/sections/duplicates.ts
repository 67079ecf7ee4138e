/** Duplicates: the largest groups, and the pairs that only just count as copies, so that the threshold can be judged. */
import { type DuplicatesManifest, readDuplicates } from '../../dedup/duplicates.ts';
import { throwIfAborted } from '../../errors.ts';
import { randomStream } from '../../random.ts';
import type { StoredManifest } from '../../run/manifest.ts';
import type { Store } from '../../store/store.ts';
import { smallest } from '../choose.ts';
import { cite, derive, pointerSegment } from '../table.ts';
import type { Thumbnails, WantedImage } from '../thumbnails.ts';
import { type Section, section } from './section.ts';

export interface ShownPair {
  readonly row: number;
  /** The other row of its strongest link. */
  readonly other: number;
  readonly similarity: number;
}

export interface ShownDuplicates {
  readonly stored: StoredManifest<DuplicatesManifest>;
  /** Keeper first, then some of the rows that were dropped for it. */
  readonly groups: readonly { readonly keeper: number; readonly size: number; readonly members: readonly number[] }[];
  /** Near-duplicates that were dropped with the least similarity, and a random draw of them. */
  readonly borderline: readonly ShownPair[];
  readonly random: readonly ShownPair[];
}

const GROUPS = 8;
const MEMBERS = 8;
const PAIRS = 12;

/** Two passes over `duplicates/`; 4 bytes a row. */
export async function chooseDuplicates(store: Store, stored: StoredManifest<DuplicatesManifest>, n: number, seed: number, signal: AbortSignal): Promise<ShownDuplicates> {
  const dropped = new Uint32Array(n);
  const stream = randomStream(seed, 'report', 'duplicates');
  const [low, some] = [smallest(PAIRS), smallest(PAIRS)];
  const pairs = new Map<number, ShownPair>();
  for (const part of stored.manifest.parts) {
    throwIfAborted(signal);
    const { firstRow, rowCount, reason, group, nearest, similarity } = await readDuplicates(store, part);
    for (let i = 0; i < rowCount; i++) {
      const row = firstRow + i;
      if (reason[i] === null) continue;
      if (group[i]! >= 0) dropped[group[i]!]!++;
      if (reason[i] !== 'near-duplicate' || nearest[i]! < 0) continue;
      low.offer(row, similarity[i]!);
      some.offer(row, stream.uniform(row));
      pairs.set(row, { row, other: nearest[i]!, similarity: similarity[i]! });
    }
    // What neither list holds any more is not needed.
    const held = new Set([...low.rows(), ...some.rows()]);
    for (const row of pairs.keys()) if (!held.has(row)) pairs.delete(row);
  }
  const largest = smallest(GROUPS);
  dropped.forEach((count, keeper) => count > 0 && largest.offer(keeper, -count));
  const members = await readMembers(store, stored.manifest, largest.rows(), signal);
  return {
    stored,
    groups: largest.rows().map((keeper) => ({ keeper, size: dropped[keeper]! + 1, members: members.get(keeper)! })),
    borderline: low.rows().map((row) => pairs.get(row)!),
    random: some.rows().map((row) => pairs.get(row)!),
  };
}

/** Every image of the section, first to last. */
export function duplicateImages({ groups, borderline, random }: ShownDuplicates): WantedImage[] {
  const rows = [...groups.flatMap(({ keeper, members }) => [keeper, ...members]), ...[...borderline, ...random].flatMap(({ row, other }) => [row, other])];
  return rows.map((row) => ({ table: 'images', row }));
}

/** Null when no image was dropped. */
export function duplicatesSection({ stored, groups, borderline, random }: ShownDuplicates, thumbnails: Thumbnails): Section | null {
  if (groups.length === 0) return null;
  const image = (row: number, mark?: 'keeper'): string => thumbnails.cell({ table: 'images', row }, mark);
  const sheets = groups.map(({ keeper, size, members }) => `<figure class="cluster"><figcaption>${derive(size, `duplicates: group ${keeper}`)} images of one picture; the first stays</figcaption><ul class="thumbs strip">${image(keeper, 'keeper')}${members.map((row) => image(row)).join('')}</ul></figure>`);
  const pairList = (pairs: readonly ShownPair[]): string => `<div class="pairs">${pairs.map(({ row, other, similarity }) => `<figure><ul class="thumbs pair">${image(row)}${image(other)}</ul><figcaption>${derive(similarity, `duplicates: similarity of row ${row}`, (value) => value.toFixed(3))}</figcaption></figure>`).join('')}</div>`;
  const counts = Object.keys(stored.manifest.stats.dropped).map((reason) => `${cite(stored, `/stats/dropped/${pointerSegment(reason)}`)} ${reason.replace('-', ' ')}s`);
  const near = stored.manifest.stats.near === undefined ? '' : ` Images count as near-duplicates above a cosine similarity of ${cite(stored, '/stats/near/threshold', (value) => value.toFixed(3))}.`;
  const html = `<p>${counts.join(' and ')} were taken out of ${cite(stored, '/stats/groups')} groups; the largest has ${cite(stored, '/stats/largestGroup')} images.${near}</p>
<h3>Largest groups</h3>${sheets.join('\n')}
${borderline.length === 0 ? '' : `<h3>Borderline pairs</h3><p>The least similar pairs of which one image was dropped: if these are different pictures, raise the threshold.</p>${pairList(borderline)}<h3>Pairs drawn at random</h3>${pairList(random)}`}`;
  return section('duplicates', ['Duplicates', 'Duplicates'], html, ['duplicates/manifest.json', 'duplicates']);
}

async function readMembers(store: Store, { parts }: DuplicatesManifest, keepers: readonly number[], signal: AbortSignal): Promise<Map<number, number[]>> {
  const members = new Map(keepers.map((keeper) => [keeper, [] as number[]]));
  for (const part of parts) {
    throwIfAborted(signal);
    const { firstRow, rowCount, reason, group } = await readDuplicates(store, part);
    for (let i = 0; i < rowCount; i++) {
      const found = reason[i] === null ? undefined : members.get(group[i]!);
      if (found !== undefined && found.length < MEMBERS) found.push(firstRow + i);
    }
  }
  return members;
}
