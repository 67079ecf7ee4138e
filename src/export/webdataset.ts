/**
 * WebDataset tars, one a shard: key.jpg with the original bytes, key.txt the caption, key.cls the label, key.json the rest.
 * Keys are the original names. Plain ustar with no clock in it: equal datasets give equal tars.
 */
import type { Store, Written } from '../store/store.ts';
import { type ExportRows, extensionOf } from './rows.ts';

/** Writes the tar of one shard, an image at a time. */
export function writeTar(store: Store, key: string, rows: ExportRows): Promise<Written> {
  return store.write(key, tarOf(rows));
}

async function* tarOf(rows: ExportRows): AsyncGenerator<Uint8Array> {
  const keys = createKeys();
  for (let i = 0; i < rows.rowCount; i++) {
    const key = keys(rows.uri[i]!, rows.id[i]!);
    yield* member(`${key}.${extensionOf(rows.uri[i]!)}`, await rows.image(i));
    if (rows.label[i] !== null) yield* member(`${key}.cls`, encode(rows.label[i]!));
    const facts = { id: rows.id[i], uri: rows.uri[i], part: rows.part.name, row: rows.row[i], ...parseMeta(rows.meta[i]!) };
    yield* member(`${key}.json`, encode(JSON.stringify(facts)));
    if (rows.caption[i] !== null) yield* member(`${key}.txt`, encode(rows.caption[i]!));
  }
  yield new Uint8Array(2 * BLOCK);
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

const BLOCK = 512;

function* member(name: string, bytes: Uint8Array): Generator<Uint8Array> {
  yield header(name, bytes.byteLength);
  yield bytes;
  const rest = bytes.byteLength % BLOCK;
  if (rest > 0) yield new Uint8Array(BLOCK - rest);
}

/** POSIX ustar. Sizes past 8 GiB would need base-256; a column of bytes holds less. */
function header(name: string, sizeBytes: number): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const put = (text: string, at: number): void => block.set(encode(text), at);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;
  put(name, 0);
  put(octal(0o644, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  put(octal(sizeBytes, 11), 124);
  put(octal(0, 11), 136);
  put('        ', 148); // the checksum counts itself as blanks
  put('0', 156);
  put('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

const TEXT = new TextEncoder();
function encode(text: string): Uint8Array {
  return TEXT.encode(text);
}
