import { describe, expect, it } from 'vitest';
import type { ClustersManifest } from '../../src/cluster/tree.ts';
import type { EmbeddingsManifest } from '../../src/embed/embedding.ts';
import type { ImagesManifest } from '../../src/ingest/image.ts';
import { requireManifest } from '../../src/run/manifest.ts';
import type { SelectionManifest } from '../../src/sample/selection.ts';
import { type JoinedTables, createJoiner, readRawRows, readSelectedRows } from '../../src/shard/join.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { buildToy, exampleToy, idOf } from './toy-store.ts';

const TOY = exampleToy();

async function open(): Promise<{ store: Store; tables: JoinedTables; selection: SelectionManifest; raw: EmbeddingsManifest; reads: string[] }> {
  const { store } = await buildToy(TOY, await temporaryFolder());
  const read = async <M extends ImagesManifest | EmbeddingsManifest | ClustersManifest | SelectionManifest>(path: string) => (await requireManifest<M>(store, path, 'run')).manifest;
  const tree = { manifest: await read<ClustersManifest>('clusters'), parents: [...TOY.parents.map((parent) => Uint32Array.from(parent)), new Uint32Array(TOY.topClusters).fill(0xffffffff)] };
  const tables = { images: await read<ImagesManifest>('images'), embeddings: await read<EmbeddingsManifest>('embeddings'), tree, L: 3 };
  const reads: string[] = [];
  const counting: Store = { ...store, read: (key, range) => {
    reads.push(key);
    return store.read(key, range);
  } };
  return { store: counting, tables, selection: await read<SelectionManifest>('selections/balanced'), raw: await read<EmbeddingsManifest>('raw/whole/embeddings'), reads };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('readSelectedRows', () => {
  it('cuts the rows with their copies into runs, from anywhere to anywhere', async () => {
    const { store, selection } = await open();
    const all = TOY.balanced.flatMap(({ row, copies }) => new Array<number>(copies).fill(row));
    for (const [skip, count, runRows] of [[0, 49, 49], [0, 49, 10], [1, 30, 7], [17, 1, 1], [5, 44, 100]] as const) {
      const runs = await collect(readSelectedRows(store, selection, selection.parts, skip, count, runRows));
      expect(runs.map(({ row }) => row.length)).toEqual(Array.from({ length: Math.ceil(count / runRows) }, (_, i) => Math.min(runRows, count - i * runRows)));
      expect(runs.flatMap(({ row }) => [...row])).toEqual(all.slice(skip, skip + count));
      expect(runs.flatMap(({ score }) => [...score!])).toEqual(all.slice(skip, skip + count).map((row) => row / 8));
    }
  });

  it('does not end quietly when rows are missing', async () => {
    const { store, selection } = await open();
    await expect(collect(readSelectedRows(store, selection, selection.parts, 0, 50, 10))).rejects.toThrow('Expected the tables to name 50 rows, 1 are missing');
  });
});

describe('readRawRows', () => {
  it('names the rows that decode', async () => {
    const { store, raw } = await open();
    const runs = await collect(readRawRows(store, raw.parts, 2, 9, 4));
    const ok = TOY.raws['whole']!.flatMap(({ status }, row) => (status === 'ok' ? [row] : []));
    expect(runs.flatMap(({ row }) => [...row])).toEqual(ok.slice(2, 11));
    expect(runs.every(({ score }) => score === null)).toBe(true);
  });
});

describe('createJoiner', () => {
  const run = { row: Float64Array.of(0, 0, 1, 6, 15, 16, 17, 44, 59), score: null };

  it('ends a join where the text passes its limit, and goes on from there', async () => {
    const { store, tables } = await open();
    const whole = await createJoiner(store, tables).join(run, 0);
    expect(whole.rowCount).toBe(9);
    const joiner = createJoiner(store, tables, 60);
    const pieces = [];
    for (let from = 0; from < 9; from += pieces.at(-1)!.rowCount) pieces.push(await joiner.join(run, from));
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.flatMap(({ id }) => id)).toEqual(whole.id);
    expect(pieces.flatMap(({ caption }) => caption)).toEqual(whole.caption);
    expect(pieces.flatMap(({ cluster }) => [...cluster])).toEqual([...whole.cluster]);
    expect(whole.id).toEqual([...run.row].map((row) => idOf(TOY.pool[row]!.bytes)));
  });

  it('reads each part of a table once, and none that no row lies in', async () => {
    const { store, tables, reads } = await open();
    const joiner = createJoiner(store, tables, 60);
    for (let from = 0; from < 9; ) from += (await joiner.join(run, from)).rowCount;
    expect(new Set(reads).size).toBe(reads.length);
    const needed = (parts: readonly { path: string; firstRow: number; rowCount: number }[]) => parts.filter(({ firstRow, rowCount }) => run.row.some((row) => row >= firstRow && row < firstRow + rowCount)).map(({ path }) => path);
    expect(reads.toSorted()).toEqual([...needed(tables.images.parts), ...needed(tables.embeddings.parts), ...needed(tables.tree!.manifest.parts)].toSorted());
  });

  it('does not take a row that was rejected, or that the table does not have', async () => {
    const { store, tables } = await open();
    await expect(createJoiner(store, tables).join({ row: Float64Array.of(2, 3), score: null }, 0)).rejects.toThrow('Expected row 3 of embeddings/part-00000.arrow to be ok, its status is corrupt');
    await expect(createJoiner(store, tables).join({ row: Float64Array.of(60), score: null }, 0)).rejects.toThrow("Expected row 60 within the table's parts");
  });
});
