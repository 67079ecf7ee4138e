/** Pieces that the atlas's pages are made of. Whatever comes from the corpus is escaped and bounded here. */
import { boundedText, escapeHtml, shownText } from '../report/page.ts';
import { type NodeName, hasNode, pathTo, sizeOf } from './atlas.ts';
import { ATLAS_PATH, type AtlasSite, imagePath, nodePath, thumbnailPath } from './atlas-site.ts';
import { webPage } from './shell.ts';

/** Whole numbers with thousands apart. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** A share of 1 as a percentage of two or three digits. */
export function percent(share: number): string {
  return `${share >= 0.9995 || share === 0 ? (share * 100).toFixed(0) : share >= 0.0995 ? (share * 100).toFixed(1) : (share * 100).toPrecision(2)} %`;
}

/** `Cluster 12 of level 3`, plain text. */
export function nameOf({ level, cluster }: NodeName): string {
  return `Cluster ${cluster} of level ${level}`;
}

/** A page of the atlas, with the trail to it and the search. @param main safe HTML below them */
export function atlasPage(site: AtlasSite, title: string, trail: readonly NodeName[], main: string): string {
  const crumbs = trail.map((node) => `<li>${nameOf(node) === title ? `<span aria-current="page">${nameOf(node)}</span>` : `<a href="${nodePath(node)}">${nameOf(node)}</a>`}</li>`);
  return webPage({
    title, section: ATLAS_PATH, sections: site.sections, script: 'atlas.js',
    main: `${trail.length === 0 ? '' : `<nav class="crumbs" aria-label="Trail"><ol><li><a href="${ATLAS_PATH}">All images</a></li>${crumbs.join('')}</ol></nav>`}
<h1>${escapeHtml(title)}</h1>${draftNote(site)}${main}${searchForms(site)}`,
  });
}

/** What the branches decided so far come to, on every page while there are any. */
function draftNote({ draft }: AtlasSite): string {
  if (!draft.isChanged) return '';
  const { current, branches } = draft;
  const lost = Math.max(0, current.effect?.lost ?? 0);
  return `<p class="note warn" role="status">${branches.length} branch${branches.length === 1 ? '' : 'es'} decided by hand: ${whole((current.effect?.moved ?? 0) - lost)} images are drawn elsewhere${lost > 0 ? `, ${whole(lost)} not at all` : ''}. <a href="${ATLAS_PATH}/overrides">Look at it and save it for the recipe</a>.</p>`;
}

function searchForms({ query, whyNoQuery, text }: AtlasSite): string {
  const byPicture = query === null
    ? `<p class="muted">${escapeHtml(whyNoQuery)}</p>`
    : `<form class="row drop" method="post" action="${ATLAS_PATH}/near" enctype="multipart/form-data" data-drop><label>By picture: drop, paste or choose a file <input type="file" name="picture" accept="image/*" required></label> <button>Find its like</button></form>`;
  const what = text === null ? 'By id (32 hex digits, or the first 6 or more) or by row' : 'By text, by id (32 hex digits, or the first 6 or more) or by row';
  return `<h2 id="search">Search</h2>
<form class="row" method="get" action="${ATLAS_PATH}/find" role="search"><label>${what} <input type="search" name="q" required maxlength="300" size="36"></label> <button>Find</button></form>
${byPicture}`;
}

/** Pictures in a grid, each a link to its page. @param notes a few plain words below each, by place */
export async function pictureGrid({ atlas }: AtlasSite, rows: readonly number[], notes?: readonly string[]): Promise<string> {
  if (rows.length === 0) return '<p class="muted">None.</p>';
  const items = await Promise.all(rows.map(async (row, i) => {
    const [uri, label] = await Promise.all([atlas.tables.images.text('uri', row), atlas.tables.images.text('label', row)]);
    const below = notes?.[i] ?? label ?? '';
    return `<li><a href="${imagePath(row)}"><img src="${thumbnailPath(atlas, row, 96)}" alt="${escapeHtml(boundedText(uri ?? `row ${row}`, 90))}" width="96" height="96" loading="lazy" decoding="async">${below === '' ? '' : `<span>${shownText(below, 40)}</span>`}</a></li>`;
  }));
  return `<ul class="pictures">${items.join('')}</ul>`;
}

