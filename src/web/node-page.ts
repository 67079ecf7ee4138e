/** Pages of nodes: the whole tree with its map, and one cluster with its children, its members and what is decided of it. */
import { escapeHtml } from '../report/page.ts';
import { type NodeName, childrenOf, membersOf, pathTo, randomMembers, sizeOf } from './atlas.ts';
import { atlasPage, decisionOf, nameOf, nodeCard, pageLinks, percent, pictureGrid, quotaText, shareText, whole } from './atlas-html.ts';
import { ATLAS_PATH, type AtlasSite, nodePath, thumbnailPath } from './atlas-site.ts';

const CARDS_A_PAGE = 24;
const MEMBERS_A_PAGE = 60;
const REPRESENTATIVES = 12;
const RANDOM = 24;

/** What a reader asked for in the query. */
export interface View {
  readonly page: number;
  readonly sort: Sort;
  readonly draw: number;
}

const SORTS = { size: 'largest first', kept: 'kept most first', cut: 'cut most first' } as const;
type Sort = keyof typeof SORTS;

/** Anything that is no view is the first page. */
export function readView(query: Readonly<Record<string, string>>): View {
  const number = (text: string | undefined): number => (/^\d{1,9}$/.test(text ?? '') ? Number(text) : 0);
  const sort = query['sort'] ?? '';
  return { page: number(query['page']), draw: number(query['draw']), sort: Object.hasOwn(SORTS, sort) ? (sort as Sort) : 'size' };
}

/** The first page: totals, map, clusters of the top level. */
export async function topPage(site: AtlasSite, view: View): Promise<string> {
  const { atlas, draft } = site;
  const { current } = draft;
  const top = atlas.tree.levels.length;
  const drawn = current.byLevel[top - 1]!.reduce((sum, quota) => sum + quota, 0);
  const facts = [
    [whole(atlas.images), 'clustered images'],
    [atlas.tree.levels.map(({ k }) => whole(k)).join(' / '), 'clusters, finest level first'],
    [whole(drawn), `${draft.isDrawn ? 'drawn' : 'would be drawn'} of ${whole(current.requested)} wanted`],
    [percent(drawn / Math.max(1, atlas.images)), 'of the clustered images'],
  ];
  const clusters = Uint32Array.from(atlas.tree.levels[top - 1]!.size.keys());
  return atlasPage(site, 'Atlas', [], `
<p class="pages">${site.map.length === 0 ? '' : '<a href="#map">Map</a>'}<a href="#search">Search</a></p>
<ul class="cards">${facts.map(([value, name]) => `<li><b>${value}</b><span>${name}</span></li>`).join('')}</ul>
${draft.isDrawn ? '' : '<p class="note">Nothing is drawn yet: quotas are those of the default settings. Run <code>winnow sample</code>.</p>'}
${await cardsOf(site, top, clusters, view, ATLAS_PATH, `Clusters of level ${top}`)}
${await mapOf(site)}`);
}

/** The page of one cluster. */
export async function nodePage(site: AtlasSite, node: NodeName, view: View): Promise<string> {
  const { atlas, draft, representatives } = site;
  const size = sizeOf(atlas, node);
  const isLeaf = node.level === 1;
  const parent = pathTo(atlas, node).at(-2);
  const facts: [string, string][] = [
    ['Images', `${whole(size)}${parent === undefined ? ` (${percent(size / Math.max(1, atlas.images))} of all)` : ` (${percent(size / Math.max(1, sizeOf(atlas, parent)))} of the cluster above)`}`],
    [draft.isDrawn && !draft.isChanged ? 'Drawn' : 'Quota', quotaText(site, node)],
    ['Share drawn', shareText(site, node)],
    ...(isLeaf ? [] : ([['Clusters below', whole(childrenOf(atlas, node).length)]] as [string, string][])),
    ['By hand', decisionOf(site, node) || 'nothing decided'],
  ];
  const [typical, random] = await Promise.all([isLeaf ? [] : representatives.rowsOf(node, REPRESENTATIVES), randomMembers(atlas, node, RANDOM, view.draw)]);
  const below = isLeaf ? await leafMembers(site, node, view) : await cardsOf(site, node.level - 1, childrenOf(atlas, node), view, nodePath(node), `Clusters of level ${node.level - 1} in it`);
  return atlasPage(site, nameOf(node), pathTo(atlas, node), `
<p class="pages"><a href="#below">${isLeaf ? 'Images' : 'Clusters in it'}</a><a href="#random">A random draw</a><a href="#decide">Decide by hand</a><a href="#search">Search</a></p>
<dl class="facts">${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl>
${isLeaf ? '' : `<h2>Typical images</h2>${await pictureGrid(site, typical)}`}
${below}
<h2 id="random">A random draw</h2>${await pictureGrid(site, random)}
${size > RANDOM ? `<p><a href="${nodePath(node)}?draw=${view.draw + 1}#random">Draw others</a></p>` : ''}
${decisionForms(site, node)}`);
}

