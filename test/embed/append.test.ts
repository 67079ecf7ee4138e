import { describe, expect, it } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { extendEmbeddings, requireSameEmbedding } from '../../src/embed/append.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import type { EmbeddingStatus, EmbeddingsManifest } from '../../src/embed/embedding.ts';
import { createRows, rowColumns } from '../../src/embed/rows.ts';
import type { ImagesManifest } from '../../src/ingest/image.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, hashOf, readPart, writePart } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { CREATED_BY } from '../../src/version.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const D = 3;
const STATUSES: EmbeddingStatus[] = ['ok', 'corrupt', 'ok', 'ok', 'empty', 'ok', 'ok'];

/** One part of a table of embeddings, its rows as the embed stage would fill them. */
async function writeRows(store: Store, folder: string, before: readonly Part[], firstRow: number, rowCount: number, dtype: 'float16' | 'float32'): Promise<{ part: Part; okRows: number; maxAbs: number }> {
  const rows = createRows(rowCount, D, { dtype, normalize: false });
  let okRows = 0;
  for (let i = 0; i < rowCount; i++) {
    const row = firstRow + i;
    const status = STATUSES[row % STATUSES.length]!;
    if (status === 'ok') okRows++;
    const decoded = status === 'ok' ? { status, width: row, height: 2 * row, pixels: new Uint8Array(0) } : { status, width: null, height: null };
    rows.put(i, status === 'empty' ? null : row.toString(16).padStart(32, '0'), decoded as never, row);
    if (status === 'ok') rows.putVector(i, Float32Array.of(row / 7, -row, 1 / (row + 1)));
  }
  return { part: await writePart(store, folder, before, rowCount, encodeTable(rowColumns(rows))), okRows, maxAbs: rows.maxAbs };
}

/** The table of rows from … to − 1 of a listing with these parts; rows are numbered from `from` in the values, from 0 in the parts. */
async function tableOf(store: Store, folder: string, from: number, to: number, listing: readonly number[], dtype: 'float16' | 'float32', images: string): Promise<EmbeddingsManifest> {
  const parts: Part[] = [];
  const okRows: number[] = [];
  let maxAbs = 0;
  let start = 0;
  for (const rows of listing) {
    for (let row = start; row < start + rows; row += 4096) {
      const [a, b] = [Math.max(row, from), Math.min(row + 4096, start + rows, to)];
      if (a >= b) continue;
      const made = await writeRows(store, folder, parts, a, b - a, dtype);
      parts.push(made.part);
      okRows.push(made.okRows);
      maxAbs = Math.max(maxAbs, made.maxAbs);
    }
    start += rows;
  }
  const statuses: Partial<Record<EmbeddingStatus, number>> = {};
  let sizeBytes = 0;
  for (let row = from; row < to; row++) {
    const status = STATUSES[row % STATUSES.length]!;
    statuses[status] = (statuses[status] ?? 0) + 1;
    sizeBytes += row;
  }
  const inputs = [{ stage: 'ingest', sha256: images }];
  const config = { dtype };
  const configHash = hashOf({ stage: 'embed', config, inputs, seed: 0, version: MANIFEST_VERSION, createdBy: CREATED_BY });
  return { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'embed', inputs, config, configHash, seed: 0, parts, stats: { rows: to - from, statuses, sizeBytes }, createdBy: CREATED_BY, d: D, encoder: { name: 'made' }, okRows, maxAbs };
}

function listingOf(rows: readonly number[]): StoredManifest<ImagesManifest> {
  let firstRow = 0;
  const parts = rows.map((rowCount, p) => ({ path: `images/part-${p}`, firstRow: (firstRow += rowCount) - rowCount, rowCount, bytes: 0, sha256: '' }));
  return { path: 'images', sha256: 'new', manifest: { stage: 'ingest', parts } as unknown as ImagesManifest };
}

const storedAs = (manifest: EmbeddingsManifest): StoredManifest<EmbeddingsManifest> => ({ path: 'embeddings', manifest, sha256: hashOf(manifest) });

async function openWorld() {
  const store = await openFsStore(await temporaryFolder('extend'));
  return { store, context: { store, signal: new AbortController().signal } as RunContext };
}

describe('extendEmbeddings', () => {
  it.each([
    ['in the middle of a part', 5000, [9000], 'float16'],
    ['at the end of a part', 8192, [9000], 'float32'],
    ['where the listing begins another part', 4500, [4500, 300], 'float16'],
    ['shortly before the listing ends a part', 6990, [7000, 5000], 'float16'],
    ['after a single row', 1, [2], 'float32'],
  ] as const)('gives the table of the whole listing from those of both halves, cut %s', async (_, first, listing, dtype) => {
    const { store, context } = await openWorld();
    const n = listing.reduce((total, rows) => total + rows, 0);
    const before = storedAs(await tableOf(store, 'embeddings', 0, first, listing, dtype, 'old'));
    const added = await tableOf(store, 'added', first, n, listing, dtype, 'delta');
    const whole = await tableOf(store, 'whole', 0, n, listing, dtype, 'new');
    const { manifest, at } = await extendEmbeddings(context, { before, added, images: listingOf(listing), maxDropRatio: 1, staging: 'staged/' });
    expect(manifest).toEqual({ ...whole, parts: whole.parts.map((part) => ({ ...part, path: part.path.replace('whole', 'embeddings') })) });
    for (const [p, part] of at.entries()) expect(Buffer.from(await readPart(store, part)).equals(await store.read(whole.parts[p]!.path))).toBe(true);
    // Nothing but the part with old and new rows is written.
    const staged: string[] = [];
    for await (const { key } of store.list('staged/')) staged.push(key);
    expect(staged.length).toBeLessThanOrEqual(1);
  });

  it('holds the share of rejected images against the whole pool', async () => {
    const { store, context } = await openWorld();
    const before = storedAs(await tableOf(store, 'embeddings', 0, 70, [77], 'float32', 'old'));
    const added = await tableOf(store, 'added', 70, 77, [77], 'float32', 'delta');
    const request = { before, added, images: listingOf([77]), staging: 'staged/' };
    await expect(extendEmbeddings(context, { ...request, maxDropRatio: 0.28 })).rejects.toMatchObject({ code: 'TOO_MANY_DROPPED', message: expect.stringMatching(/at most 28\.0 %.*got 22 of 77: 11 empty, 11 corrupt|got 22 of 77/) });
    await expect(extendEmbeddings(context, { ...request, maxDropRatio: 0.29 })).resolves.toBeDefined();
  });
});

describe('requireSameEmbedding', () => {
  const config = EmbedConfig.parse({});
  const before = { config: { dtype: config.dtype, normalize: config.normalize, limits: config.limits, encoder: { sha256: 'a' } }, encoder: { sha256: 'a' } } as unknown as EmbeddingsManifest;

  it('passes what decides no vector', () => {
    requireSameEmbedding(before, { ...config, batchSize: 7, maxDropRatio: 0.5, model: 'elsewhere.onnx' }, { sha256: 'a' });
  });

  it('names what differs', () => {
    expect(() => requireSameEmbedding(before, { ...config, dtype: 'float32' }, { sha256: 'b' })).toThrow(/another embed\.model \(sha256\), embed\.dtype:/);
    expect(() => requireSameEmbedding(before, { ...config, normalize: false }, { sha256: 'a' })).toThrow(/another embed\.normalize: set it back/);
  });
});
