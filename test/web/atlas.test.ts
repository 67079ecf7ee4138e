/** The atlas as its pages show it, held against the tables of the store read in another way. */
import { mkdtempSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { type ClustersManifest, type ClusterTree, NO_CLUSTER, readAssignment, readTree } from '../../src/cluster/tree.ts';
import { loadRecipe, parseRecipe } from '../../src/config.ts';
import { type EmbeddingsManifest, readEmbeddingPart } from '../../src/embed/embedding.ts';
import { SILENT } from '../../src/log.ts';
import { type StoredManifest, readManifest, readPart } from '../../src/run/manifest.ts';
import type { SelectionManifest } from '../../src/sample/selection.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { type Atlas, membersOf, pathTo, randomMembers } from '../../src/web/atlas.ts';
import { openDraft } from '../../src/web/draft.ts';
import { findNearest } from '../../src/web/find-nearest.ts';
import { mapTopLevel } from '../../src/web/map.ts';
import { openAtlas } from '../../src/web/open-atlas.ts';
import { createRepresentatives } from '../../src/web/representatives.ts';
import { makeStore, serveSite } from './made-site.ts';

const NEVER = new AbortController().signal;
let folder: string;
let path: string;
let recipePath: string;
let store: Store;
let atlas: Atlas;
let tree: ClusterTree;
let clusters: StoredManifest<ClustersManifest>;
const leafOf: number[] = [];
const distanceOf: number[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-atlas-'));
  ({ store: path, recipePath } = await makeStore(folder, 400));
  store = await openFsStore(path);
  ({ tree, stored: clusters } = await readTree(store));
  for await (const block of readAssignment(store, clusters.manifest)) {
    leafOf.push(...block.cluster);
    distanceOf.push(...block.distance);
  }
  // A budget of a few rows, so that the tables are made from spilled buckets.
  atlas = await openAtlas(store, { cache: store, cacheBytes: 2 ** 20, recordsMax: 50, signal: NEVER, note: () => undefined });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Rows under a node, from the assignment and the parents alone. */
function rowsUnder(level: number, cluster: number): number[] {
  return [...leafOf.keys()].filter((row) => {
    let c = leafOf[row]!;
    if (c === NO_CLUSTER) return false;
    for (let l = 1; l < level; l++) c = tree.levels[l - 1]!.parent[c]!;
    return c === cluster;
  });
}

describe('the atlas', () => {
  it('has under every node of every level the rows that the assignment puts there, a leaf’s by distance', async () => {
    for (const [l, { k }] of tree.levels.entries()) {
      for (let cluster = 0; cluster < k; cluster++) {
        const rows = await membersOf(atlas, { level: l + 1, cluster }, 0, 1000);
        expect(rows.toSorted((a, b) => a - b)).toEqual(rowsUnder(l + 1, cluster));
        if (l === 0) expect(rows).toEqual(rowsUnder(1, cluster).toSorted((a, b) => distanceOf[a]! - distanceOf[b]! || a - b));
      }
    }
    const node = { level: 1, cluster: 7 };
    expect(pathTo(atlas, node).map(({ level }) => level)).toEqual([5, 4, 3, 2, 1]);
  });

  it('draws other members at another draw, the same at the same, all of them from the node', async () => {
    const node = { level: 5, cluster: 0 };
    const under = new Set(rowsUnder(5, 0));
    const first = await randomMembers(atlas, node, 10, 0);
    expect(new Set(first).size).toBe(Math.min(10, under.size));
    for (const row of first) expect(under.has(row)).toBe(true);
    expect(await randomMembers(atlas, node, 10, 0)).toEqual(first);
    expect(await randomMembers(atlas, node, 10, 1)).not.toEqual(first);
  });

  it('lets stand for a node above the nearest member of the child that lies nearest to it', async () => {
    const representatives = createRepresentatives(atlas);
    for (let cluster = 0; cluster < tree.levels[1]!.k; cluster++) {
      const centre = await atlas.tables.centroids[1]!.vector('centroid', cluster);
      const children = [...tree.levels[0]!.parent.keys()].filter((c) => tree.levels[0]!.parent[c] === cluster && tree.levels[0]!.size[c]! > 0);
      const distances = new Map<number, number>();
      for (const child of children) {
        const own = await atlas.tables.centroids[0]!.vector('centroid', child);
        distances.set(child, own.reduce((sum, value, j) => sum + (value - centre[j]!) ** 2, 0));
      }
      const [nearest] = children.toSorted((a, b) => distances.get(a)! - distances.get(b)! || a - b);
      if (nearest === undefined) continue;
      expect((await representatives.rowsOf({ level: 2, cluster }, 4))[0]).toBe((await membersOf(atlas, { level: 1, cluster: nearest }, 0, 1))[0]);
    }
  });

  it('finds the nearest images that brute force finds, where the beam holds the pool', async () => {
    const embeddings = (await readManifest<EmbeddingsManifest>(store, 'embeddings'))!.manifest;
    const vectors = new Map<number, Float32Array>();
    for (const part of embeddings.parts) {
      const { firstRow, ok, vectors: values } = await readEmbeddingPart(store, part, embeddings.d);
      ok.forEach((flag, i) => flag === 1 && vectors.set(firstRow + i, values.slice(i * embeddings.d, (i + 1) * embeddings.d)));
    }
    const distance = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, j) => sum + (value - b[j]!) ** 2, 0);
    let agree = 0;
    for (const row of [3, 77, 201, 333]) {
      if (!vectors.has(row)) continue;
      const query = vectors.get(row)!;
      const { found } = await findNearest(atlas, query, 10);
      expect(found[0]).toEqual({ row, distance: 0 });
      const brute = [...vectors.keys()].filter((one) => leafOf[one] !== NO_CLUSTER).sort((a, b) => distance(query, vectors.get(a)!) - distance(query, vectors.get(b)!) || a - b).slice(0, 10);
      agree += found.filter(({ row: one }) => brute.includes(one)).length / 10;
    }
    expect(agree / 4).toBeGreaterThan(0.9);
  });

  it('puts a tree on one map, and on the same one again', async () => {
    const once = await mapTopLevel(atlas, await openFsStore(join(folder, 'map-a')), NEVER);
    expect(once).toEqual(await mapTopLevel(atlas, await openFsStore(join(folder, 'map-b')), NEVER));
    expect(once).toEqual(await mapTopLevel(atlas, await openFsStore(join(folder, 'map-a')), NEVER));
    expect(once.map(({ cluster }) => cluster)).toEqual([...tree.levels.at(-1)!.size.keys()].filter((c) => tree.levels.at(-1)!.size[c]! > 0));
    for (const { x, y } of once) for (const value of [x, y]) expect(value >= 0 && value <= 1).toBe(true);
    expect(new Set(once.map(({ x, y }) => `${x} ${y}`)).size).toBe(once.length);
  });

  it('foretells exactly what a draw with the saved overrides gives', async () => {
    const draft = await openDraft(atlas, store);
    const top = tree.levels.length;
    const largest = [...tree.levels[top - 1]!.size.keys()].sort((a, b) => tree.levels[top - 1]!.size[b]! - tree.levels[top - 1]!.size[a]!)[0]!;
    expect(draft.isDrawn).toBe(true);
    expect(draft.toYaml()).toBeNull();
    await draft.decide({ level: top, cluster: largest }, { exclude: true });
    await draft.decide({ level: 1, cluster: 3 }, { boost: 5 });
    await draft.decide({ level: 2, cluster: 1 }, { cap: 1 });
    expect(draft.current.byLevel[top - 1]![largest]).toBe(0);
    expect((await openDraft(atlas, store)).branches).toEqual(draft.branches);

    const recipe = parse(await readFile(recipePath, 'utf8')) as Record<string, unknown>;
    await writeFile(join(folder, 'by-hand.json'), JSON.stringify({ ...recipe, ...(parse(draft.toYaml()!) as object) }));
    await cp(path, join(folder, 'by-hand'), { recursive: true });
    await run({ loaded: await loadRecipe(join(folder, 'by-hand.json')), store: join(folder, 'by-hand'), until: 'sample', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: NEVER });
    const drawn = await openFsStore(join(folder, 'by-hand'));
    const selection = (await readManifest<SelectionManifest>(drawn, 'selections/balanced'))!.manifest;
    const quota = new Float64Array(tree.levels[0]!.k);
    for (const part of selection.parts) {
      const view = decodeTable(await readPart(drawn, part), part.path);
      const copies = view.numbers('copies');
      view.numbers('row').forEach((row, i) => (quota[leafOf[row]!]! += copies[i]!));
    }
    expect(quota).toEqual(draft.current.byLevel[0]);
    expect(selection.stats).toMatchObject({ overrides: { clusters: clusters.sha256, moved: draft.current.effect!.moved } });
    await draft.reset();
    expect(draft.isChanged).toBe(false);
  });

  it('is refused by the draw on another tree', async () => {
    const recipe = parse(await readFile(recipePath, 'utf8')) as Record<string, unknown>;
    const overrides = { clusters: 'f'.repeat(64), branches: [{ level: 1, cluster: 0, exclude: true }] };
    const loaded = { recipe: parseRecipe({ ...recipe, overrides }, 'test'), baseDirectory: folder };
    await cp(path, join(folder, 'other'), { recursive: true });
    await expect(run({ loaded, store: join(folder, 'other'), until: 'sample', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: NEVER })).rejects.toMatchObject({ code: 'OVERRIDES_STALE' });
  });
});

