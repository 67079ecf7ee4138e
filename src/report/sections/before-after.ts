/** The two draws side by side: what one gets without balancing and with it. */
import type { BeforeAfter } from '../choose.ts';
import { derive, percent, whole } from '../table.ts';
import type { Thumbnails, WantedImage } from '../thumbnails.ts';
import { type Section, section } from './section.ts';

const TABLE = 'images';

/** Every image of the section, from both sheets in turns, so that a small budget leaves them equally full. */
export function beforeAfterImages({ before, after }: BeforeAfter): WantedImage[] {
  const turns = Array.from({ length: Math.max(before.length, after.length) }, (_, i) => [before[i], after[i]]);
  return turns.flat().filter((row) => row !== undefined).map((row) => ({ table: TABLE, row }));
}

/** @param level the level where quotas start */
export function beforeAfterSection({ before, after, groups, groupsOf, poolShare, selectionShare, isCrowded }: BeforeAfter, thumbnails: Thumbnails, level: number): Section {
  const source = `clusters/assignment, selections/balanced (level ${level})`;
  const sheet = (rows: readonly number[], title: string, text: string): string => {
    const crowded = rows.filter(isCrowded).length;
    return `<figure class="sheet"><figcaption><b>${title}</b><br>${text}</figcaption>
<ul class="thumbs dense">${rows.map((row) => thumbnails.cell({ table: TABLE, row }, isCrowded(row) ? 'crowded' : undefined)).join('')}</ul>
<p class="big"><b>${derive(crowded, source)}</b> of these ${derive(rows.length, source)} come from ${groups === 1 ? 'the crowded group' : `the ${whole(groups)} crowded groups`}.</p></figure>`;
  };
  const html = `<p>Images that look alike fall into groups. Here ${derive(poolShare, source, percent)} of the pool sits in just ${derive(groups, source)} of ${derive(groupsOf, source)} groups:
whoever picks at random keeps meeting them. Balancing takes fewer images from crowded groups and more from rare ones: of the selection, the same
groups have ${derive(selectionShare, source, percent)}. Their images carry an orange bar; both sheets are in the same order, crowded groups first.</p>
<div class="two">${sheet(before, 'Before', 'drawn at random from the pool')}${sheet(after, 'After', 'drawn at random from the selection')}</div>`;
  return section('before-after', ['Before and after', 'What balancing changes'], html, ['clusters/assignment', 'selections/balanced', 'images']);
}
