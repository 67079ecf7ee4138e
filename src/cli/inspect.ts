/** `winnow inspect PATH`: what a file or folder is, its schema and a few rows, links to images, as text or JSON. */
import { open, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type TableView, decodeTable } from '../arrow/ipc.ts';
import { WinnowError } from '../errors.ts';
import { type FileDescription, describeFile } from '../ingest/describe-file.ts';
import { MANIFEST_FORMAT, type Manifest, type Part, readPart } from '../run/manifest.ts';
import { boundedText } from '../report/page.ts';
import { renderSummary, summarise } from '../report/summary.ts';
import { describeImage, linkOf, locationsAbove } from './image-links.ts';
import { describeIndexFile } from './index-file.ts';
import { openStoreToRead } from './session.ts';

const ROWS_SHOWN = 5;

export interface Inspection {
  readonly text: string;
  readonly json: unknown;
}

/** @throws {WinnowError} INPUT_MISSING, INPUT_MALFORMED when nothing here can tell what it is */
export async function inspect(path: string): Promise<Inspection> {
  const facts = await stat(path).catch((cause) => {
    throw new WinnowError('INPUT_MISSING', `Expected a file or folder at ${path}, found none`, { cause });
  });
  if (facts.isDirectory()) return inspectFolder(path);
  const head = await reading(path, () => firstBytes(path, ARROW.length));
  if (head === ARROW) return inspectTable(await readTable(path), path, await locationsAbove(path));
  const index = await describeIndexFile(path, head);
  if (index !== null) return index;
  if (basename(path).endsWith('.json')) return inspectJson(await reading(path, () => readFile(path)), path);
  const image = await reading(path, async () => describeImage(path, Buffer.from(await firstBytes(path, IMAGE_HEAD), 'latin1')));
  if (image !== null) return image;
  const described = await describeFile(path);
  if (described !== null) return renderFile(path, facts.size, described);
  throw new WinnowError('INPUT_MALFORMED', `Expected an Arrow file, a manifest, an image, Parquet, a tar, text, a faiss index file or a store, got ${path}: ${facts.size} bytes of something else`);
}

/** A list, a tar or text. Lines are clipped, and hold no control characters. */
function renderFile(path: string, sizeBytes: number, { kind, rows, shown }: FileDescription): Inspection {
  const words = { parquet: `Parquet, ${rows} rows; columns:`, tar: 'tar; first members:', text: 'text; first lines:' }[kind];
  const lines = shown.map((line) => `  ${line.replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ')}`);
  return { text: `${path}: ${words}\n${lines.join('\n')}\n`, json: { path, sizeBytes, kind, rows, shown } };
}

/** What an Arrow IPC file starts with. */
const ARROW = 'ARROW1';
/** What tells an image's format. */
const IMAGE_HEAD = 4096;

async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    throw new WinnowError('INPUT_MISSING', `Expected a file that can be read at ${path}: ${(cause as Error).message}`, { cause });
  }
}

