/** Derived images: blurred ones end to end, what a dataset then says of them, and every way a program can go wrong. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parquetReadObjects } from 'hyparquet';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { type StoredDataset, shard } from '../../pipelines/8-shard.ts';
import type { Columns } from '../../src/arrow/tables.ts';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import { exportStore } from '../../src/cli/export.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { DEFAULT_DECODE_LIMITS } from '../../src/embed/embedding.ts';
import type { TaskEnv } from '../../src/run/stage.ts';
import { deriveImages, resolveDerive } from '../../src/shard/derive.ts';
import type { JoinedRows } from '../../src/shard/join.ts';
import { openDataset } from '../../src/shard/read.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { NEVER, collect, openToyFeed, readStream } from '../batch/toy-feed.ts';
import { answers, program } from '../filter/command-programs.ts';
import { noise, toSharp } from '../fixtures/images.ts';
import { drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { type Toy, type ToyStore, buildToy, exampleToy, idOf } from './toy-store.ts';

const CONSUMERS = fileURLToPath(new URL('../consumers', import.meta.url));
const BLUR = join(CONSUMERS, 'winnow-blur.mjs');

interface Row {
  readonly id: string;
  readonly uri: string;
  readonly derivedId: string | null;
  readonly derivedNote: string | null;
  readonly image: Uint8Array;
}

async function readRows(store: Store): Promise<Row[]> {
  const { manifest } = await openDataset(store);
  const rows: Row[] = [];
  for (const { path } of manifest.parts.flatMap(({ shards }) => shards)) {
    const view = decodeTable(await store.read(path), path);
    const images = view.binaries('image');
    for (let i = 0; i < view.rowCount; i++) rows.push({ ...(view.row(i) as unknown as Row), image: images[i]! });
  }
  return rows;
}

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

/** The toy with real pictures: one of three rows comes from the middle of a tar. */
function pictures(): Toy {
  const toy = exampleToy(24);
  const paint = (image: Toy['pool'][number], i: number): Toy['pool'][number] => ({ ...image, bytes: PNGS[i % PNGS.length]! });
  return { ...toy, pool: toy.pool.map(paint), raws: { whole: toy.raws['whole']!.map((image, i) => paint(image, i + 7)) } };
}

const PNGS: Uint8Array[] = [];
beforeAll(async () => {
  for (let i = 0; i < 12; i++) PNGS.push(new Uint8Array(await toSharp(noise(16 + i, 20, i)).png().toBuffer()));
});

/** The head of scripts: reads rows, and writes what `answer` makes of each. */
const HEAD = `
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
const require = createRequire(${JSON.stringify(import.meta.url)});
const { Binary, RecordBatchReader, Table, Uint64, Utf8, tableToIPC, vectorFromArray } = require('apache-arrow');
const sharp = require('sharp');
const asked = [];
for await (const batch of await RecordBatchReader.from(process.stdin)) for (const { row, id, uri, image } of batch) asked.push({ row, id, uri, image });
const write = (rows) => process.stdout.write(tableToIPC(new Table({ row: vectorFromArray(rows.map(([row]) => row), new Uint64()), image: vectorFromArray(rows.map(([, image]) => image), new Binary()), note: vectorFromArray(rows.map(([, , note]) => note), new Utf8()) }), 'stream'));
`;
const BLUR_EVEN = `${HEAD}
if (existsSync('fail') && asked.some(({ uri }) => uri.startsWith('whole/'))) process.exit(3);
const rows = [];
for (const { row, image } of asked) rows.push([row, row % 2n === 0n ? await sharp(image).blur(2).png().toBuffer() : image, row % 5n === 0n ? 'fifth' : null]);
write(rows);
`;

async function scriptOf(folder: string, text: string): Promise<string[]> {
  await writeFile(join(folder, 'derive.mjs'), text);
  return [process.execPath, 'derive.mjs'];
}

