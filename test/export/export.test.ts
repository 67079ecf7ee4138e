/** Exports opened by readers that are not ours: tar-stream and tar, hyparquet, MDS by its documented layout, numpy and faiss. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { parquetReadObjects } from 'hyparquet';
import { extract } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { exportStore } from '../../src/cli/export.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { openDataset } from '../../src/shard/read.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { decodeFloat16 } from '../../src/vector/float16.ts';
import { NEVER, buildDataset } from '../batch/toy-feed.ts';
import { drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { idOf } from '../shard/toy-store.ts';

let folder: string;
let store: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'winnow-export-'));
  const { recipePath } = await drawSmallRun(folder, 200, { embed: { batchSize: 16, maxDropRatio: 0.5 } });
  store = join(folder, 'store');
  await run({ loaded: await loadRecipe(recipePath), store, until: 'shard', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: NEVER });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Rows of the shards of a store, part by part. */
async function shardRows(path: string): Promise<{ part: string; id: string; uri: string; row: number }[]> {
  const opened = await openFsStore(path);
  const { manifest } = await openDataset(opened);
  const rows: { part: string; id: string; uri: string; row: number }[] = [];
  for (const { name, shards } of manifest.parts) {
    for (const shard of shards) {
      const view = decodeTable(await opened.read(shard.path), shard.path);
      for (let i = 0; i < view.rowCount; i++) rows.push({ part: name, ...(view.row(i) as { id: string; uri: string; row: number }) });
    }
  }
  return rows;
}

/** Names and bytes of a tar's members, in order. */
function readTar(bytes: Uint8Array): Promise<[string, Uint8Array][]> {
  return new Promise((resolve, reject) => {
    const members: [string, Uint8Array][] = [];
    const reader = extract();
    reader.on('entry', ({ name }, stream, next) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk) => chunks.push(chunk as Buffer));
      stream.on('end', () => {
        members.push([name, Buffer.concat(chunks)]);
        next();
      });
    });
    reader.on('finish', () => resolve(members));
    reader.on('error', reject);
    Readable.from([bytes]).pipe(reader);
  });
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 32);
const flags = (to: string, out: string, more: object = {}) => ({ to, out, part: [], source: [], ...more });

