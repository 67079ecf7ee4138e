/** Retrieval: seed images and the images of the pool nearest to them. */
import { decodeTable } from '../../arrow/ipc.ts';
import { randomStream } from '../../random.ts';
import { readPart, rowCountOf } from '../../run/manifest.ts';
import { readSelection } from '../../sample/selection.ts';
import type { Store } from '../../store/store.ts';
import { smallest } from '../choose.ts';
import type { Retrieved } from '../facts.ts';
import { escapeHtml, shownText } from '../page.ts';
import { cite, derive, hasNumber, whole } from '../table.ts';
import type { Thumbnails, WantedImage } from '../thumbnails.ts';
import { type Section, section } from './section.ts';

export interface ShownRetrieval {
  readonly retrieved: Retrieved;
  readonly queries: readonly { readonly row: number; /** Null for a seed image. */ readonly prompt: string | null; readonly neighbours: readonly { readonly row: number; readonly similarity: number }[] }[];
}

const QUERIES = 8;
/** Seed images looked at: some have no vector and so no neighbours. */
const CANDIDATES = 64;
const NEIGHBOURS = 8;

/** Some queries by a keyed draw, each with its nearest images. Streams the selection. */
export async function chooseRetrieval(store: Store, retrieved: Retrieved, seed: number): Promise<ShownRetrieval> {
  const stream = randomStream(seed, 'report', 'queries');
  const draw = smallest(CANDIDATES);
  const seeds = rowCountOf(retrieved.vectors.manifest.parts);
  for (let row = 0; row < seeds; row++) draw.offer(row, stream.uniform(row));
  const found = new Map(draw.rows().map((row) => [row, [] as { row: number; similarity: number }[]]));
  for await (const { row, score, query } of readSelection(store, retrieved.selection.manifest)) {
    if (query === null) continue;
    for (let i = 0; i < row.length; i++) found.get(query[i]!)?.push({ row: row[i]!, similarity: score[i]! });
  }
  const queries = [...found].filter(([, near]) => near.length > 0).slice(0, QUERIES);
  const prompts = retrieved.seeds === null ? await readPrompts(store, retrieved) : [];
  return { retrieved, queries: queries.map(([row, near]) => ({ row, prompt: retrieved.seeds === null ? (prompts[row] ?? `prompt ${row}`) : null, neighbours: near.sort((a, b) => b.similarity - a.similarity || a.row - b.row).slice(0, NEIGHBOURS) })) };
}

/** Every image of a part's queries, first to last. */
export function retrievalImages({ retrieved, queries }: ShownRetrieval): WantedImage[] {
  return queries.flatMap(({ row, prompt, neighbours }) => [...(prompt === null ? [{ table: seedTable(retrieved), row }] : []), ...neighbours.map((near) => ({ table: 'images', row: near.row }))]);
}

/** Null when nothing was retrieved. */
export function retrievalSection(shown: readonly ShownRetrieval[], thumbnails: Thumbnails): Section | null {
  if (shown.length === 0) return null;
  const html = shown.map((one) => {
    const { name, selection } = one.retrieved;
    const source = `selections/${name}: score`;
    const rows = one.queries.map(({ row, prompt, neighbours }) => `<div class="query">${prompt === null ? `<ul class="thumbs one">${thumbnails.cell({ table: seedTable(one.retrieved), row })}</ul>` : `<p class="prompt">${shownText(prompt, 80)}</p>`}<span class="arrow" aria-hidden="true">→</span><ul class="thumbs strip">${neighbours.map((near) => captioned(thumbnails.cell({ table: 'images', row: near.row }), derive(near.similarity, source, (value) => value.toFixed(2)))).join('')}</ul></div>`);
    return `<h3>${escapeHtml(name)}</h3>
<p>${FIGURES.filter(([pointer]) => hasNumber(selection, pointer)).map(([pointer, text, format]) => `${cite(selection, pointer, format)} ${text}`).join(', ')}.</p>
${rows.join('\n')}`;
  });
  const from = shown.flatMap(({ retrieved }) => [`selections/${retrieved.name}/manifest.json`, seedTable(retrieved)]);
  return section('retrieval', ['Retrieval', 'Retrieved around seed images'], `<p>Left a seed, right the nearest images of the pool with their cosine similarity.</p>${html.join('\n')}`, from);
}

function seedTable({ name }: Retrieved): string {
  return `seeds/${name}/images`;
}

const two = (value: number): string => value.toFixed(2);

/** What a retrieval may say of itself, by its kind. */
const FIGURES = [
  ['/stats/seeds', 'seeds', whole],
  ['/stats/queries', 'of them searched for', whole],
  ['/stats/kept', 'clusters kept', whole],
  ['/selected', 'images in the part', whole],
  ['/unique', 'of them different', whole],
  ['/stats/similarity/min', 'the least similarity', two],
  ['/stats/similarity/mean', 'the mean', two],
  ['/stats/similarity/max', 'the largest', two],
] as const;

/** One line a prompt: thousands at most. */
async function readPrompts(store: Store, { vectors }: Retrieved): Promise<(string | null)[]> {
  const prompts: (string | null)[] = [];
  for (const part of vectors.manifest.parts) {
    const view = decodeTable(await readPart(store, part), part.path);
    if (view.has('prompt')) prompts.push(...view.strings('prompt'));
  }
  return prompts;
}

function captioned(cell: string, caption: string): string {
  return cell.replace(/<\/li>$/, `<small>${caption}</small></li>`);
}