/** @param settings of `derive` and, under `shard`, beside it */
async function writeDerived(built: ToyStore, command: readonly string[], { shard: beside = {}, ...derive }: Record<string, unknown> = {}, folder = join(built.locations['pool']!, '..')): Promise<StoredDataset> {
  const recipe = built.recipe({ mix: { homogeneous: { part: 'whole' } }, shard: { rows: 20, withBytes: true, ...(beside as object), derive: { command, version: '1', ...derive } } });
  await mix(built.context, recipe);
  return shard(built.context, recipe, folder);
}

describe('deriving', () => {
  it('gives the same bytes at any number of tasks and readers, and when it starts again after a program that failed', async () => {
    const hashes: string[] = [];
    for (const options of [{ tasks: 1, concurrency: 1 }, { tasks: 4, concurrency: 8 }]) {
      const folder = await temporaryFolder();
      const built = await buildToy(pictures(), folder, options);
      hashes.push((await writeDerived(built, await scriptOf(folder, BLUR_EVEN), { shard: { sizeBytesMax: 4096 } })).sha256);
    }
    expect(hashes[1]).toBe(hashes[0]);

    const folder = await temporaryFolder();
    const built = await buildToy(pictures(), folder);
    const command = await scriptOf(folder, BLUR_EVEN);
    await mkdir(join(folder, 'fail'));
    await expect(writeDerived(built, command, { shard: { sizeBytesMax: 4096 } })).rejects.toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(/rows from whole\/.* it ended with exit code 3/) });
    expect(await built.store.head('dataset/manifest.json')).toBeNull();
    await rmdir(join(folder, 'fail'));
    const { sha256, manifest } = await writeDerived(built, command, { shard: { sizeBytesMax: 4096 } });
    expect(sha256).toBe(hashes[0]);
    expect(manifest.parts.flatMap(({ shards }) => shards).length).toBeGreaterThan(manifest.parts.length * 3); // cut by the bytes of derived images

    const rows = (await readRows(built.store)) as (Row & { row: number })[];
    for (const { row, derivedId, derivedNote, id, image } of rows) {
      expect(derivedId).toBe(row % 2 === 0 ? idOf(image) : null); // odd rows came back as they were
      expect(derivedNote).toBe(row % 5 === 0 ? 'fifth' : null);
      if (row % 2 === 1) expect(idOf(image)).toBe(id);
    }
  });

  it('is kept for the same program wherever it lies and however long it may take, and done again for another', async () => {
    const [folder, other] = [await temporaryFolder(), await temporaryFolder()];
    const built = await buildToy(pictures(), folder);
    const command = await scriptOf(folder, BLUR_EVEN);
    const { sha256 } = await writeDerived(built, command);
    await scriptOf(other, BLUR_EVEN);
    expect((await writeDerived(built, command, { timeoutSeconds: 77 }, other)).sha256).toBe(sha256);
    const renamed = await writeDerived(built, command, { version: '2' });
    expect(renamed.sha256).not.toBe(sha256);
    await scriptOf(folder, BLUR_EVEN.replace('blur(2)', 'blur(3)'));
    const changed = await writeDerived(built, command, { version: '2' });
    expect(changed.manifest.parts).not.toEqual(renamed.manifest.parts);
  });

  it('asks for each row once a call, at most 4,096 rows a call', async () => {
    const folder = await temporaryFolder();
    const command = await scriptOf(folder, `${HEAD}\nwrite(asked.map(({ row }) => [row, null, String(asked.length)]));`);
    const n = 4200; // rows 0 … 4,099, the first of them 101 times
    const row = Float64Array.from({ length: n }, (_, i) => Math.max(0, i - 100));
    const some = Array.from(row, String);
    const rows = { rowCount: n, row, id: some, uri: some } as unknown as JoinedRows;
    const images = async function* (): AsyncGenerator<Uint8Array> {
      for (const one of some) yield new TextEncoder().encode(one);
    };
    const rule = await resolveDerive({ command, version: '1', timeoutSeconds: 60 }, folder, DEFAULT_DECODE_LIMITS);
    const found: [string, string | null, string | null][] = [];
    for await (const { bytes, derivedId, note } of deriveImages(rows, images(), rule, { execution: { concurrency: 2 }, signal: NEVER } as TaskEnv)) found.push([new TextDecoder().decode(bytes), derivedId, note]);
    expect(found).toEqual(some.map((one) => [one, null, Number(one) < 4096 ? '4096' : '4']));
  });

  it('wants bytes in the shards', async () => {
    const built = await buildToy(pictures(), await temporaryFolder());
    for (const withBytes of [false, undefined]) {
      const shardConfig = { ...(withBytes !== undefined && { withBytes }), derive: { command: ['x'], version: '1' } };
      expect(() => built.recipe({ shard: shardConfig })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/shard\.withBytes: expected true beside shard\.derive.*got (false|nothing)/) }));
    }
    expect(() => built.recipe({ shard: { withBytes: true, derive: { command: [], version: '1' } } })).toThrow(/shard\.derive\.command/);
  });
});