describe('exportStore', () => {
  it('writes WebDataset tars with the original names, captions and bytes', async () => {
    const { toy, locations, store: opened } = await buildDataset(await temporaryFolder());
    const out = await temporaryFolder();
    const source = Object.entries(locations).map(([name, location]) => `${name}=${location}`);
    const { json } = await exportStore(opened.uri, flags('webdataset', out, { source }), NEVER);
    const captions = new Map([...toy.pool, ...toy.raws['whole']!].map((image) => [idOf(image.bytes), image]));
    const found: string[] = [];
    for (const { name } of json.files) {
      const path = join(out, 'webdataset', name);
      const members = await readTar(await readFile(path));
      expect(spawnSync('tar', ['-tf', path], { encoding: 'utf8' }).stdout.trimEnd().split('\n')).toEqual(members.map(([member]) => member));
      const samples = new Map<string, Map<string, Uint8Array>>();
      for (const [member, bytes] of members) {
        const [key, extension] = [member.slice(0, member.indexOf('.')), member.slice(member.indexOf('.') + 1)];
        samples.set(key, (samples.get(key) ?? new Map()).set(extension, bytes));
      }
      for (const parts of samples.values()) {
        const facts = JSON.parse(new TextDecoder().decode(parts.get('json'))) as { id: string; part: string; row: number };
        const image = captions.get(facts.id)!;
        expect(digest(parts.get('bin')!)).toBe(facts.id);
        expect(parts.has('txt') ? new TextDecoder().decode(parts.get('txt')) : null).toBe(image.caption);
        expect(parts.has('cls') ? new TextDecoder().decode(parts.get('cls')) : null).toBe(image.label);
        found.push(`${facts.part} ${facts.row} ${facts.id}`);
      }
    }
    expect(found).toEqual((await shardRows(opened.uri)).map(({ part, row, id }) => `${part} ${row} ${id}`));
  });

  it('keeps the original file names as keys, and makes equal tars of equal datasets', async () => {
    const [one, two] = [await temporaryFolder(), await temporaryFolder()];
    const { json } = await exportStore(store, flags('webdataset', one), NEVER);
    await exportStore(store, flags('webdataset', two), NEVER);
    expect(await storeHashes(one, ['webdataset'])).toEqual(await storeHashes(two, ['webdataset']));
    const rows = await shardRows(store);
    const members = (await Promise.all(json.files.map(async ({ name }) => readTar(await readFile(join(one, 'webdataset', name)))))).flat();
    const images = members.filter(([name]) => !/\.(json|cls|txt)$/.test(name));
    expect(images.map(([, bytes]) => digest(bytes))).toEqual(rows.map(({ id }) => id));
    const names = rows.map(({ uri }) => uri.slice(uri.lastIndexOf('/') + 1));
    expect(images.filter(([name], i) => name === names[i]).length).toBeGreaterThan(0.9 * rows.length); // the rest are copies of a row
  });

  it.each([false, true])('writes Parquet that hyparquet reads, with images: %s', async (withImages) => {
    const out = await temporaryFolder();
    const { json } = await exportStore(store, flags('parquet', out, { withImages }), NEVER);
    const objects: Record<string, unknown>[] = [];
    for (const { name } of json.files) {
      const bytes = await readFile(join(out, 'parquet', name));
      const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
      objects.push(...(await parquetReadObjects({ file, utf8: false })));
    }
    expect(objects.map(({ part, id, uri, row }) => ({ part, id, uri, row: Number(row) }))).toEqual((await shardRows(store)).map(({ part, id, uri, row }) => ({ part, id, uri, row })));
    for (const { id, image } of objects) expect(withImages ? digest(image as Uint8Array) : image).toBe(withImages ? id : undefined);
  });

  it('writes MDS by its documented layout', async () => {
    const out = await temporaryFolder();
    await exportStore(store, flags('mds', out), NEVER);
    const index = JSON.parse(await readFile(join(out, 'mds/index.json'), 'utf8')) as { version: number; shards: { format: string; version: number; samples: number; compression: null; column_names: string[]; column_encodings: string[]; column_sizes: null[]; raw_data: { basename: string; bytes: number } }[] };
    expect(index.version).toBe(2);
    const found: { id: string; uri: string; part: string; digest: string }[] = [];
    for (const { format, version, samples, column_names: names, column_sizes: sizes, raw_data: raw } of index.shards) {
      expect([format, version, sizes]).toEqual(['mds', 2, names.map(() => null)]);
      expect(names).toEqual(names.toSorted());
      const bytes = await readFile(join(out, 'mds', raw.basename));
      expect(bytes.byteLength).toBe(raw.bytes);
      expect(bytes.readUInt32LE(0)).toBe(samples);
      expect(bytes.readUInt32LE(4 + 4 * samples)).toBe(bytes.byteLength);
      for (let i = 0; i < samples; i++) {
        let at = bytes.readUInt32LE(4 + 4 * i) + 4 * names.length;
        const values = Object.fromEntries(names.map((name, c) => {
          const size = bytes.readUInt32LE(bytes.readUInt32LE(4 + 4 * i) + 4 * c);
          at += size;
          return [name, bytes.subarray(at - size, at)];
        }));
        expect(at).toBe(bytes.readUInt32LE(8 + 4 * i));
        found.push({ id: String(values['id']), uri: String(values['uri']), part: String(values['part']), digest: digest(values['image']!) });
      }
    }
    expect(found).toEqual((await shardRows(store)).map(({ id, uri, part }) => ({ id, uri, part, digest: id })));
  });

  it('writes DataComp ids that numpy reads: sorted, each once', async (context) => {
    const out = await temporaryFolder();
    await exportStore(store, flags('ids', out), NEVER);
    const expected = [...new Set((await shardRows(store)).map(({ id }) => id))].sort();
    const bytes = await readFile(join(out, 'ids/ids.npy'));
    const start = 10 + bytes.readUInt16LE(8);
    expect(start % 64).toBe(0);
    expect(Array.from({ length: expected.length }, (_, i) => [0, 8].map((half) => bytes.readBigUInt64LE(start + 16 * i + half).toString(16).padStart(16, '0')).join(''))).toEqual(expected);
    const { status, stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', 'import numpy, sys; a = numpy.load(sys.argv[1]); print([f"{int(x[0]):016x}{int(x[1]):016x}" for x in a], (numpy.sort(a) == a).all())', join(out, 'ids/ids.npy')], { encoding: 'utf8' });
    if (status !== 0 && /No module named|not found/.test(stderr ?? 'not found')) return context.skip('read by hand; no python3 with numpy here');
    expect(stdout.trim(), stderr).toBe(`[${expected.map((id) => `'${id}'`).join(', ')}] True`);
  });

  it('writes flat indexes that Python\'s faiss reads, vector i being row i of the part', async (context) => {
    const out = await temporaryFolder();
    const { json } = await exportStore(store, flags('faiss', out), NEVER);
    expect(json.files.map(({ name }) => name)).toEqual(['balanced.index', 'around.index']);
    const opened = await openFsStore(store);
    const { parts, d } = JSON.parse(new TextDecoder().decode(await opened.read('embeddings/manifest.json'))) as { parts: { path: string; firstRow: number; rowCount: number }[]; d: number };
    const view = decodeTable(await opened.read(parts[0]!.path), parts[0]!.path);
    const column = view.vector('embedding');
    const all = column.element === 'float16' ? decodeFloat16(column.values as Uint16Array) : (column.values as Float32Array);
    const rows = (await shardRows(store)).filter(({ part }) => part === 'around');
    const bytes = await readFile(join(out, 'faiss/around.index'));
    expect([bytes.toString('latin1', 0, 4), bytes.readInt32LE(4), Number(bytes.readBigInt64LE(8))]).toEqual(['IxFI', d, rows.length]);
    const vectors = Array.from({ length: rows.length * d }, (_, i) => bytes.readFloatLE(45 + 4 * i));
    expect(vectors).toEqual(rows.flatMap(({ row }) => [...all.subarray(row * d, (row + 1) * d)]));
    const read = 'import faiss, sys; i = faiss.read_index(sys.argv[1]); v = i.reconstruct_n(0, i.ntotal); s, k = i.search(v[3:4], 1); print(i.ntotal, i.d, i.metric_type == faiss.METRIC_INNER_PRODUCT, abs(s[0, 0] - (v[3] * v[3]).sum()) < 1e-3)';
    const { status, stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', read, join(out, 'faiss/around.index')], { encoding: 'utf8' });
    if (status !== 0 && /No module named|not found/.test(stderr ?? 'not found')) return context.skip('read by hand; no python3 with faiss here');
    expect(stdout.trim(), stderr).toBe(`${rows.length} ${d} True True`);
  });

  it('lays a Croissant description beside each, with the hashes of its files', async () => {
    for (const to of ['webdataset', 'parquet', 'mds', 'faiss', 'ids']) {
      const out = await temporaryFolder();
      await exportStore(store, flags(to, out), NEVER);
      const croissant = JSON.parse(await readFile(join(out, to, 'croissant.json'), 'utf8')) as { '@type': string; conformsTo: string; name: string; distribution: { contentUrl: string; sha256: string; contentSize: string }[]; recordSet: { field: { name: string }[] }[] };
      expect([croissant['@type'], croissant.conformsTo, croissant.name]).toEqual(['sc:Dataset', 'http://mlcommons.org/croissant/1.0', 'small']);
      expect((await readdir(join(out, to))).toSorted()).toEqual([...croissant.distribution.map(({ contentUrl }) => contentUrl), 'croissant.json'].toSorted());
      for (const { contentUrl, sha256, contentSize } of croissant.distribution) {
        const bytes = await readFile(join(out, to, contentUrl));
        expect([createHash('sha256').update(bytes).digest('hex'), `${bytes.byteLength} B`]).toEqual([sha256, contentSize]);
      }
      expect(croissant.recordSet[0]!.field.map(({ name }) => name)).toEqual(to === 'ids' ? ['id'] : to === 'faiss' ? ['id', 'embedding'] : ['id', 'image', 'uri', 'part', 'label', 'caption']);
    }
  });

  it('says what is wrong: the format, the part, an image that is gone', async () => {
    const out = await temporaryFolder();
    await expect(exportStore(store, flags('webdatset', out), NEVER)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/one of webdataset, parquet, mds, faiss, ids, got "webdatset": did you mean "webdataset"\?/) });
    await expect(exportStore(store, flags('ids', out, { part: ['balance'] }), NEVER)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('did you mean "balanced"?') });
    await expect(exportStore(store, flags('faiss', out, { part: ['raw'] }), NEVER)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('the raw part "raw"') });
    const { store: opened, locations } = await buildDataset(await temporaryFolder());
    await unlink(join(locations['pool']!, 'image-2.bin'));
    const source = Object.entries(locations).map(([name, location]) => `${name}=${location}`);
    await expect(exportStore(opened.uri, flags('mds', out, { source }), NEVER)).rejects.toMatchObject({ code: 'INPUT_MISSING', message: 'Expected the bytes of pool/image-2.bin#2, could not have them: it does not exist' });
  });
});
