/**
 * The task of the embed stage: one part of `embeddings/`. Bytes are read once; hash, limits, decoding and the model all
 * work on that read. Decoders run ahead of the model, in row order, and calls wait behind the one it works on, so the
 * model waits only when decoding is the slower of the two. All that runs ahead is bounded, in images and in bytes.
 */
import { createHash } from 'node:crypto';
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { openByteReader } from '../ingest/bytes.ts';
import { type ByteReader, type ColourSums, type ImagePlace, addColours } from '../ingest/image.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { createCalls } from './calls.ts';
import type { EmbedConfig } from './config.ts';
import { CHECK_ONLY, decodeImage } from './decode.ts';
import { type Decoded, type EmbeddingStatus, type Encoder, inputSize, type PreprocessSpec } from './embedding.ts';
import { createEncoder, type EncoderConfig } from './encoder.ts';
import { readKept } from './kept.ts';
import { type AheadBounds, type AheadItem, readAhead } from './read-ahead.ts';
import { createRows, type EmbeddingRows, rowColumns } from './rows.ts';

/** What a task has to know of the settings. */
export type TaskConfig = Omit<EmbedConfig, 'model' | 'maxDropRatio'>;

export interface EmbedPayload {
  /** The part of `images/` that holds the rows. */
  readonly images: Part;
  readonly firstRow: number;
  readonly rowCount: number;
  /** Key of the part to write. */
  readonly out: string;
  readonly config: TaskConfig;
  /** Resolved model reference; null: images are only read, hashed and checked by decoding. */
  readonly model: string | null;
  /** What the model is, so that a record made with another file under the same name is not taken for this one. */
  readonly encoder: Readonly<Record<string, unknown>> | null;
  /** An older part over the same rows: only those of it whose reason may pass are tried, the others stay. */
  readonly before?: Part;
}

export interface EmbedResult {
  readonly part: Part;
  readonly okRows: number;
  readonly statuses: Readonly<Partial<Record<EmbeddingStatus, number>>>;
  readonly sizeBytes: number;
  readonly maxAbs: number;
  /** Of the pixels of its tiles; absent when it has none. */
  readonly colours?: ColourSums;
}

export const embedPart: TaskKind<EmbedPayload, EmbedResult> = {
  name: 'embed-part',
  version: 1,
  run: async (payload, env) => {
    const { config, model } = payload;
    const encoder = model === null ? null : await openEncoder(model, config, env);
    const reader = await env.resource('bytes', async () => openByteReader(env.locations));
    const spec = encoder?.preprocess ?? CHECK_ONLY;
    const rows = createRows(payload.rowCount, encoder?.d ?? 0, config);
    const calls = encoder === null ? null : createCalls(encoder, rows, env);
    const listed = readListed(await readPart(env.store, payload.images), payload);
    const kept = payload.before === undefined ? null : await readKept(env.store, payload.before, rows.d);
    const items = listed.map(({ place, sizeBytes, lost }, at): AheadItem<ReadImage> => {
      if (lost !== null || kept?.has(at)) return { sizeBytes: 0, work: async () => withoutBytes(lost ?? 'unreadable') };
      return { sizeBytes, work: (hold) => readImage(place, reader, spec, config, hold) };
    });
    let row = 0;
    let colours: ColourSums | undefined;
    for await (const { id, sizeBytes, decoded, colours: own } of readAhead(items, boundsOf(spec, env), env.signal)) {
      if (kept?.has(row)) kept.copy(row, rows);
      else rows.put(row, id, decoded, sizeBytes);
      if (own !== undefined && decoded.status === 'ok') colours = addColours(colours, own);
      if (decoded.status === 'ok') await calls?.add(row, decoded.pixels);
      if (!kept?.has(row)) env.observe?.({ of: 'image', status: decoded.status, sizeBytes });
      env.advance(1);
      row += 1;
    }
    await calls?.finish();
    return { ...(await writeRows(payload, rows, env)), ...(colours !== undefined && { colours }) };
  },
};

/** The process's one session of a model. */
export function openEncoder(model: string, config: EncoderConfig, env: Pick<TaskEnv, 'resource' | 'execution'>): Promise<Encoder> {
  const { providers, input, output, pool, batchSize } = config;
  return env.resource(`encoder ${JSON.stringify([model, providers, input, output, pool, batchSize])}`, () => createEncoder(model, config, env.execution.threads));
}

