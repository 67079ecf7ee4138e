/** Routes of the atlas: addresses to pages, bounds on what is asked for, and the few requests that change something. */
import { createHash } from 'node:crypto';
import { DEFAULT_DECODE_LIMITS } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import { drawThumbnail } from '../report/thumbnail.ts';
import { type NodeName, hasNode } from './atlas.ts';
import { ATLAS_PATH, type AtlasSite, imagePath, nodePath } from './atlas-site.ts';
import { foundPage, imagePage, nearPage, nearRowPage } from './image-page.ts';
import { nodePage, readView, topPage } from './node-page.ts';
import { overridesPage } from './overrides-page.ts';
import { NO_PICTURE } from './no-picture.ts';
import type { Route, WebReply, WebRequest } from './route.ts';
import { THUMBNAIL_SIDES } from './thumbnails.ts';

/** A dropped picture: photographs and scans pass, archives do not. */
const PICTURE_BYTES_MAX = 32 * 2 ** 20;
const QUERIES_KEPT = 200;
const FOUND_MAX = 60;

/** A picture that was searched by. */
interface Asked {
  readonly vector: Float32Array;
  readonly webp: Uint8Array;
}

/** Every route below `/atlas`. The last 200 pictures that were searched by are kept, and no more. */
export function atlasRoutes(site: AtlasSite): Route[] {
  const asked = new Map<string, Asked>();
  return [
    { method: 'GET', path: ATLAS_PATH, handle: async ({ query }) => ({ html: await topPage(site, readView(query)) }) },
    { method: 'GET', path: `${ATLAS_PATH}/node/:level/:cluster`, handle: async ({ params, query }) => ({ html: await nodePage(site, nodeIn(site, params), readView(query)) }) },
    { method: 'GET', path: `${ATLAS_PATH}/image/:row`, handle: async ({ params }) => ({ html: await imagePage(site, rowIn(site, params['row'])) }) },
    { method: 'GET', path: `${ATLAS_PATH}/thumb/:listing/:row/:side`, handle: (request) => sendThumbnail(site, request) },
    { method: 'GET', path: `${ATLAS_PATH}/find`, handle: ({ query }) => find(site, (query['q'] ?? '').trim()) },
    { method: 'POST', path: `${ATLAS_PATH}/near`, bodyBytesMax: PICTURE_BYTES_MAX, handle: (request) => ask(site, asked, request) },
    { method: 'GET', path: `${ATLAS_PATH}/near/picture/:key`, handle: ({ params }) => showAsked(site, asked, params['key'] ?? '') },
    { method: 'GET', path: `${ATLAS_PATH}/near/picture/:key/image`, handle: ({ params }) => ({ type: 'image/webp', bytes: askedOf(asked, params['key'] ?? '').webp }) },
    { method: 'GET', path: `${ATLAS_PATH}/near/row/:row`, handle: async ({ params }) => ({ html: await nearRowPage(site, await vectorRow(site, params['row'])) }) },
    { method: 'POST', path: `${ATLAS_PATH}/decide`, handle: (request) => decide(site, request) },
    { method: 'GET', path: `${ATLAS_PATH}/overrides`, handle: () => ({ html: overridesPage(site) }) },
    { method: 'GET', path: `${ATLAS_PATH}/overrides.yaml`, handle: () => sendYaml(site) },
    {
      method: 'POST',
      path: `${ATLAS_PATH}/overrides/reset`,
      handle: async () => {
        await site.draft.reset();
        return { redirect: `${ATLAS_PATH}/overrides` };
      },
    },
  ];
}

function nodeIn({ atlas }: AtlasSite, { level = '', cluster = '' }: Readonly<Record<string, string>>): NodeName {
  const node = { level: /^\d{1,9}$/.test(level) ? Number(level) : 0, cluster: /^\d{1,10}$/.test(cluster) ? Number(cluster) : -1 };
  if (!hasNode(atlas, node)) throw new WinnowError('INPUT_MISSING', `Expected a cluster of the tree, which has levels of ${atlas.tree.levels.map(({ k }) => k).join(', ')} clusters, finest first; got number ${cluster.slice(0, 12)} of level ${level.slice(0, 12)}`);
  return node;
}

function rowIn({ atlas }: AtlasSite, text = ''): number {
  const row = /^\d{1,12}$/.test(text) ? Number(text) : -1;
  const rows = atlas.tables.images.rowCount;
  if (row < 0 || row >= rows) throw new WinnowError('INPUT_MISSING', `Expected a row from 0 to ${rows - 1}, got ${text.slice(0, 20)}`);
  return row;
}

async function vectorRow(site: AtlasSite, text: string | undefined): Promise<number> {
  const row = rowIn(site, text);
  const status = await site.atlas.tables.embeddings.text('status', row);
  if (status !== 'ok') throw new WinnowError('INPUT_MISSING', `Expected an image with a vector, got row ${row}, which is ${status}`);
  return row;
}

async function sendThumbnail(site: AtlasSite, { params }: WebRequest): Promise<WebReply> {
  const side = THUMBNAIL_SIDES.find((one) => String(one) === params['side']);
  if (side === undefined) throw new WinnowError('INPUT_MISSING', `Expected a side of ${THUMBNAIL_SIDES.join(', ')} pixels`);
  const thumbnail = await site.thumbnails.read(rowIn(site, params['row']), side);
  if (thumbnail.status === 'missing') return { type: 'image/svg+xml', bytes: NO_PICTURE };
  return { type: 'image/webp', bytes: thumbnail.webp, headers: { 'cache-control': 'private, max-age=86400, immutable' } };
}

