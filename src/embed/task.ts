/**
 * The task of the embed stage: one part of `embeddings/`. Bytes are read once; hash, limits, decoding and the model all
 * work on that read. Decoders run ahead of the model by up to three batches, in row order, so the model waits only
 * when decoding is the slower of the two, and memory is bounded by the look-ahead.
 */
import { createHash } from 'node:crypto';
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import type { VectorColumn } from '../arrow/tables.ts';
import { throwIfAborted } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { ByteReader, ImagePlace } from '../ingest/image.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { encodeFloat16, decodeFloat16 } from '../vector/float16.ts';
import type { EmbedConfig } from './config.ts';
import { CHECK_ONLY, decodeImage } from './decode.ts';
import type { Decoded, EmbeddingStatus, Encoder } from './embedding.ts';
import { createEncoder } from './encoder.ts';
import { createTensor, writeTensor } from './preprocess.ts';

export interface EmbedPayload {
  /** The part of `images/` that holds the rows. */
  readonly images: Part;
  readonly firstRow: number;
  readonly rowCount: number;
  /** Key of the part to write. */
  readonly out: string;
  readonly config: EmbedConfig;
  /** Resolved model reference; null: images are only read, hashed and checked by decoding. */
  readonly model: string | null;
  /** What the model is, so that a record made with another file under the same name is not taken for this one. */
  readonly encoder: Readonly<Record<string, unknown>> | null;
}

export interface EmbedResult {
  readonly part: Part;
  readonly okRows: number;
  readonly statuses: Readonly<Partial<Record<EmbeddingStatus, number>>>;
  readonly sizeBytes: number;
  readonly maxAbs: number;
}

export const embedPart: TaskKind<EmbedPayload, EmbedResult> = {
  name: 'embed-part',
  version: 1,
  run: async (payload, env) => {
    const encoder = payload.model === null ? null : await openEncoder(payload.model, payload.config, env);
    const reader = await env.resource('bytes', async () => openByteReader(env.locations));
    const places = readPlaces(await readPart(env.store, payload.images), payload);
    const rows = createRows(payload.rowCount, encoder?.d ?? 0);
    const batch = encoder === null ? null : createBatch(encoder, payload.config, rows);
    for await (const { row, image } of decodeAhead(places, reader, encoder, payload.config, env)) {
      rows.id[row] = image.id;
      rows.width[row] = image.decoded.width ?? 0;
      rows.height[row] = image.decoded.height ?? 0;
      rows.sizeBytes += image.sizeBytes;
      rows.status[row] = image.decoded.status;
      if (image.decoded.status === 'ok' && batch !== null) await batch.add(row, image.decoded.pixels);
      env.advance(1);
    }
    await batch?.flush();
    return writeRows(payload, rows, env);
  },
};

/** The process's one session of a model. */
export function openEncoder(model: string, config: EmbedConfig, env: Pick<TaskEnv, 'resource' | 'execution'>): Promise<Encoder> {
  return env.resource(`encoder ${model} ${JSON.stringify(config)}`, () => createEncoder(model, config, env.execution.threads));
}

interface Rows {
  readonly d: number;
  readonly status: EmbeddingStatus[];
  readonly id: (string | null)[];
  readonly width: Uint32Array;
  readonly height: Uint32Array;
  readonly vectors: Float32Array;
  sizeBytes: number;
}

function createRows(n: number, d: number): Rows {
  return { d, status: new Array(n), id: new Array(n), width: new Uint32Array(n), height: new Uint32Array(n), vectors: new Float32Array(n * d), sizeBytes: 0 };
}

interface ReadImage {
  readonly id: string | null;
  readonly sizeBytes: number;
  readonly decoded: Decoded;
}

/** Yields images in row order while up to `concurrency` of the next ones are being read and decoded. */
async function* decodeAhead(places: readonly ImagePlace[], reader: ByteReader, encoder: Encoder | null, config: EmbedConfig, env: TaskEnv): AsyncIterable<{ row: number; image: ReadImage }> {
  const spec = encoder?.preprocess ?? CHECK_ONLY;
  const ahead = env.execution.concurrency + 3 * (encoder?.batchSize ?? 1);
  const lanes = env.execution.concurrency;
  const waiting: Promise<ReadImage>[] = [];
  let active = 0;
  let queue: (() => void)[] = [];
  const limited = async (place: ImagePlace): Promise<ReadImage> => {
    if (active >= lanes) await new Promise<void>((resolve) => queue.push(resolve));
    active++;
    try {
      return await readImage(place, reader, spec, config);
    } finally {
      active--;
      queue.shift()?.();
    }
  };
  let next = 0;
  try {
    for (let row = 0; row < places.length; row++) {
      throwIfAborted(env.signal);
      while (next < places.length && next < row + ahead) {
        const image = limited(places[next++]!);
        image.catch(() => undefined);
        waiting.push(image);
      }
      yield { row, image: await waiting.shift()! };
    }
  } finally {
    queue.forEach((resolve) => resolve());
    queue = [];
    await Promise.allSettled(waiting);
  }
}