describe('a bad program', () => {
  const faults: [name: string, command: string[] | string, message: RegExp, more?: Record<string, unknown>][] = [
    ['is not there', ['/no/such/program'], /could not be started: ENOENT/],
    ['ends badly', program("console.error('no weights'); process.exitCode = 4"), /ended with exit code 4; it said: no weights/],
    ['takes too long', program('setInterval(() => {}, 1000)'), /took longer than 0.5 s/, { timeoutSeconds: 0.5 }],
    ['writes nothing', program(''), /wrote nothing/],
    ['writes text', program("process.stdout.write('all images are fine\\n')"), /wrote 20 bytes that are no Arrow IPC stream/],
    ['has no images', answers(encodeTable({ row: { type: 'uint32', values: Uint32Array.of(0) } })), /wrote no column "image", but row/],
    ['has text for images', answers(answerOf({ image: { type: 'utf8', values: ['x'] } })), /wrote Utf8 in column "image" in the place of bytes/],
    ['has numbers for notes', answers(answerOf({ note: { type: 'uint32', values: Uint32Array.of(1) } })), /wrote Uint32 in column "note" in the place of text/],
    ['answers for another row', answers(answerOf({ row: { type: 'uint32', values: Uint32Array.of(99_999) } })), /answered for row 99999, which it was not asked about/],
    ['leaves rows out', `write(asked.slice(1).map(({ row }) => [row, null, null]));`, /left out 1 of them, the first is row \d+ \((pool|whole)\//],
    ['answers twice', `write([...asked, asked[0]].map(({ row }) => [row, null, null]));`, /answered twice for row \d+/],
    ['writes half a picture', `write(asked.map(({ row, image }, i) => [row, i === 1 ? image.subarray(0, image.length >> 1) : null, null]));`, /wrote \d+ bytes for row \d+ \((pool|whole)\/.*\) that cannot be used: (truncated|corrupt)/],
    ['writes an empty picture', `write(asked.map(({ row }) => [row, new Uint8Array(0), null]));`, /wrote 0 bytes for row \d+ .* that cannot be used: empty/],
    ['writes no picture', `write(asked.map(({ row }) => [row, Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), null]));`, /that cannot be used: (unsupported-format|not-an-image)/],
    ['writes too much', `write(asked.map(({ row }) => [row, Buffer.alloc(2 ** 26), null]));`, /wrote more than \d+ bytes/],
  ];
  it.each(faults)('that %s ends the run with one sentence', async (_, command, message, more) => {
    const folder = await temporaryFolder();
    const built = await buildToy(pictures(), folder);
    const words = typeof command === 'string' ? await scriptOf(folder, `${HEAD}\n${command}`) : command;
    await expect(writeDerived(built, words, more)).rejects.toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(message) });
    expect(await built.store.head('dataset/manifest.json')).toBeNull();
  });
});

function answerOf(other: Columns): Uint8Array {
  return encodeTable({ row: { type: 'uint32', values: Uint32Array.of(0) }, image: { type: 'binary', values: [new Uint8Array(3)] }, ...other });
}
