/** The tree: a map to walk in, and the same as nested lists for pages without scripts. */
import type { LevelBalance } from '../level-balance.ts';
import { boundedText, shownText } from '../page.ts';
import { derive, renderTable, whole } from '../table.ts';
import type { Thumbnails, WantedImage } from '../thumbnails.ts';
import type { MapNode } from '../tree-map.ts';
import { type Section, section } from './section.ts';

/** Nodes with a picture: so many of those with most images, and of those of which most are drawn. */
const PICTURED = 350;
/** Branches, and leaves of each, that the list shows. */
const LISTED = 20;

/** Every image of the section, first to last. */
export function treeImages(nodes: readonly MapNode[]): WantedImage[] {
  return [...pictured(nodes)].map((i) => ({ table: 'images', row: nodes[i]!.r }));
}

function pictured(nodes: readonly MapNode[]): Set<number> {
  const withRow = nodes.flatMap(({ r }, i) => (r >= 0 ? [i] : []));
  const most = (key: 'n' | 'd'): number[] => [...withRow].sort((a, b) => nodes[b]![key] - nodes[a]![key] || a - b).slice(0, PICTURED);
  return new Set([...most('n'), ...most('d')]);
}

/** @param nameOf the most frequent label of a cluster, or null */
export function treeSection(nodes: readonly MapNode[], levels: readonly LevelBalance[], thumbnails: Thumbnails, nameOf: (level: number, cluster: number) => string | null): Section {
  const root = nodes[0]!;
  const named = (node: MapNode): string | null => (node.p < 0 ? null : nameOf(node.l, node.c));
  const shown = pictured(nodes);
  const data = {
    overall: root.n === 0 ? 0 : root.d / root.n,
    nodes: nodes.map((node, i) => {
      const [name, picture] = [named(node), shown.has(i) ? thumbnails.uri({ table: 'images', row: node.r }) : null];
      return { p: node.p, c: node.c, n: node.n, d: node.d, ...(name !== null && { t: boundedText(name, 40) }), ...(picture !== null && { i: picture }), ...(node.rest !== undefined && { rest: node.rest }) };
    }),
  };
  const source = 'clusters/level-*/centroids: size; selections/balanced';
  const html = `<p>${levels.map(({ k, level }) => `${whole(k)} clusters at level ${level}`).reverse().join(', ')}. Each area is a group; its picture is the image closest to its centre. Open a group to see what is in it; Escape goes back. Blue groups are kept more than the average, orange ones less.</p>
<div id="map" class="map" hidden>
<fieldset><legend>Area by</legend><label><input type="radio" name="map-by" value="n" checked> images in the pool</label> <label><input type="radio" name="map-by" value="d"> images kept</label></fieldset>
<nav class="map-path" aria-label="Where in the tree"></nav>
<div class="map-field" data-source="${source}"></div>
<p class="map-said" role="status"></p>
</div>
<script type="application/json" id="map-data">${JSON.stringify(data).replaceAll('<', '\\u003c')}</script>
<details><summary>As a list</summary>${listOf(nodes, 0, source, named)}</details>`;
  return section('tree', ['Tree', 'The tree'], html, ['clusters/level-*/centroids', 'clusters/assignment', 'selections/balanced']);
}

/** The largest groups, and the largest within each: deeper ones are in the map. */
function listOf(nodes: readonly MapNode[], at: number, source: string, named: (node: MapNode) => string | null): string {
  const below = (i: number): number[] => nodes.flatMap(({ p }, j) => (p === i ? [j] : [])).slice(0, LISTED);
  const line = (i: number): string => {
    const node = nodes[i]!;
    const name = named(node);
    return `${name === null ? '' : `${shownText(name, 40)} · `}cluster ${node.c} of level ${node.l}: ${derive(node.n, source)} images, ${derive(node.d, source)} kept`;
  };
  const row = (i: number): string[] => {
    const node = nodes[i]!;
    return [`${shownText(named(node) ?? `cluster ${node.c}`, 40)}`, String(node.c), derive(node.n, source), derive(node.d, source)];
  };
  return below(at)
    .map((i) => {
      const inner = below(i);
      if (inner.length === 0) return `<p>${line(i)}</p>`;
      return `<details><summary>${line(i)}</summary>${renderTable({ caption: `Within cluster ${nodes[i]!.c} of level ${nodes[i]!.l}`, head: ['group', 'cluster', 'images', 'kept'], rows: inner.map(row), numbers: [1, 2, 3] })}</details>`;
    })
    .join('\n');
}
