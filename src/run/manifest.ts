/**
 * A stage's manifest: what it was made from, with what settings, which parts it has and what it counted. Its existence
 * is completion; it is written last. Canonical JSON, no clock and no host name: equal runs give equal bytes.
 */
import { createHash } from 'node:crypto';
import { WinnowError } from '../errors.ts';
import type { Store } from '../store/store.ts';

export const MANIFEST_FORMAT = 'winnow-manifest';
export const MANIFEST_VERSION = 1;

/** One file of a table. Rows of a table are dense, 0 … n−1; `firstRow` is the row of the part's first entry. */
export interface Part {
  /** Key relative to the store's prefix. */
  readonly path: string;
  readonly firstRow: number;
  readonly rowCount: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Manifest {
  readonly format: typeof MANIFEST_FORMAT;
  readonly version: typeof MANIFEST_VERSION;
  readonly stage: string;
  readonly inputs: readonly { readonly stage: string; readonly sha256: string }[];
  readonly config: unknown;
  readonly configHash: string;
  readonly seed: number;
  readonly parts: readonly Part[];
  readonly stats: Readonly<Record<string, unknown>>;
  readonly createdBy: string;
}

/** A manifest as it lies in the store, with the hash by which later stages refer to it. */
export interface StoredManifest<M extends Manifest = Manifest> {
  /** Key prefix of the stage, such as `clusters`. */
  readonly path: string;
  readonly manifest: M;
  readonly sha256: string;
  /** What tasks find in the store of one that is not yet where it is to be: the same but for the places of its parts. */
  readonly staged?: { readonly path: string; readonly sha256: string };
}

/** JSON with sorted keys, two-space indent and a final newline: one text for one value. */
export function canonicalJson(value: unknown): string {
  return `${JSON.stringify(sortKeys(value), null, 2)}\n`;
}

/** SHA-256 of the canonical JSON of a value, hex. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}

/** Null when the stage has not been completed. @throws {WinnowError} FORMAT_VERSION, INPUT_MALFORMED, CHECKSUM_MISMATCH */
export async function readManifest<M extends Manifest = Manifest>(store: Store, path: string): Promise<StoredManifest<M> | null> {
  const key = `${path}/manifest.json`;
  if ((await store.head(key)) === null) return null;
  const bytes = await readStored(store, key);
  let value: M;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes)) as M;
  } catch (cause) {
    throw new WinnowError('INPUT_MALFORMED', `Expected JSON in ${key} of ${store.uri}, got something else: run again with --force ${stageOf(key)}`, { cause });
  }
  if (value?.format !== MANIFEST_FORMAT || value.version !== MANIFEST_VERSION) {
    throw new WinnowError('FORMAT_VERSION', `Expected ${key} to be ${MANIFEST_FORMAT} version ${MANIFEST_VERSION}, got ${value?.format} version ${value?.version}`);
  }
  return { path, manifest: value, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Like `readManifest`, for a stage that must be there. @throws {WinnowError} INPUT_MISSING naming the verb that makes it */
export async function requireManifest<M extends Manifest = Manifest>(store: Store, path: string, madeBy: string): Promise<StoredManifest<M>> {
  const found = await readManifest<M>(store, path);
  if (found === null) {
    throw new WinnowError('INPUT_MISSING', `Expected ${path}/manifest.json in ${store.uri}, found none: run \`winnow ${madeBy}\` first`, { details: { path } });
  }
  return found;
}

/** Commits a stage: the manifest is the last thing written. */
export async function writeManifest<M extends Manifest>(store: Store, path: string, manifest: M): Promise<StoredManifest<M>> {
  const written = await store.write(`${path}/manifest.json`, new TextEncoder().encode(canonicalJson(manifest)));
  return { path, manifest, sha256: written.sha256 };
}

/**
 * Reads a part and checks its size and hash against the manifest.
 *
 * @throws {WinnowError} CHECKSUM_MISMATCH when the bytes are not those the stage wrote
 */
export async function readPart(store: Store, part: Part): Promise<Uint8Array> {
  const bytes = await readStored(store, part.path);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (bytes.byteLength !== part.bytes || sha256 !== part.sha256) {
    throw new WinnowError('CHECKSUM_MISMATCH', `Expected ${part.bytes} bytes with SHA-256 ${part.sha256.slice(0, 12)}… in ${part.path}, got ${bytes.byteLength} with ${sha256.slice(0, 12)}…: run again with --force ${stageOf(part.path)}`, {
      details: { path: part.path },
    });
  }
  return bytes;
}

/** An object store keeps hashes of its own, so it notices first; what to do is the same. */
async function readStored(store: Store, key: string): Promise<Uint8Array> {
  return store.read(key).catch((cause: unknown) => {
    if (!(cause instanceof WinnowError) || cause.code !== 'CHECKSUM_MISMATCH') throw cause;
    throw new WinnowError('CHECKSUM_MISMATCH', `${cause.message}: run again and, if that does not help, with --force ${stageOf(key)}`, { details: { path: key }, cause });
  });
}

/** The stage that made a key, as `--force` names it. */
function stageOf(key: string): string {
  const [top = '', name, below = ''] = key.split('/');
  if (top === 'retrieval') return 'retrieve';
  if (top === 'disjoint') return 'mix';
  if (top === 'selections') return name === 'balanced' ? 'sample' : 'retrieve';
  const folder = top === 'seeds' || top === 'raw' || top === 'evaluation' ? below : top;
  return { downloads: 'download', images: 'ingest', embeddings: 'embed', filters: 'filter', duplicates: 'dedup', hashes: 'dedup', 'hash-pairs': 'dedup', contamination: 'dedup', dedup: 'dedup', clusters: 'cluster', mixture: 'mix', dataset: 'shard' }[folder] ?? 'STAGE';
}

/** Writes the next part of a table as `<folder>/part-00000.arrow` and so on. @returns what the manifest says of it */
export async function writePart(store: Store, folder: string, before: readonly Part[], rowCount: number, bytes: Uint8Array): Promise<Part> {
  const path = `${folder}/part-${String(before.length).padStart(5, '0')}.arrow`;
  const { sizeBytes, sha256 } = await store.write(path, bytes);
  return { path, firstRow: rowCountOf(before), rowCount, bytes: sizeBytes, sha256 };
}

/** Rows of a table, from its parts. */
export function rowCountOf(parts: readonly Pick<Part, 'firstRow' | 'rowCount'>[]): number {
  const last = parts.at(-1);
  return last === undefined ? 0 : last.firstRow + last.rowCount;
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value as Record<string, unknown>).filter(([, entry]) => entry !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, entry]) => [key, sortKeys(entry)]));
}
