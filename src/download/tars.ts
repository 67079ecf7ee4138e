/**
 * Pictures into WebDataset tars in the order of their rows: `<row>.jpg` with the bytes as they came, `<row>.txt` the caption, `<row>.json`
 * the rest. No clock in it, and the name has the hash of what is inside: equal pictures give equal tars, and two workers that were
 * given one task never write over each other's.
 */
import { createHash } from 'node:crypto';
import { TAR_END, tarHeader, tarPadding } from '../ingest/tar-write.ts';
import { TAR_BLOCK } from '../ingest/tar-header.ts';
import { throwIfAborted } from '../errors.ts';
import type { Store } from '../store/store.ts';
import type { Tar } from './downloads.ts';
import type { Kept } from './spool.ts';

/** One picture and what goes beside it. */
export interface Sample {
  /** Row of the list, counted from 0. */
  readonly row: number;
  readonly extension: string;
  readonly body: Kept;
  /** SHA-256 of the body, hex. */
  readonly sha256: string;
  /** JSON text. */
  readonly json: string;
  readonly caption: string | null;
}

/** Where the bytes of a sample lie. */
export interface Place {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/**
 * @param samples ascending by row
 * @param root key prefix that paths are relative to; `folder` lies under it
 * @param sizeBytesMax of a tar, unless one sample alone is larger
 * @returns places in the order of the samples
 */
export async function writeTars(store: Store, root: string, folder: string, samples: readonly Sample[], sizeBytesMax: number, signal: AbortSignal): Promise<{ tars: Tar[]; places: Place[] }> {
  const tars: Tar[] = [];
  const places: Place[] = [];
  for (let first = 0; first < samples.length; ) {
    throwIfAborted(signal);
    let end = first;
    let sizeBytes = TAR_END.byteLength;
    while (end < samples.length && (end === first || sizeBytes + sizeOf(samples[end]!) <= sizeBytesMax)) sizeBytes += sizeOf(samples[end++]!);
    const group = samples.slice(first, end);
    const name = createHash('sha256').update(JSON.stringify(group.map(({ row, extension, sha256, json, caption }) => [row, extension, sha256, json, caption]))).digest('hex').slice(0, 16);
    const path = `${folder}/${String(group[0]!.row).padStart(ROW_DIGITS, '0')}-${name}.tar`;
    let at = 0;
    for (const sample of group) {
      places.push({ path: path.slice(root.length + 1), offset: at + TAR_BLOCK, length: sample.body.sizeBytes });
      at += sizeOf(sample);
    }
    const written = await store.write(path, tarOf(group));
    tars.push({ path, bytes: written.sizeBytes, sha256: written.sha256 });
    first = end;
  }
  return { tars, places };
}

const ROW_DIGITS = 9;

async function* tarOf(samples: readonly Sample[]): AsyncGenerator<Uint8Array> {
  for (const { row, extension, body, json, caption } of samples) {
    const key = String(row).padStart(ROW_DIGITS, '0');
    yield tarHeader(`${key}.${extension}`, body.sizeBytes);
    yield* body.chunks();
    yield tarPadding(body.sizeBytes);
    yield* member(`${key}.json`, json);
    if (caption !== null) yield* member(`${key}.txt`, caption);
  }
  yield TAR_END;
}

function* member(name: string, text: string): Generator<Uint8Array> {
  const bytes = Buffer.from(text);
  yield tarHeader(name, bytes.byteLength);
  yield bytes;
  yield tarPadding(bytes.byteLength);
}

/** In the tar, with headers and padding. */
function sizeOf({ body, json, caption }: Sample): number {
  const one = (sizeBytes: number): number => TAR_BLOCK + Math.ceil(sizeBytes / TAR_BLOCK) * TAR_BLOCK;
  return one(body.sizeBytes) + one(Buffer.byteLength(json)) + (caption === null ? 0 : one(Buffer.byteLength(caption)));
}
