/**
 * The task of the shard stage: a run of shards of one part. Holds one shard's rows and one part of each table it joins,
 * and with bytes the images of one file; the original bytes are checked against the id, which is the start of their
 * SHA-256 as embedding saw them, and copied unchanged, or as `derive.ts` has them.
 */
import { createHash } from 'node:crypto';
import { encodeTable } from '../arrow/ipc.ts';
import type { Columns } from '../arrow/tables.ts';
import { crc32 } from '../crc32.ts';
import { type ClustersManifest, NO_CLUSTER, readTree } from '../cluster/tree.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { ByteReader, ImagesManifest } from '../ingest/image.ts';
import { type Manifest, type Part, requireManifest } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import { type JoinedRows, type Joiner, type RowRun, createJoiner, readRawRows, readSelectedRows } from './join.ts';
import { type ShardImage, deriveImages, requireSameProgram } from './derive.ts';
import { type ShardPayload, type TableReference, shardKey } from './plan.ts';
import type { ShardFile } from './shard.ts';

/** @returns the shards, in order; `firstRow` is the index in the part */
export const writeShards: TaskKind<ShardPayload, ShardFile[]> = {
  name: 'shard',
  version: 1,
  run: async (payload, env) => {
    const { config, levels, tables } = payload;
    const embeddings = await requireSame<EmbeddingsManifest>(env, tables.embeddings);
    const images = await requireSame<ImagesManifest>(env, tables.images);
    const tree = tables.clusters === null ? null : await openTree(env, tables.clusters);
    const joiner = createJoiner(env.store, { images, embeddings, tree, L: levels });
    const reader = config.withBytes ? await env.resource('bytes', async () => openByteReader(env.locations)) : null;
    if (payload.derive !== undefined) await requireSameProgram(payload.derive);
    const parts: ShardFile[] = [];
    let firstRow = payload.firstRow;
    for await (const run of await openRows(payload, embeddings, env)) {
      parts.push(...(await writeShard(run, firstRow, joiner, reader, payload, env)));
      firstRow += run.row.length;
    }
    return parts;
  },
};

async function openRows({ tables, named, firstRow, rowCount, config }: ShardPayload, embeddings: EmbeddingsManifest, env: TaskEnv): Promise<AsyncIterable<RowRun>> {
  const skip = firstRow - named.rowsBefore;
  const take = (parts: readonly Part[]): readonly Part[] => parts.slice(named.first, named.first + named.count);
  if (tables.selection === null) return readRawRows(env.store, take(embeddings.parts), skip, rowCount, config.rows);
  const selection = await requireSame<SelectionManifest>(env, tables.selection);
  return readSelectedRows(env.store, selection, take(selection.parts), skip, rowCount, config.rows, tables.clusters !== null);
}

/** One shard is one file, or several when its text or its bytes pass their limit. */
async function writeShard(run: RowRun, firstRow: number, joiner: Joiner, reader: ByteReader | null, payload: ShardPayload, env: TaskEnv): Promise<ShardFile[]> {
  const shard = firstRow / payload.config.rows;
  const { derive } = payload;
  const parts: ShardFile[] = [];
  for (let from = 0; from < run.row.length; ) {
    throwIfAborted(env.signal);
    const joined = await joiner.join(run, from);
    const write = async (start: number, end: number, images: ShardImage[] | null): Promise<void> => {
      const path = shardKey(payload.part, shard, parts.length);
      const { sizeBytes, sha256 } = await env.store.write(path, encodeTable(shardColumns(joined, start, end, images, payload)));
      parts.push({ path, firstRow: firstRow + from + start, rowCount: end - start, bytes: sizeBytes, sha256, ...(derive !== undefined && { derived: images!.filter(({ derivedId }) => derivedId !== null).length }) });
      env.advance(end - start);
    };
    if (reader === null) await write(0, joined.rowCount, null);
    else {
      const originals = readImages(joined, reader, env);
      await cutByBytes(derive === undefined ? unchanged(originals) : deriveImages(joined, originals, derive, env), payload.config.sizeBytesMax, write);
    }
    from += joined.rowCount;
  }
  return parts;
}

/** Hands on runs of images of at most `sizeBytesMax` bytes together, or of one image that is larger. */
async function cutByBytes(images: AsyncIterable<ShardImage>, sizeBytesMax: number, write: (start: number, end: number, images: ShardImage[]) => Promise<void>): Promise<void> {
  let held: ShardImage[] = [];
  let start = 0;
  let sizeBytes = 0;
  for await (const image of images) {
    if (held.length > 0 && sizeBytes + image.bytes.byteLength > sizeBytesMax) {
      await write(start, start + held.length, held);
      start += held.length;
      held = [];
      sizeBytes = 0;
    }
    held.push(image);
    sizeBytes += image.bytes.byteLength;
  }
  await write(start, start + held.length, held);
}

async function* unchanged(images: AsyncIterable<Uint8Array>): AsyncGenerator<ShardImage> {
  for await (const bytes of images) yield { bytes, derivedId: null, note: null };
}