async function firstBytes(path: string, count: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(count), 0, count, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Whole bytes of a table; checked against the manifest that lists it, when there is one. @throws {WinnowError} CHECKSUM_MISMATCH */
async function readTable(path: string): Promise<Uint8Array> {
  const whole = resolve(path);
  for (let folder = dirname(whole), depth = 0; depth < MANIFEST_ABOVE; folder = dirname(folder), depth++) {
    const text = await readFile(join(folder, 'manifest.json'), 'utf8').catch(() => null);
    const part = text === null ? undefined : partsOf(text).find((one) => whole.endsWith(`/${one.path}`));
    if (part !== undefined) return readPart(await openStoreToRead(whole.slice(0, -part.path.length - 1)), part);
  }
  return reading(path, () => readFile(path));
}

/** Folders from a part up to its manifest at most: `clusters/level-1/centroids/part-00000.arrow` has three. */
const MANIFEST_ABOVE = 3;

/** Every file that a manifest lists: tables, shards, levels. */
function partsOf(text: string): Part[] {
  type Lists = { parts?: (Part & { shards?: Part[] })[]; levels?: { parts?: Part[] }[] };
  try {
    const { parts = [], levels = [] } = JSON.parse(text) as Lists;
    return [...parts.flatMap((part) => part.shards ?? [part]), ...levels.flatMap((level) => level.parts ?? [])];
  } catch {
    return [];
  }
}

async function inspectFolder(path: string): Promise<Inspection> {
  const manifest = await readFile(join(path, 'manifest.json')).catch(() => null);
  if (manifest !== null) return inspectJson(manifest, join(path, 'manifest.json'));
  const found = await stat(join(path, 'images', 'manifest.json')).catch(() => null);
  if (found === null) throw new WinnowError('INPUT_MALFORMED', `Expected ${path} to be a store or a stage of one (a folder with manifest.json or images/manifest.json)`);
  const summary = await summarise(await openStoreToRead(path));
  if (summary === null) return { text: `${path}: a store whose run is not finished: run it again to go on\n`, json: { store: path, finished: false } };
  return { text: renderSummary(summary), json: summary };
}

function inspectTable(bytes: Uint8Array, path: string, locations: Readonly<Record<string, string>>): Inspection {
  try {
    return describeTable(decodeTable(bytes, path), bytes, path, locations);
  } catch (cause) {
    if (cause instanceof WinnowError) throw cause;
    throw new WinnowError('INPUT_MALFORMED', `Expected a table as Winnow writes them at ${path}: ${(cause as Error).message}`, { cause });
  }
}

function describeTable(view: TableView, bytes: Uint8Array, path: string, locations: Readonly<Record<string, string>>): Inspection {
  const schema = view.names.map((name) => ({ name, type: view.typeOf(name) }));
  const rows = Array.from({ length: Math.min(ROWS_SHOWN, view.rowCount) }, (_, i) => view.row(i));
  const lines = [`${path}: Arrow IPC file, ${view.rowCount} rows, ${bytes.byteLength} bytes`, ...schema.map(({ name, type }) => `  ${name.padEnd(12)} ${type}`), ''];
  const links = rows.map((row) => linkOf(row, locations));
  rows.forEach((row, i) => {
    lines.push(`  ${Object.entries(row).map(([name, value]) => `${name}=${brief(value)}`).join('  ')}`);
    if (links[i] !== null) lines.push(`    ${links[i]}`);
  });
  return { text: `${lines.join('\n')}\n`, json: { path, kind: 'arrow', rowCount: view.rowCount, schema, rows, ...(links.some((link) => link !== null) && { links }) } };
}

function inspectJson(bytes: Uint8Array, path: string): Inspection {
  let value: Manifest;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes)) as Manifest;
  } catch (cause) {
    throw new WinnowError('INPUT_MALFORMED', `Expected JSON in ${path}, got something else`, { cause });
  }
  if (value?.format !== MANIFEST_FORMAT) return { text: `${path}: JSON, not a manifest\n`, json: { path, kind: 'json' } };
  const { stage, seed, configHash, inputs, parts, stats, createdBy } = value;
  if (!Array.isArray(inputs) || !Array.isArray(parts) || typeof configHash !== 'string' || typeof stats !== 'object' || stats === null) {
    throw new WinnowError('INPUT_MALFORMED', `Expected ${path} to be a whole manifest, got one without configHash, inputs, parts or stats`);
  }
  const lines = [
    `${path}: manifest of the ${stage} stage, by ${createdBy}`,
    `  seed ${seed}, config ${configHash.slice(0, 12)}`,
    `  made from: ${inputs.map((input) => `${input.stage} ${input.sha256.slice(0, 12)}`).join(', ') || 'sources'}`,
    `  parts: ${parts.length}`,
    ...parts.slice(0, ROWS_SHOWN).map((part) => `    ${'path' in part ? part.path : JSON.stringify(part).slice(0, 100)}`),
    ...Object.entries(stats).map(([name, stat]) => `  ${name}: ${brief(stat)}`),
  ];
  return { text: `${lines.join('\n')}\n`, json: { path, kind: 'manifest', manifest: value } };
}

function brief(value: unknown): string {
  const text = Array.isArray(value) && value.length > 6 ? `[${value.slice(0, 4).map((one) => (typeof one === 'number' ? Number(one.toPrecision(4)) : one)).join(', ')}, … ${value.length}]` : typeof value === 'string' ? value : JSON.stringify(value);
  return boundedText(text, 118);
}
