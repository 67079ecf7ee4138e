/** A dataset with blurred images end to end: its bytes, what it says of them, and what batches and exports get. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parquetReadObjects } from 'hyparquet';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { exportStore } from '../../src/cli/export.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { openDataset } from '../../src/shard/read.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { NEVER, collect, openToyFeed, readStream } from '../batch/toy-feed.ts';
import { drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { BLUR_EVEN, type Row, pictures, readRows, scriptOf, writeDerived } from './derived-images.ts';
import { buildToy, idOf } from './toy-store.ts';

const CONSUMERS = fileURLToPath(new URL('../consumers', import.meta.url));
const BLUR = join(CONSUMERS, 'winnow-blur.mjs');

describe('a dataset with blurred images', () => {
  let folder: string;
  let word: string;
  let originals: Record<string, string>;
  let rows: Row[];
  const isBlurred = ({ uri }: { uri: string }): boolean => uri.includes(word);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'winnow-derive-'));
    await drawSmallRun(folder, 200);
    word = '3.jpg';
    await drawRecipe(folder);
    originals = await storeHashes(folder, ['pool', 'raw', 'seeds']);
    await run({ loaded: await loadRecipe(join(folder, 'recipe.yaml')), store: join(folder, 'store'), until: 'shard', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: NEVER });
    rows = await readRows(await openFsStore(join(folder, 'store')));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const drawRecipe = (into: string): Promise<unknown> => drawSmallRun(into, 200, { embed: { batchSize: 16, maxDropRatio: 0.5 }, shard: { rows: 64, withBytes: true, derive: { command: [process.execPath, BLUR, word], version: 'blur-1' } } });

  it('has the blurred bytes under the id of the original, and leaves every file of the sources as it was', async () => {
    expect(await storeHashes(folder, ['pool', 'raw', 'seeds'])).toEqual(originals);
    const ids = new Set(Object.values(originals).map((hash) => hash.slice(0, 32)));
    expect(rows.filter(isBlurred).length).toBeGreaterThan(5);
    for (const row of rows) {
      expect(ids.has(row.id)).toBe(true);
      expect(row.derivedId === null).toBe(!isBlurred(row));
      expect(row.derivedNote).toBe(isBlurred(row) ? 'blurred' : null);
      expect(idOf(row.image)).toBe(row.derivedId ?? row.id);
    }
    const one = rows.find((row) => row.uri.startsWith('pool/') && isBlurred(row))!;
    const sharpness = async (bytes: Uint8Array): Promise<number> => (await sharp(bytes).greyscale().convolve({ width: 3, height: 3, kernel: [0, 1, 0, 1, -4, 1, 0, 1, 0], scale: 1, offset: 128 }).stats()).channels[0]!.stdev;
    expect(await sharpness(one.image)).toBeLessThan(0.5 * (await sharpness(await readFile(join(folder, one.uri)))));
  });

  it('says in its manifest which program it was and how many images it changed, and names no folder', async () => {
    const text = await readFile(join(folder, 'store/dataset/manifest.json'), 'utf8');
    const { config, stats, lineage, parts } = JSON.parse(text) as { config: { derive: unknown }; stats: { derived: unknown }; lineage: { derive: Record<string, unknown>; recipe: { shard: unknown } }; parts: { shards: { derived: number }[] }[] };
    const changed = rows.filter(isBlurred).length;
    const sha256 = createHash('sha256').update(await readFile(BLUR)).digest('hex');
    const identity = { run: [expect.objectContaining({ file: 'node' }), { file: 'winnow-blur.mjs', sha256 }, word], version: 'blur-1' };
    expect(config.derive).toEqual(identity);
    expect(lineage.derive).toEqual({ ...identity, changed, unchanged: rows.length - changed });
    expect(lineage.recipe.shard).toEqual({ rows: 64, withBytes: true, sizeBytesMax: 268_435_456, derive: { version: 'blur-1' } });
    expect(stats.derived).toEqual({ changed, unchanged: rows.length - changed });
    expect(parts.flatMap(({ shards }) => shards).reduce((sum, { derived }) => sum + derived, 0)).toBe(changed);
    expect(text).not.toContain(folder);
    expect(text).not.toContain(CONSUMERS);
  });

  it('gives them to batches, each checked against its own id', async () => {
    const feed = await openToyFeed(await openFsStore(join(folder, 'store')));
    const request = feed.resolve({ steps: 12, images: true, strict: true });
    const bytes = await collect(feed.stream(request, NEVER));
    const batches = readStream(bytes);
    const seen = batches.flatMap((batch) => batch.rows) as unknown as Row[];
    expect(batches.every(({ metadata }) => metadata['substituted'] === '0')).toBe(true);
    expect(seen.filter(isBlurred).length).toBeGreaterThan(5);
    for (const row of seen) {
      expect(row.derivedId === null).toBe(!isBlurred(row));
      expect(idOf(row.image)).toBe(row.derivedId ?? row.id);
    }
    expect(Object.keys(seen[0]!)).toEqual(['part', 'index', 'id', 'uri', 'source', 'path', 'offset', 'length', 'derivedId', 'image']);
    const [plain] = readStream(await collect(feed.stream({ ...request, steps: 1, images: false }, NEVER)));
    expect(Object.keys(plain!.rows[0]!)).toEqual(['part', 'index', 'id', 'uri', 'source', 'path', 'offset', 'length']);

    const read = `import sys, json\nsys.path.insert(0, ${JSON.stringify(CONSUMERS)})\nimport hashlib, io, winnow_plain\nrows = []\ntry:\n  for b in winnow_plain.read_stream(sys.stdin.buffer): rows += zip(b["id"], b["derivedId"], [hashlib.sha256(i).hexdigest()[:32] for i in b["image"]])\nexcept EOFError: pass\nprint(json.dumps(rows))`;
    const { status, stdout, stderr } = spawnSync('python3', ['-c', read], { input: bytes, encoding: 'utf8', env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
    if (status === null) return; // no python3 here
    expect(status, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual(seen.map(({ id, derivedId, image }) => [id, derivedId, idOf(image)]));
  });

  it('takes a derived image that is not as it was written for a fault', async () => {
    const broken = await temporaryFolder();
    const built = await buildToy(pictures(), broken);
    await writeDerived(built, await scriptOf(broken, BLUR_EVEN));
    const store = built.store;
    const { manifest } = await openDataset(store);
    const { path } = manifest.parts[0]!.shards[0]!;
    const key = join(broken, 'store', path);
    const whole = await readFile(key);
    const view = decodeTable(whole, path);
    const i = view.strings('derivedId').findIndex((one) => one !== null);
    const at = whole.indexOf(view.binaries('image')[i]!);
    const out = await temporaryFolder();
    await exportStore(store.uri, flags('webdataset', out), NEVER);
    whole[at + 20]! ^= 1;
    await writeFile(key, whole);
    // With the hash of the shard made to fit, only the image's own tells.
    const stored = await readFile(join(broken, 'store/dataset/manifest.json'), 'utf8');
    await writeFile(join(broken, 'store/dataset/manifest.json'), stored.replace(manifest.parts[0]!.shards[0]!.sha256, createHash('sha256').update(whole).digest('hex')));
    await expect(exportStore(store.uri, flags('webdataset', out), NEVER)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringContaining(`to have the id ${view.strings('derivedId')[i]}, got `) });
    const feed = await openToyFeed(store);
    const request = feed.resolve({ steps: 20, part: manifest.parts[0]!.name, images: true, strict: true });
    await expect(collect(feed.stream(request, NEVER))).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('its bytes are not those that were derived') });
  });

  it('exports them, with both ids and the extension of what they are', async () => {
    const out = await temporaryFolder();
    const store = join(folder, 'store');
    const { json } = await exportStore(store, flags('webdataset', out), NEVER);
    const members: [string, string][] = [];
    const facts: Record<string, unknown>[] = [];
    const into = join(out, 'members');
    await mkdir(into);
    for (const { name } of json.files) {
      expect(spawnSync('tar', ['-xf', join(out, 'webdataset', name), '-C', into]).status).toBe(0);
      const listed = spawnSync('tar', ['-tf', join(out, 'webdataset', name)], { encoding: 'utf8' }).stdout.trim().split('\n');
      for (const member of listed) {
        const bytes = await readFile(join(into, member));
        if (member.endsWith('.json')) facts.push(JSON.parse(bytes.toString()) as Record<string, unknown>);
        else if (!/\.(cls|txt)$/.test(member)) members.push([member, idOf(bytes)]);
      }
    }
    expect(members.map(([, id]) => id)).toEqual(rows.map(({ id, derivedId }) => derivedId ?? id));
    expect(facts.map(({ id, derivedId = null }) => [id, derivedId])).toEqual(rows.map(({ id, derivedId }) => [id, derivedId]));

    await exportStore(store, flags('mds', out), NEVER);
    const mds = JSON.parse(await readFile(join(out, 'mds/index.json'), 'utf8')) as { shards: { column_names: string[]; column_encodings: string[] }[] };
    expect(mds.shards[0]).toMatchObject({ column_names: ['caption', 'derivedId', 'id', 'image', 'label', 'part', 'uri'], column_encodings: ['str', 'str', 'str', 'bytes', 'str', 'str', 'str'] });
    const parquet = (await exportStore(store, flags('parquet', out, { withImages: true }), NEVER)).json.files;
    const objects: Record<string, unknown>[] = [];
    for (const { name } of parquet) {
      const bytes = await readFile(join(out, 'parquet', name));
      objects.push(...(await parquetReadObjects({ file: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer, utf8: false })));
    }
    expect(objects.map(({ id, derivedId, image }) => [id, derivedId ?? null, idOf(image as Uint8Array)])).toEqual(rows.map(({ id, derivedId, image }) => [id, derivedId, idOf(image)]));
    expect(await readFile(join(out, 'parquet/croissant.json'), 'utf8')).toContain('images/derivedId');
  });
});

const flags = (to: string, out: string, more: object = {}) => ({ to, out, part: [], source: [], ...more });