/** Images in row order, the next few being read meanwhile; copies of a row are read once. */
async function* readImages(rows: JoinedRows, reader: ByteReader, env: TaskEnv): AsyncIterable<Uint8Array> {
  const waiting: Promise<Uint8Array>[] = [];
  let next = 0;
  let last: Promise<Uint8Array> | null = null;
  try {
    for (let i = 0; i < rows.rowCount; i++) {
      throwIfAborted(env.signal);
      for (; next < rows.rowCount && next < i + env.execution.concurrency; next++) {
        if (last === null || rows.row[next] !== rows.row[next - 1]) last = readImage(rows, next, reader);
        last.catch(() => undefined);
        waiting.push(last);
      }
      yield await waiting.shift()!;
    }
  } finally {
    await Promise.allSettled(waiting);
  }
}

async function readImage({ uri, id, source, path, offset, length }: JoinedRows, i: number, reader: ByteReader): Promise<Uint8Array> {
  const read = await reader.read({ source: source[i]!, path: path[i]!, offset: offset[i]!, length: length[i]! }, IMAGE_BYTES_MAX);
  if (read.status === 'unreadable') {
    throw new WinnowError('INPUT_MISSING', `Expected the bytes of ${uri[i]}, which were there when it was embedded, could not read them now: ${read.reason}`, { details: { uri: uri[i] } });
  }
  const found = read.status === 'ok' ? createHash('sha256').update(read.bytes).digest('hex').slice(0, 32) : null;
  if (read.status !== 'ok' || found !== id[i]) {
    throw new WinnowError('CHECKSUM_MISMATCH', `Expected the bytes of ${uri[i]} to have the SHA-256 ${id[i]}… they had when it was embedded, got ${found === null ? 'a larger file' : `${found}…`}: the file has changed since; run again with --force ingest`, {
      details: { uri: uri[i], expected: id[i], found },
    });
  }
  return read.bytes;
}

/** A column of bytes holds less than 2 GiB. */
const IMAGE_BYTES_MAX = 2 ** 31 - 1;

function shardColumns(rows: JoinedRows, start: number, end: number, images: readonly ShardImage[] | null, { levels, withText, derive }: ShardPayload): Columns {
  const n = end - start;
  const cluster = rows.cluster.slice(start * levels, end * levels);
  const clustered = Uint8Array.from({ length: n }, (_, i) => (cluster[i * levels] === NO_CLUSTER ? 0 : 1));
  for (let i = 0; i < n; i++) if (clustered[i] === 0) cluster.fill(0, i * levels, (i + 1) * levels);
  const offset = rows.offset.slice(start, end);
  const inTar = Uint8Array.from(offset, (value) => (value < 0 ? 0 : 1));
  const place = (values: Float64Array): Columns[string] => ({ type: 'uint64', values: values.map((value) => Math.max(0, value)), valid: inTar });
  const text = (name: 'id' | 'uri' | 'path' | 'label' | 'caption' | 'meta'): Columns[string] => ({ type: 'utf8', values: rows[name].slice(start, end) });
  return {
    id: text('id'),
    uri: text('uri'),
    row: { type: 'uint64', values: rows.row.slice(start, end) },
    cluster: { type: 'vector', element: 'uint32', d: levels, values: cluster, valid: clustered },
    score: { type: 'float32', values: rows.score?.slice(start, end) ?? new Float32Array(n), ...(rows.score === null && { valid: new Uint8Array(n) }) },
    source: { type: 'dictionary', values: rows.source.slice(start, end) },
    path: text('path'),
    offset: place(offset),
    length: place(rows.length.slice(start, end)),
    label: text('label'),
    ...(withText && { caption: text('caption'), meta: text('meta') }),
    ...(images !== null && derive !== undefined && { derivedId: { type: 'utf8', values: images.map(({ derivedId }) => derivedId) }, derivedNote: { type: 'utf8', values: images.map(({ note }) => note) } }),
    ...(images !== null && { crc32: { type: 'uint32', values: Uint32Array.from(images, ({ bytes }) => crc32(bytes)) }, image: { type: 'binary', values: images.map(({ bytes }) => bytes) } }),
  };
}

interface OpenTree {
  readonly manifest: ClustersManifest;
  /** Cluster of the next level by cluster, level 1 first. */
  readonly parents: readonly Uint32Array[];
  close(): Promise<void>;
}

/** Read once a process, and 4 bytes a cluster kept. */
function openTree(env: TaskEnv, { path, sha256 }: TableReference): Promise<OpenTree> {
  return env.resource(`tree ${sha256}`, async () => {
    const { stored, tree } = await readTree(env.store);
    requireHash(env, path, sha256, stored.sha256);
    return { manifest: stored.manifest, parents: tree.levels.map(({ parent }) => parent), close: async () => undefined };
  });
}

async function requireSame<M extends Manifest>(env: TaskEnv, { path, sha256 }: TableReference): Promise<M> {
  const stored = await requireManifest<M>(env.store, path, 'run');
  requireHash(env, path, sha256, stored.sha256);
  return stored.manifest;
}

function requireHash(env: TaskEnv, path: string, expected: string, found: string): void {
  if (found === expected) return;
  throw new WinnowError('CHECKSUM_MISMATCH', `Expected the manifest of ${path} with SHA-256 ${expected.slice(0, 12)}…, found ${found.slice(0, 12)}… in ${env.store.uri}: run \`winnow shard\` again`);
}