async function find(site: AtlasSite, text: string): Promise<WebReply> {
  if (/^\d{1,12}$/.test(text) && Number(text) < site.atlas.tables.images.rowCount) return { redirect: imagePath(Number(text)) };
  if (/^[0-9a-f]{6,32}$/i.test(text)) {
    const rows = await rowsOfId(site, text.toLowerCase());
    if (rows.length === 1) return { redirect: imagePath(rows[0]!) };
    if (rows.length > 1 || site.text === null) return { html: await foundPage(site, text, rows) };
  }
  if (site.text === null) throw new WinnowError('CONFIG_INVALID', `Expected a row below ${site.atlas.tables.images.rowCount}, or an id: 6 to 32 hex digits; got "${text.slice(0, 60)}". No tower for text is known: a recipe that retrieves by prompts names one`);
  return { html: await nearPage(site, 'Like the text', await site.text.embed(text.slice(0, 300)), '') };
}

/** Rows whose id begins so; at most 60. */
async function rowsOfId({ atlas }: AtlasSite, prefix: string): Promise<number[]> {
  const known = prefix.slice(0, 16).padEnd(16, '0');
  const from = await atlas.ids.lowerBound(Number.parseInt(known.slice(0, 8), 16), Number.parseInt(known.slice(8), 16));
  const { row } = await atlas.ids.read(from, Math.min(atlas.ids.count, from + FOUND_MAX));
  const rows: number[] = [];
  for (const one of row) {
    if (!(await atlas.tables.embeddings.text('id', one))?.startsWith(prefix)) break;
    rows.push(one);
  }
  return rows;
}

async function ask(site: AtlasSite, asked: Map<string, Asked>, { body, headers }: WebRequest): Promise<WebReply> {
  if (site.query === null) throw new WinnowError('CONFIG_INVALID', site.whyNoQuery);
  const picture = await pictureOf(body, String(headers['content-type'] ?? ''));
  const embedded = await site.query.embed(picture);
  if (embedded.status !== 'ok') throw new WinnowError('INPUT_MALFORMED', `Expected a picture that can be decoded, got ${picture.byteLength} bytes: ${embedded.status}`);
  const drawn = await drawThumbnail(picture, DEFAULT_DECODE_LIMITS, 192);
  const key = createHash('sha256').update(picture).digest('hex').slice(0, 24);
  asked.delete(key);
  asked.set(key, { vector: embedded.vector, webp: 'webp' in drawn ? drawn.webp : new Uint8Array(0) });
  if (asked.size > QUERIES_KEPT) asked.delete(asked.keys().next().value!);
  return { redirect: `${ATLAS_PATH}/near/picture/${key}` };
}

/** The file of a form, or the body itself. */
async function pictureOf(body: Uint8Array, type: string): Promise<Uint8Array> {
  if (!type.startsWith('multipart/form-data')) return body;
  const form = await new Response(Buffer.from(body), { headers: { 'content-type': type } }).formData().catch(() => null);
  const file = form?.get('picture');
  if (file === null || file === undefined || typeof file === 'string') throw new WinnowError('INPUT_MALFORMED', 'Expected a form with a file called picture, got none');
  return new Uint8Array(await file.arrayBuffer());
}

function askedOf(asked: ReadonlyMap<string, Asked>, key: string): Asked {
  const found = asked.get(key);
  if (found === undefined) throw new WinnowError('INPUT_MISSING', 'Expected a picture that was searched by lately; this one is forgotten, drop it again');
  return found;
}

async function showAsked(site: AtlasSite, asked: ReadonlyMap<string, Asked>, key: string): Promise<WebReply> {
  const { vector } = askedOf(asked, key);
  return { html: await nearPage(site, 'Like your picture', vector, `<p><img src="${ATLAS_PATH}/near/picture/${key}/image" alt="Your picture" width="192" height="192"></p>`) };
}

async function decide(site: AtlasSite, { body }: WebRequest): Promise<WebReply> {
  const form = Object.fromEntries(new URLSearchParams(Buffer.from(body).toString('utf8')));
  const node = nodeIn(site, form);
  const { cap, boost } = site.draft.branches.find(({ level, cluster }) => level === node.level && cluster === node.cluster) ?? {};
  const value = Number(form['value'] === undefined || form['value'] === '' ? Number.NaN : form['value']);
  switch (form['action']) {
    case 'cap':
      await site.draft.decide(node, { cap: value, ...(boost !== undefined && { boost }) });
      break;
    case 'boost':
      await site.draft.decide(node, { boost: value, ...(cap !== undefined && { cap }) });
      break;
    case 'exclude':
      await site.draft.decide(node, { exclude: true });
      break;
    case 'clear':
      await site.draft.decide(node, null);
      break;
    default:
      throw new WinnowError('CONFIG_INVALID', 'Expected an action: cap, boost, exclude or clear');
  }
  return { redirect: form['back'] === 'overrides' ? `${ATLAS_PATH}/overrides` : nodePath(node) };
}

function sendYaml({ draft }: AtlasSite): WebReply {
  const yaml = draft.toYaml();
  if (yaml === null) throw new WinnowError('INPUT_MISSING', 'Expected a branch that is decided by hand, there is none');
  return { type: 'application/yaml; charset=utf-8', bytes: yaml, headers: { 'content-disposition': 'attachment; filename="overrides.yaml"' } };
}
