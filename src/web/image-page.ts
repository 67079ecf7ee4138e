/** The page of one image: what it is, where it lies in the tree, whether it was drawn; and pages of its like. */
import { shownText } from '../report/page.ts';
import type { NodeName } from './atlas.ts';
import { atlasPage, leafOf, nameOf, pictureGrid, whole } from './atlas-html.ts';
import { ATLAS_PATH, type AtlasSite, imagePath, nodePath, thumbnailPath } from './atlas-site.ts';
import { findNearest } from './find-nearest.ts';
import type { TableRows } from './table-rows.ts';

const NEIGHBOURS = 36;

/** @param row of the pool, within it */
export async function imagePage(site: AtlasSite, row: number): Promise<string> {
  const { atlas } = site;
  const { images, embeddings, assignment, selection } = atlas.tables;
  const [uri, label, caption, id, status, width, height, reason, distance, copies, trail] = await Promise.all([
    images.text('uri', row), images.text('label', row), images.text('caption', row),
    embeddings.text('id', row), embeddings.text('status', row), embeddings.number('width', 'uint32', row), embeddings.number('height', 'uint32', row),
    assignment.text('reason', row), assignment.number('distance', 'float32', row), selection === null ? null : copiesOf(selection, row), leafOf(site, row),
  ]);
  const facts: [string, string | null][] = [
    ['Name', uri === null ? null : shownText(uri, 300)],
    ['Label', label === null ? null : shownText(label)],
    ['Caption', caption === null ? null : shownText(caption, 600)],
    ['Row', String(row)],
    ['Id', id === null ? null : `<code>${shownText(id)}</code>`],
    ['Size', width === null || width === 0 ? null : `${width} × ${height} pixels`],
    ['Became', status === 'ok' ? (trail === null ? `not clustered${reason === null ? '' : `: ${shownText(reason)}`}` : 'clustered') : `rejected: ${shownText(status ?? 'unknown')}`],
    ['Distance to the centroid', trail === null || distance === null ? null : `${Math.sqrt(distance).toPrecision(3)}`],
    ['Drawn', copies === null ? 'no selection yet' : copies === 0 ? 'no' : copies === 1 ? 'yes' : `${copies} times`],
  ];
  return atlasPage(site, `Image ${row}`, trail ?? [], `
<img class="big" src="${thumbnailPath(atlas, row, 512)}" alt="${label === null ? 'The image' : 'The image, of its label'}" width="512" height="512">
<dl class="facts">${facts.filter(([, value]) => value !== null).map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}${trail === null ? '' : `<dt>Clusters</dt><dd>${trail.map(linkTo).join(' › ')}</dd>`}</dl>
${status === 'ok' ? `<p><a href="${ATLAS_PATH}/near/row/${row}">Its like in the pool</a></p>` : ''}`);
}

/** The images nearest to one of the pool. */
export async function nearRowPage(site: AtlasSite, row: number): Promise<string> {
  const vector = await site.atlas.tables.embeddings.vector('embedding', row);
  return nearPage(site, `Like image ${row}`, vector, `<p><a href="${imagePath(row)}"><img src="${thumbnailPath(site.atlas, row, 192)}" alt="Image ${row}" width="192" height="192"></a></p>`);
}

/** @param shown safe HTML of what was asked for */
export async function nearPage(site: AtlasSite, title: string, vector: Float32Array, shown: string): Promise<string> {
  const { found, images, leaves } = await findNearest(site.atlas, vector, NEIGHBOURS);
  const grid = await pictureGrid(site, found.map(({ row }) => row), found.map(({ distance }) => `distance ${Math.sqrt(distance).toFixed(3)}`));
  const first = found[0] === undefined ? null : await leafOf(site, found[0].row);
  return atlasPage(site, title, [], `${shown}
<p class="muted">Nearest first, among ${whole(images)} images of the ${leaves} nearest clusters.${first === null ? '' : ` The nearest lies in ${first.map(linkTo).join(' › ')}.`}</p>
${grid}`);
}

/** Images that a search by id found. */
export async function foundPage(site: AtlasSite, asked: string, rows: readonly number[]): Promise<string> {
  return atlasPage(site, 'Found', [], `<p>${whole(rows.length)} image${rows.length === 1 ? '' : 's'} for <code>${shownText(asked, 80)}</code>.</p>${await pictureGrid(site, rows, rows.map((row) => `row ${row}`))}`);
}

function linkTo(node: NodeName): string {
  return `<a href="${nodePath(node)}">${nameOf(node).replace('Cluster ', '').replace(' of level ', ' (level ')})</a>`;
}

/** Copies of a row in the selection, whose rows ascend. O(log n) small reads. */
async function copiesOf(selection: TableRows, row: number): Promise<number> {
  let low = 0;
  let high = selection.rowCount;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((await selection.number('row', 'uint64', middle))! < row) low = middle + 1;
    else high = middle;
  }
  if (low === selection.rowCount || (await selection.number('row', 'uint64', low)) !== row) return 0;
  return (await selection.number('copies', 'uint16', low)) ?? 0;
}
