/**
 * MosaicML MDS, version 2: a shard file is the number of samples, the offset of each and of the end (uint32), the shard's
 * description as JSON, then the samples; a sample is the size of each column of no fixed size (uint32), then the columns.
 * `index.json` lists the shards. Uncompressed; columns in the order of their names, as the format has them.
 */
import { WinnowError } from '../errors.ts';
import type { Store, Written } from '../store/store.ts';
import type { ExportRows } from './rows.ts';

/** What `index.json` says of a shard. */
export interface MdsShard {
  readonly [key: string]: unknown;
  readonly samples: number;
  readonly raw_data: { readonly basename: string; readonly bytes: number; readonly hashes: object };
}

const COLUMNS = ['caption', 'id', 'image', 'label', 'part', 'uri'];
const DERIVED_COLUMNS = COLUMNS.toSpliced(1, 0, 'derivedId');
const SIZE_LIMIT = 2 ** 32 - 1;

/** Writes one shard. Holds its images. @throws {WinnowError} CONFIG_INVALID when it would pass 4 GiB, which the format cannot hold */
export async function writeMdsShard(store: Store, folder: string, basename: string, rows: ExportRows): Promise<{ shard: MdsShard; written: Written }> {
  const names = rows.derivedId === null ? COLUMNS : DERIVED_COLUMNS;
  const description = { column_encodings: names.map((name) => (name === 'image' ? 'bytes' : 'str')), column_names: names, column_sizes: names.map(() => null), compression: null, format: 'mds', hashes: [], size_limit: SIZE_LIMIT, version: 2 };
  const config = TEXT.encode(JSON.stringify(description));
  const samples: Uint8Array[] = [];
  const head = new Uint32Array(rows.rowCount + 2);
  head[0] = rows.rowCount;
  let end = head.byteLength + config.byteLength;
  head[1] = end;
  for (let i = 0; i < rows.rowCount; i++) {
    const text = (value: string | null): Uint8Array => TEXT.encode(value ?? '');
    const columns = [text(rows.caption[i]!), ...(rows.derivedId === null ? [] : [text(rows.derivedId[i]!)]), text(rows.id[i]!), await rows.image(i), text(rows.label[i]!), text(rows.part.name), text(rows.uri[i]!)];
    const sizes = Uint32Array.from(columns, ({ byteLength }) => byteLength);
    samples.push(new Uint8Array(sizes.buffer), ...columns);
    end += sizes.byteLength + sizes.reduce((sum, size) => sum + size, 0);
    if (end > SIZE_LIMIT) throw new WinnowError('CONFIG_INVALID', `Expected shards below 4 GiB for MDS, got more in shard ${rows.shard} of part ${rows.part.name}: set shard.rows or shard.sizeBytesMax lower`);
    head[i + 2] = end;
  }
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(head.buffer);
    yield config;
    yield* samples;
  };
  const written = await store.write(`${folder}/${basename}`, chunks());
  return { shard: { ...description, raw_data: { basename, bytes: written.sizeBytes, hashes: {} }, samples: rows.rowCount, zip_data: null }, written };
}

/** Ends the export: the list of its shards. */
export function writeMdsIndex(store: Store, folder: string, shards: readonly MdsShard[]): Promise<Written> {
  return store.write(`${folder}/index.json`, TEXT.encode(JSON.stringify({ shards, version: 2 })));
}

const TEXT = new TextEncoder();