describe('the pages of the atlas', () => {
  let site: { url: string; close(): Promise<void> };
  beforeAll(async () => {
    site = await serveSite(path);
  });
  afterAll(() => site.close());
  const get = (address: string, init?: RequestInit): Promise<Response> => fetch(`${site.url}${address}`, { redirect: 'manual', ...init });
  const page = async (address: string): Promise<string> => (await get(address)).text();

  it('lead from the top down to every image of a leaf', async () => {
    let html = await page('/atlas');
    for (let level = 5; level >= 1; level--) {
      const link = new RegExp(`href="(/atlas/node/${level}/\\d+)"`).exec(html);
      expect(link, `a cluster of level ${level}`).not.toBeNull();
      html = await page(link![1]!);
    }
    const image = /href="(\/atlas\/image\/\d+)"/.exec(html)![1]!;
    expect(await page(image)).toContain('<dt>Clusters</dt>');
  });

  it('find an image by its row, its id and the start of its id', async () => {
    const html = await page('/atlas/image/12');
    const id = /<code><bdi>([0-9a-f]{32})</.exec(html)![1]!;
    for (const asked of [id, id.slice(0, 12), id.toUpperCase()]) {
      const answer = await get(`/atlas/find?q=${asked}`);
      if (answer.status === 303) expect(answer.headers.get('location')).toBe('/atlas/image/12');
      else expect(await answer.text()).toContain('/atlas/image/12');
    }
    expect((await get('/atlas/find?q=12')).headers.get('location')).toBe('/atlas/image/12');
    const nothing = await get('/atlas/find?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E', { headers: { accept: 'text/html' } });
    expect(nothing.status).toBe(400);
    expect(await nothing.text()).not.toContain('<script>alert');
  });

  it('search by a picture: its own row comes first', async () => {
    const concept = (await readdir(join(folder, 'pool'), { withFileTypes: true })).find((entry) => entry.isDirectory())!.name;
    const name = (await readdir(join(folder, 'pool', concept))).find((one) => one.endsWith('.jpg'))!;
    const form = new FormData();
    form.set('picture', new Blob([await readFile(join(folder, 'pool', concept, name))]), 'picture.jpg');
    const answer = await get('/atlas/near', { method: 'POST', body: form });
    expect(answer.status).toBe(303);
    const html = await page(answer.headers.get('location')!);
    expect(html).toContain('distance 0.00');
    expect(html).toContain(`alt="pool/${concept}/${name}"`);
  });

  it('refuse what is no picture, what is too large, and what leads out of the store', async () => {
    const html = { accept: 'text/html' };
    const junk = await get('/atlas/near', { method: 'POST', body: 'no picture', headers: { 'content-type': 'application/octet-stream', ...html } });
    expect(junk.status).toBe(400);
    expect(await junk.text()).toMatch(/not-an-image/);
    expect((await get('/atlas/near', { method: 'POST', body: new Uint8Array(33 * 2 ** 20), headers: html })).status).toBe(413);
    expect((await get('/atlas/decide', { method: 'POST', body: 'x'.repeat(70_000), headers: html })).status).toBe(413);
    for (const address of ['/atlas/node/6/0', '/atlas/node/1/9999999999', '/atlas/node/x/y', '/atlas/image/400000', '/atlas/image/-1', '/atlas/thumb/aa/1/97', '/static/../package.json', '/static/%2e%2e%2fserver.ts', '/etc/passwd']) {
      const answer = await get(address, { headers: html });
      expect(answer.status, address).toBe(404);
      expect(await answer.text(), address).not.toMatch(/at .+:\d+:\d+|node_modules/);
    }
  });

  it('follow no link out of a source', async () => {
    const outside = join(folder, 'outside.jpg');
    const concept = (await readdir(join(folder, 'pool'), { withFileTypes: true })).find((entry) => entry.isDirectory())!.name;
    const name = (await readdir(join(folder, 'pool', concept))).find((one) => one.endsWith('.jpg'))!;
    const picture = join(folder, 'pool', concept, name);
    const row = Number(/\/atlas\/image\/(\d+)/.exec(await pageOf(`pool/${concept}/${name}`))![1]);
    expect((await get(`/atlas/thumb/aa/${row}/96`)).headers.get('content-type')).toBe('image/webp');
    await cp(picture, outside);
    await rm(picture);
    await symlink(outside, picture);
    const again = await serveSite(path);
    try {
      expect((await fetch(`${again.url}/atlas/thumb/aa/${row}/96`)).headers.get('content-type')).toMatch(/svg/);
    } finally {
      await again.close();
      await rm(picture);
      await cp(outside, picture);
    }
  });

  /** A page that shows the image of that name. */
  async function pageOf(uri: string): Promise<string> {
    for (let row = 0; row < 400; row++) if ((await atlas.tables.images.text('uri', row)) === uri) return `/atlas/image/${row}`;
    throw new Error(`no ${uri}`);
  }

  it('change the quota at once when a branch is excluded, and hand out the YAML', async () => {
    const decide = (fields: Record<string, string>): Promise<Response> => get('/atlas/decide', { method: 'POST', body: new URLSearchParams(fields), headers: { accept: 'text/html' } });
    const answer = await decide({ level: '5', cluster: '0', action: 'exclude' });
    expect(answer.headers.get('location')).toBe('/atlas/node/5/0');
    expect(await page('/atlas/node/5/0')).toMatch(/<dt>Quota<\/dt><dd><span class="changed">[\d,]+ → 0<\/span>/);
    const yaml = parse(await page('/atlas/overrides.yaml')) as unknown;
    expect(yaml).toEqual({ overrides: { clusters: clusters.sha256, branches: [{ level: 5, cluster: 0, exclude: true }] } });
    expect(await page('/atlas/overrides')).toContain('excluded');
    const wrong: Record<string, string>[] = [{ action: 'cap', value: '-3' }, { action: 'cap', value: '' }, { action: 'boost', value: 'x' }, { action: 'burn' }];
    for (const fields of wrong) expect((await decide({ level: '5', cluster: '0', ...fields })).status).toBe(400);
    await decide({ level: '5', cluster: '0', action: 'clear', back: 'overrides' });
    expect((await get('/atlas/overrides.yaml')).status).toBe(404);
  });
});

