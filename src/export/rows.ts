/**
 * The rows of a dataset as exports take them: shard by shard in the order of the parts, with everything the shards say and,
 * where asked for, the bytes of each image, checked against its id, or its `derivedId` where the shard's are derived.
 */
import { createHash } from 'node:crypto';
import { decodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { sniffFormat } from '../embed/sniff.ts';
import { openByteReader } from '../ingest/bytes.ts';
import { readPart } from '../run/manifest.ts';
import type { DatasetManifest, DatasetPart } from '../shard/shard.ts';
import type { Store } from '../store/store.ts';

/** The rows of one shard, column by column. */
export interface ExportRows {
  readonly part: DatasetPart;
  /** Ordinal of the shard in its part. */
  readonly shard: number;
  readonly rowCount: number;
  readonly id: readonly string[];
  readonly uri: readonly string[];
  readonly path: readonly string[];
  /** Row in the table that the part was drawn from. */
  readonly row: readonly number[];
  readonly label: readonly (string | null)[];
  readonly caption: readonly (string | null)[];
  /** JSON text. */
  readonly meta: readonly (string | null)[];
  /** Of images whose bytes are derived from the original; null as a whole in a dataset that has none. */
  readonly derivedId: readonly (string | null)[] | null;
  /** Bytes of image i. @throws {WinnowError} CHECKSUM_MISMATCH, INPUT_MISSING */
  image(i: number): Promise<Uint8Array>;
}

export interface ExportSource {
  readonly store: Store;
  readonly manifest: DatasetManifest;
  /** Parts to export, in the dataset's order. */
  readonly parts: readonly DatasetPart[];
  /** Folder of each source, for images that lie outside the shards. */
  readonly locations: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

const IMAGE_BYTES_MAX = 2 ** 31 - 1;

/** Holds one shard at a time. */
export async function* readExportRows({ store, parts, locations, signal }: ExportSource): AsyncGenerator<ExportRows> {
  const reader = openByteReader(locations);
  try {
    for (const part of parts) {
      for (const [shard, file] of part.shards.entries()) {
        throwIfAborted(signal);
        const view = decodeTable(await readPart(store, file), file.path);
        const text = (name: string): (string | null)[] => (view.has(name) ? view.strings(name) : new Array<null>(view.rowCount).fill(null));
        const [id, uri, path, source] = [text('id'), text('uri'), text('path'), text('source')] as string[][];
        const valid = view.validity('offset');
        const place = (name: string): number[] => Array.from(view.numbers(name), (value, i) => (valid === undefined || valid[i] === 1 ? value : -1));
        const [offset, length] = [place('offset'), place('length')];
        const stored = view.has('image') ? view.binaries('image') : null;
        const derivedId = view.has('derivedId') ? view.strings('derivedId') : null;
        const image = async (i: number): Promise<Uint8Array> => {
          throwIfAborted(signal);
          const read = stored === null ? await reader.read({ source: source![i]!, path: path![i]!, offset: offset[i]!, length: length[i]! }, IMAGE_BYTES_MAX) : ({ status: 'ok', bytes: stored[i]! } as const);
          if (read.status !== 'ok') throw new WinnowError('INPUT_MISSING', `Expected the bytes of ${uri![i]}, could not have them: ${read.status === 'unreadable' ? read.reason : 'it is too large'}`, { details: { uri: uri![i] } });
          const found = createHash('sha256').update(read.bytes).digest('hex').slice(0, 32);
          const expected = derivedId?.[i] ?? id![i];
          if (found !== expected) throw new WinnowError('CHECKSUM_MISMATCH', `Expected the bytes of ${uri![i]} to have the id ${expected}, got ${found}: ${stored === null ? 'the file has changed since it was embedded' : 'the shard is not as it was written'}`, { details: { uri: uri![i] } });
          return read.bytes;
        };
        yield { part, shard, rowCount: view.rowCount, id: id!, uri: uri!, path: path!, row: Array.from(view.numbers('row')), label: text('label'), caption: text('caption'), meta: text('meta'), derivedId, image };
      }
    }
  } finally {
    await reader.close();
  }
}

/** Extension of a derived image, which may be of another format than the original. */
export function extensionOfBytes(bytes: Uint8Array): string {
  const format = sniffFormat(bytes);
  return format === 'jpeg' ? 'jpg' : format;
}

/** Lower-case extension of what an image is called; `bin` without one. */
export function extensionOf(uri: string): string {
  if (uri.includes('#xywh=')) return 'png'; // a tile of a raster
  return (/\.([A-Za-z0-9]{1,8})$/.exec(uri)?.[1] ?? 'bin').toLowerCase();
}