async function cardsOf(site: AtlasSite, level: number, clusters: Uint32Array, { page, sort }: View, path: string, title: string): Promise<string> {
  const ordered = sortClusters(site, level, clusters, sort);
  const pages = Math.ceil(ordered.length / CARDS_A_PAGE);
  const at = Math.min(page, Math.max(0, pages - 1));
  const cards = await Promise.all(Array.from(ordered.subarray(at * CARDS_A_PAGE, (at + 1) * CARDS_A_PAGE), (cluster) => nodeCard(site, { level, cluster })));
  const sorts = Object.entries(SORTS).map(([name, text]) => (name === sort ? `<strong>${text}</strong>` : `<a href="${path}?sort=${name}#below">${text}</a>`));
  return `<h2 id="below">${title}</h2><p class="pages">${whole(ordered.length)} cluster${ordered.length === 1 ? '' : 's'}: ${sorts.join(' · ')}</p><ul class="nodes">${cards.join('')}</ul>${pageLinks(path, { sort }, at, pages)}`;
}

/** Empty clusters come last, ties by number. */
function sortClusters({ atlas, draft }: AtlasSite, level: number, clusters: Uint32Array, sort: Sort): Uint32Array {
  const { size } = atlas.tree.levels[level - 1]!;
  const quota = draft.current.byLevel[level - 1]!;
  const keyOf = (c: number): number => {
    if (size[c] === 0) return Infinity;
    return sort === 'size' ? -size[c]! : ((sort === 'kept' ? -1 : 1) * quota[c]!) / size[c]!;
  };
  const key = new Map(Array.from(clusters, (c) => [c, keyOf(c)]));
  return clusters.slice().sort((a, b) => key.get(a)! - key.get(b)! || a - b);
}

async function leafMembers(site: AtlasSite, node: NodeName, { page }: View): Promise<string> {
  const pages = Math.ceil(sizeOf(site.atlas, node) / MEMBERS_A_PAGE);
  const at = Math.min(page, Math.max(0, pages - 1));
  const rows = await membersOf(site.atlas, node, at * MEMBERS_A_PAGE, MEMBERS_A_PAGE);
  return `<h2 id="below">Images, nearest to the centroid first</h2>${await pictureGrid(site, rows)}${pageLinks(nodePath(node), {}, at, pages)}`;
}

function decisionForms({ draft }: AtlasSite, { level, cluster }: NodeName): string {
  const branch = draft.branches.find((one) => one.level === level && one.cluster === cluster);
  const form = (action: string, inside: string): string => `<form class="row" method="post" action="${ATLAS_PATH}/decide"><input type="hidden" name="level" value="${level}"><input type="hidden" name="cluster" value="${cluster}"><input type="hidden" name="action" value="${action}">${inside}</form>`;
  return `<fieldset id="decide"><legend>Decide of this branch by hand</legend>
<p class="muted">The quotas change at once; nothing is drawn before the recipe has what you save.</p>
${form('cap', `<label>At most so many images <input type="number" name="value" min="0" step="1" required value="${escapeHtml(String(branch?.cap ?? ''))}"></label> <button>Cap</button>`)}
${form('boost', `<label>Filled at so many times its siblings’ rate <input type="number" name="value" min="0.001" max="1000" step="any" required value="${escapeHtml(String(branch?.boost ?? 2))}"></label> <button>Boost</button>`)}
<div class="row">${form('exclude', '<button>Exclude: draw nothing of it</button>')}${branch === undefined ? '' : form('clear', '<button>Take the decision back</button>')}</div>
</fieldset>`;
}

const MAP_SIDE = 720;
const MAP_MARGIN = 34;
/** Clusters that are shown by a typical image instead of a dot. */
const PICTURED = 60;

async function mapOf({ atlas, map, draft, representatives }: AtlasSite): Promise<string> {
  if (map.length === 0) return '';
  const level = atlas.tree.levels.length;
  const { size, k } = atlas.tree.levels[level - 1]!;
  const largest = Math.max(1, ...map.map(({ cluster }) => size[cluster]!));
  const place = (value: number): number => MAP_MARGIN + value * (MAP_SIDE - 2 * MAP_MARGIN);
  // Small ones are drawn last, so that large ones do not hide them.
  const ordered = map.toSorted((a, b) => size[b.cluster]! - size[a.cluster]! || a.cluster - b.cluster);
  const points = await Promise.all(ordered.map(async ({ cluster, x, y }, i) => {
    const node = { level, cluster };
    const text = `Cluster ${cluster}, ${whole(size[cluster]!)} images, quota ${whole(draft.current.byLevel[level - 1]![cluster]!)}`;
    const radius = 9 + 24 * Math.sqrt(size[cluster]! / largest);
    const [row] = i < PICTURED ? await representatives.rowsOf(node, 1) : [];
    const [left, top, side] = [place(x) - radius, place(y) - radius, 2 * radius].map((value) => value.toFixed(1));
    const mark = row === undefined ? `<circle cx="${place(x).toFixed(1)}" cy="${place(y).toFixed(1)}" r="${radius.toFixed(1)}"/>` : `<image href="${thumbnailPath(atlas, row, 96)}" x="${left}" y="${top}" width="${side}" height="${side}"/><rect x="${left}" y="${top}" width="${side}" height="${side}"/>`;
    return `<a href="${nodePath(node)}" aria-label="${text}"${decisionOf({ draft }, node) === '' ? '' : ' class="decided"'}><title>${text}</title>${mark}</a>`;
  }));
  return `<h2 id="map">Map of level ${level}</h2><p class="muted">Alike lies near (UMAP of the centroids); the area is the number of images. Every point leads to its cluster${map.length < k ? `; the ${whole(map.length)} largest of ${whole(k)} are shown` : ''}. <a href="#search">Past the map</a></p>
<svg class="map" viewBox="0 0 ${MAP_SIDE} ${MAP_SIDE}" role="group" aria-label="Map of the clusters of level ${level}">${points.join('')}</svg>`;
}