describe('hostile names', () => {
  it('are inert on every page that shows them', async () => {
    const names = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', '\u202egpj.exe', '🦊'.repeat(30), `'${'a'.repeat(180)}`];
    const pool = join(folder, 'hostile', 'pool');
    await mkdir(pool, { recursive: true });
    const concepts = (await readdir(join(folder, 'pool'), { withFileTypes: true })).filter((entry) => entry.isDirectory());
    let at = 0;
    for (const { name } of concepts) {
      for (const file of (await readdir(join(folder, 'pool', name))).filter((one) => one.endsWith('.jpg')).slice(0, 5)) await cp(join(folder, 'pool', name, file), join(pool, `${names[at++ % names.length]!.replaceAll('/', '∕')} ${at}.jpg`));
    }
    const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'hostile', pool: [{ folder: './pool' }], cluster: { levels: [12, 4], iterations: 3 }, sample: { target: 20 } }, 'test');
    const hostile = join(folder, 'hostile', 'store');
    await run({ loaded: { recipe, baseDirectory: join(folder, 'hostile') }, store: hostile, until: 'sample', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: NEVER });
    const site = await serveSite(hostile);
    try {
      for (const address of ['/atlas', '/atlas/node/2/0', '/atlas/node/1/0', '/atlas/image/0', '/atlas/image/1', '/atlas/image/2', '/atlas/near/row/0', '/live']) {
        const html = await (await fetch(`${site.url}${address}`)).text();
        expect(html, address).not.toMatch(/<script>|<img src=x|onerror=alert\(1\)>/);
        expect(html, address).not.toContain('\u202e');
      }
    } finally {
      await site.close();
    }
  });
});
