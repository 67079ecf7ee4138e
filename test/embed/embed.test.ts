import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { drawCorpus } from '../../src/demo/draw.ts';
import { decodeImage, DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import { createDescriptor } from '../../src/embed/descriptor.ts';
import { describeStatuses } from '../../src/embed/embed.ts';
import { DOWNLOAD_REASONS } from '../../src/download/status.ts';
import { EMBEDDING_STATUSES, type EmbeddingStatus, readEmbeddingPart } from '../../src/embed/embedding.ts';
import { readManifest } from '../../src/run/manifest.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';
import { blackPng, claimJpegSize, noise, picture, type Raw, toSharp } from '../fixtures/images.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { writeTree } from '../ingest/listing.ts';
import { openEmbedRun } from './embed-run.ts';
import { TINY_PREPROCESSOR, tinyRatio, tinyVit } from './tiny-models.ts';

const flat = (value: number): Raw => ({ width: 16, height: 16, channels: 3, data: new Uint8Array(16 * 16 * 3).fill(value) });
const png = (raw: Raw): Promise<Buffer> => toSharp(raw).png().toBuffer();
const jpeg = (raw: Raw): Promise<Buffer> => toSharp(raw).jpeg().toBuffer();

/** A file for every status but `unreadable`, which is made by deleting `unreadable.png`. Files named ok-… are ok. */
async function badFiles(): Promise<Record<string, Buffer>> {
  const photo = await jpeg(picture(64, 48));
  const damaged = await png(noise(40, 40));
  damaged[damaged.length >> 1]! ^= 0xff;
  return {
    'ok-photo.jpg': photo,
    'ok-drawing.png': await png(picture(20, 30)),
    'unreadable.png': await png(flat(9)),
    'empty.jpg': Buffer.alloc(0),
    'not-an-image.jpg': Buffer.from('<!DOCTYPE html><title>404</title>'),
    'unsupported-format.png': Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    'too-large-file.png': await png(noise(300, 300)),
    'too-many-pixels.png': blackPng(9000, 9000),
    'too-long-side.jpg': claimJpegSize(photo, 40_000, 16),
    'too-small.png': await png(picture(5, 40)),
    'truncated.jpg': photo.subarray(0, photo.length - 100),
    'corrupt.png': damaged,
    'not-finite.png': await png(flat(255)),
    'zero-vector.png': await png(flat(0)),
  };
}

const statusOf = (name: string): string => (name.startsWith('ok-') ? 'ok' : name.slice(0, name.lastIndexOf('.')));
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function modelFile(model: Uint8Array, preprocessor?: object): Promise<string> {
  const folder = await temporaryFolder('model');
  await writeFile(join(folder, 'model.onnx'), model);
  if (preprocessor !== undefined) await writeFile(join(folder, 'preprocessor_config.json'), JSON.stringify(preprocessor));
  return preprocessor === undefined ? join(folder, 'model.onnx') : folder;
}

describe('statuses', () => {
  it('ends every kind of image as a row with its reason, its id and a count', async () => {
    const files = await badFiles();
    const names = Object.keys(files).sort();
    // Why a download failed is a row's status too; those have tests of their own.
    expect(new Set(names.map(statusOf))).toEqual(new Set(EMBEDDING_STATUSES.filter((status) => !(DOWNLOAD_REASONS as readonly string[]).includes(status))));
    const folder = await temporaryFolder('bad');
    await writeTree(folder, files);
    const run = await openEmbedRun({ folder });
    await rm(join(folder, 'unreadable.png'));
    const stored = await run.embed(await modelFile(tinyRatio()), { limits: { sizeBytesMax: 200_000 } });
    const { manifest } = stored;

    const table = await run.table(stored);
    expect(table.strings('status')).toEqual(names.map(statusOf));
    const isRead = (name: string): boolean => !['unreadable', 'too-large-file'].includes(statusOf(name));
    expect(table.strings('id')).toEqual(names.map((name) => (isRead(name) ? sha256(files[name]!).slice(0, 32) : null)));
    const sizes: Record<string, [number, number]> = { 'ok-photo.jpg': [64, 48], 'ok-drawing.png': [20, 30], 'too-many-pixels.png': [9000, 9000], 'too-long-side.jpg': [40_000, 16], 'too-small.png': [5, 40], 'not-finite.png': [16, 16], 'empty.jpg': [0, 0], 'unreadable.png': [0, 0] };
    for (const [name, [width, height]] of Object.entries(sizes)) {
      const row = names.indexOf(name);
      expect([table.numbers('width')[row], table.numbers('height')[row]], name).toEqual([width, height]);
    }

    const counts = Object.fromEntries(EMBEDDING_STATUSES.map((status) => [status, names.filter((name) => statusOf(name) === status).length] as const).filter(([, rows]) => rows > 0));
    expect(manifest.stats).toEqual({ rows: names.length, statuses: counts, sizeBytes: names.filter(isRead).reduce((sum, name) => sum + files[name]!.length, 0) });
    expect(manifest.okRows).toEqual([2]);
    const { ok, vectors } = await readEmbeddingPart(run.context.store, manifest.parts[0]!, manifest.d);
    names.forEach((name, row) => {
      const vector = vectors.subarray(row * manifest.d, (row + 1) * manifest.d);
      expect(ok[row]).toBe(statusOf(name) === 'ok' ? 1 : 0);
      expect(Math.hypot(...vector), name).toBeCloseTo(statusOf(name) === 'ok' ? 1 : 0, 3);
    });
  });

  it('describes rejects in one order', () => {
    const counted: Partial<Record<EmbeddingStatus, number>> = { corrupt: 3, ok: 9, empty: 2, 'zero-vector': 0 };
    expect(describeStatuses(counted)).toBe('2 empty, 3 corrupt');
    expect(describeStatuses({ ok: 4 })).toBe('');
  });
});

describe('maxDropRatio', () => {
  it('fails the stage with the reasons, keeps what was embedded, and goes by the setting of the day', async () => {
    const folder = await temporaryFolder('drop');
    await writeTree(folder, { 'a.png': await png(flat(7)), 'b.png': '', 'c.png': 'text', 'd.png': await png(flat(8)) });
    let embedded = 0;
    const run = await openEmbedRun({ folder }, { onAdvance: (units, kept) => (embedded += kept ? 0 : units) });
    await expect(run.embed('descriptor', { maxDropRatio: 0.25 })).rejects.toMatchObject({
      code: 'TOO_MANY_DROPPED',
      message: 'Expected at most 25.0 % of the images at images to be rejected (embed.maxDropRatio), got 2 of 4: 1 empty, 1 not-an-image',
      details: { statuses: { ok: 2, empty: 1, 'not-an-image': 1 } },
    });
    expect(await readManifest(run.context.store, 'embeddings')).toBeNull();
    expect(embedded).toBe(4);
    const { sha256: first, manifest } = await run.embed('descriptor', { maxDropRatio: 0.5 });
    expect(manifest.okRows).toEqual([2]);
    expect((await run.embed('descriptor', { maxDropRatio: 1 })).sha256).toBe(first);
    expect(embedded).toBe(4);
    await expect(run.embed('descriptor', { maxDropRatio: 0 })).rejects.toMatchObject({ code: 'TOO_MANY_DROPPED' });
  });
});

describe('vectors', () => {
  it('are the encoder\'s, raw or of unit length, as float32 or rounded to float16', async () => {
    const folder = await temporaryFolder('types');
    const files = await Promise.all([picture(70, 50), picture(64, 64), noise(90, 70)].map(png));
    await writeTree(folder, Object.fromEntries(files.map((bytes, i) => [`${i}.png`, bytes])));
    const encoder = createDescriptor(1);
    const raw: Float32Array[] = [];
    for (const bytes of files) {
      const decoded = await decodeImage(bytes, encoder.preprocess, DEFAULT_DECODE_LIMITS);
      if (decoded.status === 'ok') raw.push(await encoder.encode(decoded.pixels, 1));
    }
    expect(raw.length).toBe(3);
    const run = await openEmbedRun({ folder });
    for (const normalize of [true, false]) {
      const exact = raw.map((vector) => vector.map((value) => value / (normalize ? Math.sqrt(vector.reduce((sum, one) => sum + one * one, 0)) : 1)));
      for (const dtype of ['float16', 'float32'] as const) {
        const stored = await run.embed('descriptor', { normalize, dtype }, `embeddings-${dtype}-${normalize}`);
        const expected = exact.map((vector) => (dtype === 'float16' ? decodeFloat16(encodeFloat16(vector)) : vector));
        const { vectors } = await readEmbeddingPart(run.context.store, stored.manifest.parts[0]!, encoder.d);
        expected.forEach((vector, row) => expect(vectors.subarray(row * encoder.d, (row + 1) * encoder.d)).toEqual(vector));
        expect((await run.table(stored)).vector('embedding')).toMatchObject({ d: encoder.d, element: dtype });
        expect(stored.manifest).toMatchObject({ d: encoder.d, encoder: encoder.provenance, maxAbs: Math.max(...expected.map((vector) => Math.max(...vector.map(Math.abs)))) });
      }
    }
  });

  it('are left out where images are only checked', async () => {
    const folder = await temporaryFolder('check');
    await writeTree(folder, { 'a.png': await png(picture(20, 20)), 'b.png': 'text' });
    const run = await openEmbedRun({ folder });
    const stored = await run.embed(null);
    const table = await run.table(stored);
    expect(table.names).toEqual(['status', 'id', 'width', 'height']);
    expect(table.strings('status')).toEqual(['ok', 'not-an-image']);
    expect(stored.manifest).toMatchObject({ d: 0, encoder: null, okRows: [1], maxAbs: 0, stats: { rows: 2, statuses: { ok: 1, 'not-an-image': 1 } } });
    // Nothing that speaks of vectors decides a table without them.
    expect((await run.embed(null, { dtype: 'float32', normalize: false, pool: 'cls' })).sha256).toBe(stored.sha256);
  });
});

describe('bytes of the table', () => {
  it('depend neither on concurrency nor batch size nor threads, with the descriptor and with a model', async () => {
    const root = await temporaryFolder('same');
    const folder = join(root, 'pool');
    await drawCorpus(folder, { images: 200, concepts: 20 });
    for (const model of ['descriptor', await modelFile(tinyVit({ tokensBefore: 5 }), TINY_PREPROCESSOR)]) {
      const hashes = new Set<string>();
      for (const [concurrency, batchSize, threads] of [[1, 1, 1], [7, 1, 2], [1, 16, 2], [7, 16, 1], [1, 64, 1], [7, 64, 2]] as const) {
        const run = await openEmbedRun({ folder }, { execution: { concurrency, threads } });
        const { manifest, sha256: hash } = await run.embed(model, { batchSize });
        expect(manifest.stats).toMatchObject({ rows: 200, statuses: { ok: expect.any(Number) } });
        hashes.add([hash, ...manifest.parts.map((part) => part.sha256)].join(' '));
      }
      expect([...hashes].length).toBe(1);
    }
  });

  it('name neither a folder of this machine nor where the model lies', async () => {
    const root = await temporaryFolder('moved');
    await mkdir(join(root, 'here'));
    await writeTree(join(root, 'here', 'pool'), { 'a.png': await png(picture(40, 40)) });
    const model = await modelFile(tinyRatio());
    const first = await (await openEmbedRun({ folder: join(root, 'here', 'pool') }, { store: join(root, 'store') })).embed(model);
    await rename(join(root, 'here'), join(root, 'there'));
    const second = await (await openEmbedRun({ folder: join(root, 'there', 'pool') }, { store: join(root, 'store') })).embed(await modelFile(tinyRatio()));
    expect(second.sha256).toBe(first.sha256);
    const text = await readFile(join(root, 'store', 'embeddings', 'manifest.json'), 'utf8');
    expect(text).not.toContain(root);
    expect(text).not.toContain(model.slice(0, model.lastIndexOf('/')));
  });
});
