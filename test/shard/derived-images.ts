/** Datasets with derived images, and the programs that derive them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { type StoredDataset, shard } from '../../pipelines/8-shard.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { openDataset } from '../../src/shard/read.ts';
import type { Store } from '../../src/store/store.ts';
import { noise, toSharp } from '../fixtures/images.ts';
import { type Toy, type ToyStore, exampleToy } from './toy-store.ts';

/** A row of a shard. */
export interface Row {
  readonly id: string;
  readonly uri: string;
  readonly derivedId: string | null;
  readonly derivedNote: string | null;
  readonly image: Uint8Array;
}

/** The rows of all shards in turn. */
export async function readRows(store: Store): Promise<Row[]> {
  const { manifest } = await openDataset(store);
  const rows: Row[] = [];
  for (const { path } of manifest.parts.flatMap(({ shards }) => shards)) {
    const view = decodeTable(await store.read(path), path);
    const images = view.binaries('image');
    for (let i = 0; i < view.rowCount; i++) rows.push({ ...(view.row(i) as unknown as Row), image: images[i]! });
  }
  return rows;
}

/** The toy with real pictures: one of three rows comes from the middle of a tar. */
export function pictures(): Toy {
  const toy = exampleToy(24);
  const paint = (image: Toy['pool'][number], i: number): Toy['pool'][number] => ({ ...image, bytes: PNGS[i % PNGS.length]! });
  return { ...toy, pool: toy.pool.map(paint), raws: { whole: toy.raws['whole']!.map((image, i) => paint(image, i + 7)) } };
}

const PNGS: Uint8Array[] = [];
beforeAll(async () => {
  for (let i = 0; i < 12; i++) PNGS.push(new Uint8Array(await toSharp(noise(16 + i, 20, i)).png().toBuffer()));
});

/** The head of scripts: reads rows, and writes what `answer` makes of each. */
export const HEAD = `
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
const require = createRequire(${JSON.stringify(import.meta.url)});
const { Binary, RecordBatchReader, Table, Uint64, Utf8, tableToIPC, vectorFromArray } = require('apache-arrow');
const sharp = require('sharp');
const asked = [];
for await (const batch of await RecordBatchReader.from(process.stdin)) for (const { row, id, uri, image } of batch) asked.push({ row, id, uri, image });
const write = (rows) => process.stdout.write(tableToIPC(new Table({ row: vectorFromArray(rows.map(([row]) => row), new Uint64()), image: vectorFromArray(rows.map(([, image]) => image), new Binary()), note: vectorFromArray(rows.map(([, , note]) => note), new Utf8()) }), 'stream'));
`;
/** Blurs even rows and notes every fifth; where `fail` lies in its folder, it ends badly on images of the source `whole`. */
export const BLUR_EVEN = `${HEAD}
if (existsSync('fail') && asked.some(({ uri }) => uri.startsWith('whole/'))) process.exit(3);
const rows = [];
for (const { row, image } of asked) rows.push([row, row % 2n === 0n ? await sharp(image).blur(2).png().toBuffer() : image, row % 5n === 0n ? 'fifth' : null]);
write(rows);
`;

/** Writes a script into a folder, and gives the command that runs it there. */
export async function scriptOf(folder: string, text: string): Promise<string[]> {
  await writeFile(join(folder, 'derive.mjs'), text);
  return [process.execPath, 'derive.mjs'];
}

/** @param settings of `derive` and, under `shard`, beside it */
export async function writeDerived(built: ToyStore, command: readonly string[], { shard: beside = {}, ...derive }: Record<string, unknown> = {}, folder = join(built.locations['pool']!, '..')): Promise<StoredDataset> {
  const recipe = built.recipe({ mix: { homogeneous: { part: 'whole' } }, shard: { rows: 20, withBytes: true, ...(beside as object), derive: { command, version: '1', ...derive } } });
  await mix(built.context, recipe);
  return shard(built.context, recipe, folder);
}