/** A node as a card: four typical pictures, its size, what is drawn of it. */
export async function nodeCard(site: AtlasSite, node: NodeName): Promise<string> {
  const { atlas, draft, representatives } = site;
  const rows = await representatives.rowsOf(node, 4);
  const label = rows.length === 0 ? null : await atlas.tables.images.text('label', rows[0]!);
  const decision = decisionOf(site, node);
  const thumbs = rows.map((row) => `<img src="${thumbnailPath(atlas, row, 96)}" alt="" width="96" height="96" loading="lazy" decoding="async">`).join('');
  return `<li${decision === '' ? '' : ' class="decided"'}><h3><a href="${nodePath(node)}">Cluster ${node.cluster}</a>${label === null ? '' : ` <small>${shownText(label, 40)}</small>`}</h3>
<div class="four">${thumbs}</div>
<dl><dt>images</dt><dd>${whole(sizeOf(atlas, node))}</dd><dt>${draft.isDrawn && !draft.isChanged ? 'drawn' : 'quota'}</dt><dd>${quotaText(site, node)}</dd><dt>share</dt><dd>${shareText(site, node)}</dd>${decision === '' ? '' : `<dt>by hand</dt><dd>${decision}</dd>`}</dl></li>`;
}

/** `120`, or `120 → 40` where decisions of the draft changed it. */
export function quotaText({ draft }: AtlasSite, { level, cluster }: NodeName): string {
  const before = draft.base.byLevel[level - 1]![cluster]!;
  const now = draft.current.byLevel[level - 1]![cluster]!;
  return before === now ? whole(now) : `<span class="changed">${whole(before)} → ${whole(now)}</span>`;
}

/** Share of a node's images that is drawn, copies counted. */
export function shareText({ atlas, draft }: AtlasSite, node: NodeName): string {
  const size = sizeOf(atlas, node);
  return size === 0 ? '–' : percent(draft.current.byLevel[node.level - 1]![node.cluster]! / size);
}

/** What is decided of a node by hand, plain text; empty when nothing is. */
export function decisionOf({ draft }: Pick<AtlasSite, 'draft'>, { level, cluster }: NodeName): string {
  const branch = draft.branches.find((one) => one.level === level && one.cluster === cluster);
  if (branch === undefined) return '';
  if (branch.exclude === true) return 'excluded';
  return [branch.cap === undefined ? '' : `at most ${whole(branch.cap)}`, branch.boost === undefined ? '' : `boosted × ${branch.boost}`].filter((part) => part !== '').join(', ');
}

/** Links to the other pages of a long list. @param query of this page, without `page` */
export function pageLinks(path: string, query: Readonly<Record<string, string>>, at: number, pages: number): string {
  if (pages <= 1) return '';
  const link = (to: number, text: string): string => (to < 0 || to >= pages ? '' : `<a href="${escapeHtml(`${path}?${new URLSearchParams({ ...query, page: String(to) })}`)}">${text}</a>`);
  return `<nav class="pages" aria-label="Pages">${link(at - 1, '← Before')}<span>Page ${at + 1} of ${whole(pages)}</span>${link(at + 1, 'Next →')}</nav>`;
}

/** The trail to the leaf of an image, or null when it has none. */
export async function leafOf({ atlas }: AtlasSite, row: number): Promise<NodeName[] | null> {
  const cluster = await atlas.tables.assignment.number('cluster', 'uint32', row);
  const leaf = { level: 1, cluster: cluster ?? -1 };
  return cluster !== null && hasNode(atlas, leaf) ? pathTo(atlas, leaf) : null;
}
