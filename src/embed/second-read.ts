/**
 * The second read: steps after embedding that need pixels get an image's bytes anew, through the same reader, and can tell that
 * they are the bytes that were embedded. One look at a time, so nothing is kept between the two reads.
 */
import { createHash } from 'node:crypto';
import { openByteReader } from '../ingest/bytes.ts';
import type { ImagePlace } from '../ingest/image.ts';
import type { TaskEnv } from '../run/stage.ts';
import { createCalls } from './calls.ts';
import { type Encoder, inputSize } from './embedding.ts';
import { type AheadItem, readAhead } from './read-ahead.ts';
import { createRows } from './rows.ts';

export interface ImageAgain {
  readonly place: ImagePlace;
  /** SHA-256 of the bytes when they were embedded, hex, first 32 characters. */
  readonly id: string;
  /** Bytes as listed, or −1. */
  readonly sizeBytes: number;
}

/** What came of one image: what was made of its bytes, or why they could not be had. */
export type SecondRead<R> = { readonly status: 'ok'; readonly value: R } | { readonly status: 'unreadable' | 'too-large-file' | 'changed' };

/** Bytes of images under way, and results that may wait behind a slow image. */
const ENCODED_BYTES_MAX = 2 ** 28;
const WAITING_MAX = 16;
/** Stands for a size that the listing does not know, until the image is read. */
const UNKNOWN_SIZE_BYTES = 2 ** 25;

/**
 * Reads images in order and yields what `look` makes of each. Bytes under way are bounded; `look` runs on several images at once.
 *
 * @param look must not throw for what is in the bytes
 * @throws {WinnowError} ABORTED; when a source, not an image, is at fault
 */
export function readAgain<R>(images: readonly ImageAgain[], sizeBytesMax: number, env: TaskEnv, look: (bytes: Uint8Array, i: number) => Promise<R>): AsyncGenerator<SecondRead<R>> {
  const items = images.map(({ place, id, sizeBytes }, i): AheadItem<SecondRead<R>> => ({
    sizeBytes: sizeBytes < 0 ? UNKNOWN_SIZE_BYTES : sizeBytes,
    work: async (hold) => {
      const reader = await env.resource('bytes', async () => openByteReader(env.locations));
      const read = await reader.read(place, sizeBytesMax);
      if (read.status !== 'ok') return { status: read.status };
      hold(read.bytes.byteLength);
      if (createHash('sha256').update(read.bytes).digest('hex').slice(0, 32) !== id) return { status: 'changed' };
      return { status: 'ok', value: await look(read.bytes, i) };
    },
  }));
  const atOnce = 2 * env.execution.concurrency;
  return readAhead(items, { atOnce, ahead: atOnce + WAITING_MAX, sizeBytesMax: ENCODED_BYTES_MAX }, env.signal);
}

/** An encoder's output on images of one part, row by row. */
export interface ImageOutputs {
  /** Numbers of an image. */
  readonly d: number;
  /** @param pixels RGB at the encoder's input size. Copies them; waits when the encoder has enough to do */
  add(row: number, pixels: Uint8Array): Promise<void>;
  /** Waits for all that was added. @returns n × d; a row that was not finite is zeros, and `finite` is 0 there */
  finish(): Promise<{ values: Float32Array; finite: Uint8Array }>;
}

/** Collects what an encoder gives for some of n rows. Row i depends on image i alone. */
export function openOutputs(encoder: Encoder, n: number, env: Pick<TaskEnv, 'execution' | 'signal'>): ImageOutputs {
  const rows = createRows(n, encoder.d, { dtype: 'float32', normalize: false });
  const calls = createCalls(encoder, rows, env);
  const { width, height } = inputSize(encoder.preprocess);
  const seen = new Uint8Array(n);
  return {
    d: encoder.d,
    add: (row, pixels) => {
      rows.put(row, null, { status: 'ok', width, height, pixels }, 0);
      seen[row] = 1;
      return calls.add(row, pixels);
    },
    finish: async () => {
      await calls.finish();
      return { values: rows.vectors as Float32Array, finite: Uint8Array.from(seen, (was, row) => (was === 1 && rows.status[row] === 'ok' ? 1 : 0)) };
    },
  };
}
