/**
 * WebDataset tars, one a shard: key.jpg with the bytes, key.txt the caption, key.cls the label, key.json the rest.
 * Keys are the original names. Plain ustar with no clock in it: equal datasets give equal tars.
 */
import type { Store, Written } from '../store/store.ts';
import { TAR_END, tarHeader, tarPadding } from '../ingest/tar-write.ts';
import { type ExportRows, extensionOf, extensionOfBytes } from './rows.ts';

/** Writes the tar of one shard, an image at a time. */
export function writeTar(store: Store, key: string, rows: ExportRows): Promise<Written> {
  return store.write(key, tarOf(rows));
}

async function* tarOf(rows: ExportRows): AsyncGenerator<Uint8Array> {
  const keys = createKeys();
  for (let i = 0; i < rows.rowCount; i++) {
    const key = keys(rows.uri[i]!, rows.id[i]!);
    const derivedId = rows.derivedId?.[i] ?? null;
    const image = await rows.image(i);
    yield* member(`${key}.${derivedId === null ? extensionOf(rows.uri[i]!) : extensionOfBytes(image)}`, image);
    if (rows.label[i] !== null) yield* member(`${key}.cls`, encode(rows.label[i]!));
    const facts = { id: rows.id[i], ...(derivedId !== null && { derivedId }), uri: rows.uri[i], part: rows.part.name, row: rows.row[i], ...parseMeta(rows.meta[i]!) };
    yield* member(`${key}.json`, encode(JSON.stringify(facts)));
    if (rows.caption[i] !== null) yield* member(`${key}.txt`, encode(rows.caption[i]!));
  }
  yield TAR_END;
}

/** The original name without its extension; a reader ends keys at the first dot, and takes equal ones for one sample. */
function createKeys(): (uri: string, id: string) => string {
  const used = new Set<string>();
  return (uri, id) => {
    const name = uri.slice(uri.lastIndexOf('/') + 1).replace(/\.[A-Za-z0-9]{1,8}$/, '').replaceAll('.', '_');
    const own = encode(name).length > 80 || name === '' ? id : name;
    let key = own;
    for (let copy = 1; used.has(key); copy++) key = `${own}-${copy}`;
    used.add(key);
    return key;
  };
}

function parseMeta(text: string | null): object {
  if (text === null) return {};
  const value: unknown = JSON.parse(text);
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? { meta: value } : {};
}

function* member(name: string, bytes: Uint8Array): Generator<Uint8Array> {
  yield tarHeader(name, bytes.byteLength);
  yield bytes;
  yield tarPadding(bytes.byteLength);
}

const TEXT = new TextEncoder();
function encode(text: string): Uint8Array {
  return TEXT.encode(text);
}