/** Encoded bytes of the images under way, and pixels of those that are done. */
const ENCODED_BYTES_MAX = 2 ** 28;
const PIXEL_BYTES_MAX = 2 ** 26;
/** Decoded images that may wait: one slow image in between costs the model nothing. */
const WAITING_MAX = 64;
/** Stands for a size that the listing does not know, until the image is read. */
const UNKNOWN_SIZE_BYTES = 2 ** 25;

/** For each decoder at work one more image is being read or waits for this thread, so that decoders never wait for it. */
function boundsOf(spec: PreprocessSpec, { execution }: TaskEnv): AheadBounds {
  const { width, height } = inputSize(spec);
  const atOnce = 2 * execution.concurrency;
  const waiting = Math.min(WAITING_MAX, Math.floor(PIXEL_BYTES_MAX / (3 * width * height)));
  return { atOnce, ahead: atOnce + waiting, sizeBytesMax: ENCODED_BYTES_MAX };
}

interface ListedImage {
  readonly place: ImagePlace;
  readonly sizeBytes: number;
  /** Why its download gave no bytes; null where there are some, or nothing was downloaded. */
  readonly lost: Exclude<EmbeddingStatus, 'ok'> | null;
}

/** The rows of the payload, from the bytes of the part of `images/` that holds them. */
function readListed(bytes: Uint8Array, payload: EmbedPayload): ListedImage[] {
  const view = decodeTable(bytes, payload.images.path);
  const from = payload.firstRow - payload.images.firstRow;
  const source = view.strings('source');
  const path = view.strings('path');
  const [offset, length, size] = [view.numbers('offset'), view.numbers('length'), view.numbers('size')];
  const [inTar, sized] = [view.validity('offset'), view.validity('size')];
  const status = view.names.includes('status') ? view.strings('status') : null;
  return Array.from({ length: payload.rowCount }, (_, i) => {
    const at = from + i;
    const isWhole = inTar !== undefined && inTar[at] === 0;
    const place = { source: source[at]!, path: path[at]!, offset: isWhole ? -1 : offset[at]!, length: isWhole ? -1 : length[at]! };
    const ended = (status?.[at] ?? 'ok') as EmbeddingStatus;
    return { place, sizeBytes: sized !== undefined && sized[at] === 0 ? UNKNOWN_SIZE_BYTES : size[at]!, lost: ended === 'ok' ? null : ended };
  });
}

interface ReadImage {
  readonly id: string | null;
  readonly sizeBytes: number;
  readonly decoded: Decoded;
  readonly colours?: ColourSums | undefined;
}

async function readImage(place: ImagePlace, reader: ByteReader, spec: PreprocessSpec, { limits }: TaskConfig, hold: (sizeBytes: number) => void): Promise<ReadImage> {
  const read = await reader.read(place, limits.sizeBytesMax);
  if (read.status !== 'ok') return withoutBytes(read.status);
  const { bytes, colours } = read;
  hold(bytes.byteLength);
  const id = createHash('sha256').update(bytes).digest('hex').slice(0, 32);
  return { id, sizeBytes: bytes.byteLength, decoded: await decodeImage(bytes, spec, limits), colours };
}

function withoutBytes(status: Exclude<EmbeddingStatus, 'ok'>): ReadImage {
  return { id: null, sizeBytes: 0, decoded: { status, width: null, height: null } };
}

async function writeRows(payload: EmbedPayload, rows: EmbeddingRows, env: TaskEnv): Promise<EmbedResult> {
  const { sizeBytes, sha256 } = await env.store.write(payload.out, encodeTable(rowColumns(rows)));
  const statuses: Partial<Record<EmbeddingStatus, number>> = {};
  for (const status of rows.status) statuses[status] = (statuses[status] ?? 0) + 1;
  return {
    part: { path: payload.out, firstRow: payload.firstRow, rowCount: payload.rowCount, bytes: sizeBytes, sha256 },
    okRows: statuses.ok ?? 0,
    statuses,
    sizeBytes: rows.sizeBytes,
    maxAbs: rows.maxAbs,
  };
}