async function readImage(place: ImagePlace, reader: ByteReader, spec: Encoder['preprocess'], config: EmbedConfig): Promise<ReadImage> {
  const read = await reader.read(place, config.limits.sizeBytesMax);
  if (read.status !== 'ok') return { id: null, sizeBytes: 0, decoded: { status: read.status, width: null, height: null } };
  const id = createHash('sha256').update(read.bytes).digest('hex').slice(0, 32);
  return { id, sizeBytes: read.bytes.byteLength, decoded: await decodeImage(read.bytes, spec, config.limits) };
}

interface Batch {
  add(row: number, pixels: Uint8Array): Promise<void>;
  flush(): Promise<void>;
}

/** Fills batches in row order; one is in the model while the next is filled, never more. */
function createBatch(encoder: Encoder, config: EmbedConfig, rows: Rows): Batch {
  const tensors = [createTensor(encoder.preprocess, encoder.batchSize), createTensor(encoder.preprocess, encoder.batchSize)] as const;
  let turn: 0 | 1 = 0;
  let members: number[] = [];
  let running: Promise<void> = Promise.resolve();
  const send = async (): Promise<void> => {
    await running;
    const sent = members;
    const tensor = tensors[turn];
    members = [];
    turn = turn === 0 ? 1 : 0;
    running = encoder.encode(tensor, sent.length).then((vectors) => storeVectors(vectors, sent, config.normalize, rows));
    running.catch(() => undefined);
  };
  return {
    add: async (row, pixels) => {
      writeTensor(pixels, encoder.preprocess, tensors[turn], members.length);
      members.push(row);
      if (members.length === encoder.batchSize) await send();
    },
    flush: async () => {
      if (members.length > 0) await send();
      await running;
    },
  };
}

function storeVectors(vectors: Float32Array, members: readonly number[], normalize: boolean, rows: Rows): void {
  const { d } = rows;
  members.forEach((row, i) => {
    let squares = 0;
    for (let j = i * d; j < (i + 1) * d; j++) squares += vectors[j]! * vectors[j]!;
    if (!Number.isFinite(squares)) rows.status[row] = 'not-finite';
    else if (squares === 0 && normalize) rows.status[row] = 'zero-vector';
    else {
      const norm = normalize ? Math.sqrt(squares) : 1;
      for (let j = 0; j < d; j++) rows.vectors[row * d + j] = vectors[i * d + j]! / norm;
    }
  });
}

function readPlaces(bytes: Uint8Array, payload: EmbedPayload): ImagePlace[] {
  const view = decodeTable(bytes, payload.images.path);
  const from = payload.firstRow - payload.images.firstRow;
  const source = view.strings('source');
  const path = view.strings('path');
  const offset = view.numbers('offset');
  const length = view.numbers('length');
  const inTar = view.validity('offset');
  return Array.from({ length: payload.rowCount }, (_, i) => {
    const at = from + i;
    const whole = inTar !== undefined && inTar[at] === 0;
    return { source: source[at]!, path: path[at]!, offset: whole ? -1 : offset[at]!, length: whole ? -1 : length[at]! };
  });
}

async function writeRows(payload: EmbedPayload, rows: Rows, env: TaskEnv): Promise<EmbedResult> {
  const { d, status, id, width, height } = rows;
  const column = d === 0 ? null : vectorColumn(rows, payload.config.dtype);
  const bytes = encodeTable({
    ...(column !== null && { embedding: column }),
    status: { type: 'dictionary', values: status },
    id: { type: 'utf8', values: id },
    width: { type: 'uint32', values: width },
    height: { type: 'uint32', values: height },
  });
  const { sizeBytes, sha256 } = await env.store.write(payload.out, bytes);
  const statuses: Partial<Record<EmbeddingStatus, number>> = {};
  for (const one of status) statuses[one] = (statuses[one] ?? 0) + 1;
  let maxAbs = 0;
  for (const value of rows.vectors) if (Math.abs(value) > maxAbs) maxAbs = Math.abs(value);
  return {
    part: { path: payload.out, firstRow: payload.firstRow, rowCount: payload.rowCount, bytes: sizeBytes, sha256 },
    okRows: statuses.ok ?? 0,
    statuses,
    sizeBytes: rows.sizeBytes,
    maxAbs,
  };
}

/** Rounds to the type on disk; a vector that float16 cannot hold is not finite. Leaves the rounded values in `rows`. */
function vectorColumn(rows: Rows, dtype: EmbedConfig['dtype']): VectorColumn {
  const { d, vectors, status } = rows;
  if (dtype === 'float32') return { type: 'vector', element: 'float32', d, values: vectors };
  const bits = encodeFloat16(vectors);
  decodeFloat16(bits, vectors);
  for (let row = 0; row < status.length; row++) {
    if (vectors.subarray(row * d, (row + 1) * d).every(Number.isFinite)) continue;
    status[row] = 'not-finite';
    vectors.fill(0, row * d, (row + 1) * d);
    bits.fill(0, row * d, (row + 1) * d);
  }
  return { type: 'vector', element: 'float16', d, values: bits };
}
