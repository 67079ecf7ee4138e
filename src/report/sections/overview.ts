/** The head of the report: what it is about, the figures to take home, and the way to the rest. */
import type { ReportFacts } from '../facts.ts';
import type { LevelBalance } from '../level-balance.ts';
import { escapeHtml, shownText } from '../page.ts';
import type { ColumnBalance } from '../scan-images.ts';
import { cite, citeOr, derive, tenth, whole } from '../table.ts';
import type { Thumbnails } from '../thumbnails.ts';
import type { Section } from './section.ts';

export interface OverviewFigures {
  readonly sizeBytesMax: number;
  readonly columns: readonly ColumnBalance[];
  readonly levels: readonly LevelBalance[];
  readonly drawLevel: number;
}

/** The body of the page. */
export function overview(facts: ReportFacts, sections: readonly Section[], thumbnails: Thumbnails, figures: OverviewFigures): string {
  const recipe = facts.dataset?.manifest.lineage['recipe'] as { name?: unknown } | undefined;
  const name = typeof recipe?.name === 'string' ? recipe.name : null;
  return `<a class="skip" href="#main">To the content</a>
<nav class="top" aria-label="Sections"><ul>${sections.map(({ id, short }) => `<li><a href="#${id}">${escapeHtml(short)}</a></li>`).join('')}</ul></nav>
<main id="main" tabindex="-1">
<h1>Winnow report${name === null ? '' : `: ${shownText(name, 60)}`}</h1>
${lead(facts)}
<ul class="cards">${cards(facts, figures).map(([value, text]) => `<li><b>${value}</b><span>${escapeHtml(text)}</span></li>`).join('')}</ul>
${warnings(facts, thumbnails).map((text) => `<p class="note warn">${text}</p>`).join('\n')}
<p><small>${derive(thumbnails.shown, 'images')} images are inlined as thumbnails, ${(thumbnails.bytes / 1e6).toFixed(1)} MB${thumbnails.leftOut === 0 ? '' : `; ${whole(thumbnails.leftOut)} more were left out`}, so that the file stays under ${(figures.sizeBytesMax / 1e6).toFixed(0)} MB. Every number names the field it comes from: point at it in the page's source, <code>data-source</code>.</small></p>
${sections.map(({ html }) => html).join('\n')}
</main>`;
}

function lead({ images, balanced }: ReportFacts): string {
  if (balanced === null) return `<p class="lead">${cite(images, '/stats/rows')} images were found. No selection has been drawn from them yet.</p>`;
  const repeats = balanced.manifest.selected === balanced.manifest.unique ? '' : `, ${cite(balanced, '/selected')} with repeats`;
  return `<p class="lead">Of ${cite(images, '/stats/rows')} images found, ${cite(balanced, '/unique')} were kept${repeats}, chosen so that rare kinds of pictures have their place beside the common ones.</p>`;
}

function cards({ images, balanced, pool }: ReportFacts, { columns, levels, drawLevel }: OverviewFigures): [string, string][] {
  const list: [string, string][] = [[cite(images, '/stats/rows'), 'images found']];
  if (typeof (pool?.manifest.stats['statuses'] as { ok?: unknown } | undefined)?.ok === 'number') list.push([cite(pool!, '/stats/statuses/ok'), pool!.path === 'survivors' ? 'left after filters and duplicates' : 'could be used']);
  if (balanced !== null) list.push([cite(balanced, '/unique'), 'kept by balancing']);
  const level = levels[drawLevel - 1];
  if (balanced !== null && level !== undefined) {
    const at = `/stats/levels/${drawLevel - 1}`;
    const source = 'clusters/level-*/centroids: size; selections/balanced';
    list.push([`${citeOr(balanced, `${at}/before/effective`, level.before.effective, source, tenth)} → ${citeOr(balanced, `${at}/after/effective`, level.after.effective, source, tenth)}`, `effective clusters of ${whole(level.k)}, before and after`]);
  }
  const label = columns.find(({ name }) => name === 'label');
  if (balanced !== null && label !== undefined) list.push([`${derive(label.random.effective, label.source, tenth)} → ${derive(label.selection.effective, label.source, tenth)}`, 'effective labels: a random subset of the size, and the selection']);
  return list;
}

function warnings({ outdated, clusters }: ReportFacts, { faults }: Thumbnails): string[] {
  const ofTree = (clusters?.manifest.stats['warnings'] ?? []) as readonly string[];
  return [
    ...outdated.map((path) => `<code>${escapeHtml(path)}</code> was made from an earlier version of what the store holds now and is left out; run the recipe again.`),
    ...[...faults.keys()].map((source) => `The images of source ${shownText(source, 40)} are not at hand, so they are not shown; say where they lie with <code>--source ${escapeHtml(source)}=FOLDER</code>.`),
    ...ofTree.map((text) => `The tree: ${shownText(text, 400)}`),
  ];
}
