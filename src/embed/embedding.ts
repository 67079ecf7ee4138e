/**
 * Nouns of the embed stage: what an encoder is, how pixels reach it, and the statuses an image can end with.
 * Encoders (`descriptor.ts`, `encode.ts`) and the decoder (`decode.ts`) meet only in these types.
 */
import assert from 'node:assert/strict';
import { type TableView, decodeTable } from '../arrow/ipc.ts';
import { DOWNLOAD_REASONS } from '../download/status.ts';
import { WinnowError } from '../errors.ts';
import { type Manifest, type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';

/** How an image becomes the tensor a model expects. Geometry first (decoder), then arithmetic (tensor). */
export interface PreprocessSpec {
  /**
   * `shortest-edge`: scale so that the shorter side is `size`, aspect kept. `exact`: scale to width × height, aspect
   * ignored. `cover`: scale and centre-crop to width × height in one step.
   */
  readonly resize:
    | { readonly mode: 'shortest-edge'; readonly size: number }
    | { readonly mode: 'exact'; readonly width: number; readonly height: number }
    | { readonly mode: 'cover'; readonly width: number; readonly height: number };
  /** Centre crop after the resize; smaller sides are padded with zeros (black), as Hugging Face processors do. */
  readonly crop: { readonly width: number; readonly height: number } | null;
  readonly resample: 'nearest' | 'bilinear' | 'bicubic' | 'lanczos';
  /** Colour that transparent pixels are flattened on, sRGB bytes. */
  readonly background: readonly [number, number, number];
  /** Tensor memory order. */
  readonly layout: 'nchw' | 'nhwc';
  /** `uint8`: bytes as they are, no arithmetic. `float32`: (byte · rescale − mean) / std. */
  readonly type: 'float32' | 'uint8';
  readonly rescale: number;
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** Output size of a spec in pixels: every image of a batch has it. */
export function inputSize(spec: PreprocessSpec): { width: number; height: number } {
  if (spec.crop !== null) return { width: spec.crop.width, height: spec.crop.height };
  if (spec.resize.mode === 'shortest-edge') return { width: spec.resize.size, height: spec.resize.size };
  return { width: spec.resize.width, height: spec.resize.height };
}

/** Limits checked on the header, before any pixel is decoded. */
export interface DecodeLimits {
  /** Largest file, in bytes. */
  readonly sizeBytesMax: number;
  /** Largest width × height, in pixels. */
  readonly pixelsMax: number;
  /** Longest side, in pixels. */
  readonly sideMax: number;
  /** Shortest side, in pixels. */
  readonly sideMin: number;
}

export const DEFAULT_DECODE_LIMITS: DecodeLimits = {
  // An uncompressed RGB image at the pixel limit is 192 MiB.
  sizeBytesMax: 256 * 2 ** 20,
  // 67 megapixels: cameras of 61 pass. At this size an AVIF takes 1.2 GB to decode, WebP 0.5 GB, progressive JPEG 0.4 GB,
  // everything else a few MB.
  pixelsMax: 2 ** 26,
  // At the pixel limit this leaves 2,048 for the other side: longer ones are ribbons, scans and film strips.
  sideMax: 2 ** 15,
  // One JPEG block. Below it little but a colour is left.
  sideMin: 8,
};

/** RGB pixels of one image at a spec's input size: height × width × 3 bytes, rows top-down, or the reason there are none. */
export type Decoded =
  | { readonly status: 'ok'; readonly width: number; readonly height: number; readonly pixels: Uint8Array }
  | { readonly status: Exclude<EmbeddingStatus, 'ok'>; readonly width: number | null; readonly height: number | null };

/** Every way a row can end. `width` and `height` of a decoded image are those of the original after EXIF orientation. */
export const EMBEDDING_STATUSES = [
  'ok',
  'unreadable', // the bytes could not be read from the source (deleted, permission, short range)
  'empty', // zero bytes
  'not-an-image', // no known image signature (a web page, a text file, an archive …)
  'unsupported-format', // an image, of a format outside the allow-list (SVG, PDF, video …) or that this build cannot decode
  'too-large-file', // more bytes than `sizeBytesMax`
  'too-many-pixels', // header says more than `pixelsMax`
  'too-long-side', // header says a side above `sideMax`
  'too-small', // a side under `sideMin`
  'truncated', // the pixels end before the image does
  'corrupt', // header or pixels damaged
  'not-finite', // the encoder gave NaN or infinity
  'zero-vector', // the encoder gave a zero vector, which has no direction to normalise
  ...DOWNLOAD_REASONS, // of rows of a URL list: why there are no bytes
] as const;

export type EmbeddingStatus = (typeof EMBEDDING_STATUSES)[number];

/** Turns batches of tensors into vectors. Made by `descriptor.ts` (built in) and `encode.ts` (ONNX models). */
export interface Encoder {
  /** Dimensions of a vector. */
  readonly d: number;
  readonly preprocess: PreprocessSpec;
  /** Images a call may hold at most; the stage fills batches to this size in row order. */
  readonly batchSize: number;
  /** What the manifest records: name, file hash, provider, output. No machine path, clock or host. */
  readonly provenance: Readonly<Record<string, unknown>>;
  /** One line for the log: which provider runs and why another does not. */
  readonly notice: string;
  /**
   * @param tensor n images in `preprocess.layout` order, length n · 3 · height · width, of `preprocess.type`
   * @returns n × d, row-major, not normalised. Row i depends on image i alone.
   */
  encode(tensor: Float32Array | Uint8Array, n: number): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Rows of one part of `embeddings/`, which is one task: a constant of the format, so that no setting moves a row. */
export const EMBEDDING_PART_ROWS = 4096;

/** A part of `embeddings/`; in `survivors/`, with the table that says anew how each of its rows ended. */
export interface EmbeddingPart extends Part {
  readonly status?: Part;
}

export interface EmbeddingsManifest extends Manifest {
  readonly parts: readonly EmbeddingPart[];
  /** 0 when the images were only read and checked (raw parts), so that the table has no vectors. */
  readonly d: number;
  readonly encoder: Readonly<Record<string, unknown>> | null;
  /** Rows with status `ok` of each part, in part order. */
  readonly okRows: readonly number[];
  /** Largest absolute component of any vector; 0 when d = 0. */
  readonly maxAbs: number;
}

/** Statuses and, where the encoder ran, vectors of the rows firstRow … firstRow + rowCount − 1. */
export interface EmbeddingBlock {
  readonly firstRow: number;
  readonly rowCount: number;
  /** 1 where the status is `ok`. */
  readonly ok: Uint8Array;
  /** rowCount × d, float32; zeros where not ok. Empty when d = 0. */
  readonly vectors: Float32Array;
}

/** Reads one part: statuses and vectors. Costs the part's bytes plus rowCount × d × 4. */
export async function readEmbeddingPart(store: Store, part: EmbeddingPart, d: number): Promise<EmbeddingBlock> {
  const view = decodeTable(await readPart(store, part), part.path);
  const ok = Uint8Array.from(await readStatuses(store, part, view), (status) => (status === 'ok' ? 1 : 0));
  if (d === 0) return { firstRow: part.firstRow, rowCount: part.rowCount, ok, vectors: new Float32Array(0) };
  const column = view.vector('embedding');
  if (column.d !== d) throw new WinnowError('DIMENSION_MISMATCH', `Expected vectors of ${d} dimensions in ${part.path}, got ${column.d}`);
  const vectors = column.element === 'float16' ? decodeFloat16(column.values as Uint16Array) : Float32Array.from(column.values as Float32Array);
  return { firstRow: part.firstRow, rowCount: part.rowCount, ok, vectors };
}

/**
 * How the rows of a part ended: `ok`, why embedding failed, or why a later step took the row out of the pool. One door for all
 * readers, so that a filtered or deduplicated pool is read as any other.
 *
 * @param view the part's own table, read; null does where the part has a table of statuses
 */
export async function readStatuses(store: Store, { path, status }: EmbeddingPart, view: TableView | null): Promise<readonly (string | null)[]> {
  if (status !== undefined) return decodeTable(await readPart(store, status), status.path).strings('status');
  assert(view !== null, `Expected ${path} to be read, since its statuses lie in it`);
  return view.strings('status');
}

/** Ids (hex, 32 characters; null where the bytes could not be read), statuses and sizes in pixels of one part. */
export async function readEmbeddingFacts(store: Store, part: EmbeddingPart): Promise<{ id: (string | null)[]; status: string[]; width: Uint32Array; height: Uint32Array }> {
  const view = decodeTable(await readPart(store, part), part.path);
  return {
    id: view.strings('id'),
    status: (await readStatuses(store, part, view)) as string[],
    width: view.numbers('width') as Uint32Array,
    height: view.numbers('height') as Uint32Array,
  };
}
