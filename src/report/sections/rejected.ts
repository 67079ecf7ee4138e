/** Images that did not reach the tree, by reason, as far as they can be decoded. */
import { shownText } from '../page.ts';
import { cell, derive, renderTable } from '../table.ts';
import type { Thumbnails, WantedImage } from '../thumbnails.ts';
import { type Section, section } from './section.ts';

export type Rejected = ReadonlyMap<string, { readonly rows: readonly number[]; readonly count: number }>;

/** Every image of the section, first to last. */
export function rejectedImages(rejected: Rejected): WantedImage[] {
  return [...rejected.values()].flatMap(({ rows }) => rows.map((row) => ({ table: 'images', row })));
}

/** Null when nothing was rejected. @param source the table that gives the reasons */
export function rejectedSection(rejected: Rejected, thumbnails: Thumbnails, source: string): Section | null {
  if (rejected.size === 0) return null;
  const blocks = [...rejected].map(([reason, { rows, count }]) => {
    const images = rows.map((row) => ({ table: 'images', row }));
    const list = images.map((image) => [String(image.row), cell(thumbnails.facts(image)?.uri ?? '')]);
    return `<h3>${shownText(reason, 40)}: ${derive(count, source)}</h3>
<ul class="thumbs strip">${images.map((image) => thumbnails.cell(image)).join('')}</ul>
<details><summary>Which images these are</summary>${renderTable({ caption: `Some images with ${reason}`, head: ['row', 'uri'], rows: list, numbers: [] })}</details>`;
  });
  return section('rejected', ['Rejected', 'Images that are out, by reason'], `<p>A grey cell cannot be decoded and says why.</p>${blocks.join('\n')}`, [source, 'images']);
}
