/**
 * The streaming join behind a shard: rows of a part in ascending order, and for them what the tables of earlier stages
 * say. All tables are in row order, so each is read part by part beside the others and one part of each is held.
 */
import assert from 'node:assert/strict';
import { decodeTable } from '../arrow/ipc.ts';
import { type ClustersManifest, NO_CLUSTER, readAssignment } from '../cluster/tree.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { IMAGES_PART_TEXT, type ImagesManifest } from '../ingest/image.ts';
import { type Part, readPart } from '../run/manifest.ts';
import { type SelectionManifest, readSelection } from '../sample/selection.ts';
import type { Store } from '../store/store.ts';

/** Rows of a part, a row with c copies c times; `score` is null in raw parts. */
export interface RowRun {
  readonly row: Float64Array;
  readonly score: Float32Array | null;
}

/** What is known of a run of rows, column by column. */
export interface JoinedRows extends RowRun {
  readonly rowCount: number;
  readonly id: readonly string[];
  readonly uri: readonly string[];
  readonly source: readonly string[];
  readonly path: readonly string[];
  /** −1: the whole file. */
  readonly offset: Float64Array;
  readonly length: Float64Array;
  readonly label: readonly (string | null)[];
  readonly caption: readonly (string | null)[];
  readonly meta: readonly (string | null)[];
  /** Clusters of each row, level 1 first, rowCount × L; NO_CLUSTER where it has none. */
  readonly cluster: Uint32Array;
}

/** Rows that the selection's parts name, in runs of `runRows`. @param skip rows of the first part that belong to a run before. @param scored false: of a raw part */
export async function* readSelectedRows(store: Store, selection: SelectionManifest, parts: readonly Part[], skip: number, count: number, runRows: number, scored = true): AsyncIterable<RowRun> {
  yield* cutRuns(readSelection(store, { ...selection, parts }), skip, count, runRows, scored);
}

/** The `ok` rows of a raw part's embeddings, in runs of `runRows`. */
export async function* readRawRows(store: Store, parts: readonly Part[], skip: number, count: number, runRows: number): AsyncIterable<RowRun> {
  const blocks = async function* (): AsyncIterable<NamedRows> {
    for (const part of parts) {
      const { status } = await readEmbeddingFacts(store, part);
      const row = Float64Array.from(status, (_, i) => part.firstRow + i).filter((_, i) => status[i] === 'ok');
      yield { row, copies: new Uint16Array(row.length).fill(1), score: new Float32Array(row.length) };
    }
  };
  yield* cutRuns(blocks(), skip, count, runRows, false);
}

export interface Joiner {
  /**
   * Joins rows `from` … of the run, as many as stay within the limit of text, at least one. Calls go through ascending
   * rows.
   */
  join(run: RowRun, from: number): Promise<JoinedRows>;
}

export interface JoinedTables {
  readonly images: ImagesManifest;
  readonly embeddings: EmbeddingsManifest;
  /** The assignment, and the parents of each level's clusters, level 1 first; null for raw parts, which have no clusters. */
  readonly tree: { readonly manifest: ClustersManifest; readonly parents: readonly Uint32Array[] } | null;
  /** Levels of the tree. */
  readonly L: number;
}

/** @param textMax UTF-16 units of text after which a join ends */
export function createJoiner(store: Store, { images, embeddings, tree, L }: JoinedTables, textMax = IMAGES_PART_TEXT): Joiner {
  const listed = createCursor(images.parts, (part) => readImages(store, part));
  const hashed = createCursor(embeddings.parts, (part) => readEmbeddingFacts(store, part));
  const assigned = tree === null ? null : createCursor(tree.manifest.parts, (part) => readAssignmentPart(store, tree.manifest, part));
  return {
    join: async ({ row, score }, from) => {
      const text: TextColumns = { uri: [], source: [], path: [], label: [], caption: [], meta: [] };
      const offset: number[] = [];
      const length: number[] = [];
      let units = 0;
      const to = await listed(row, from, row.length, (block, at) => {
        for (const name of TEXT_COLUMNS) {
          const value = block[name]?.[at] ?? null;
          (text[name] as (string | null)[]).push(value);
          units += value?.length ?? 0;
        }
        offset.push(block.offset[at]!);
        length.push(block.length[at]!);
        return units < textMax;
      });
      const id: string[] = [];
      await hashed(row, from, to, (block, at) => {
        assert(block.status[at] === 'ok', `Expected row ${row[from + id.length]} of ${embeddings.parts[0]?.path} to be ok, its status is ${block.status[at]}`);
        id.push(block.id[at]!);
        return true;
      });
      const cluster = new Uint32Array((to - from) * L).fill(NO_CLUSTER);
      let next = 0;
      await assigned?.(row, from, to, (block, at) => {
        followParents(tree!.parents, block.cluster[at]!, cluster, next);
        next += L;
        return true;
      });
      return { rowCount: to - from, row: row.slice(from, to), score: score?.slice(from, to) ?? null, id, ...text, offset: Float64Array.from(offset), length: Float64Array.from(length), cluster };
    },
  };
}

interface NamedRows extends RowRun {
  readonly copies: Uint16Array;
}

async function* cutRuns(blocks: AsyncIterable<NamedRows>, skip: number, count: number, runRows: number, scored: boolean): AsyncIterable<RowRun> {
  const createRun = (rows: number) => ({ row: new Float64Array(rows), score: scored ? new Float32Array(rows) : null });
  let run = createRun(Math.min(runRows, count));
  let filled = 0;
  let left = count;
  for await (const { row, copies, score } of blocks) {
    for (let i = 0; i < row.length && left > 0; i++) {
      const skipped = Math.min(skip, copies[i]!);
      skip -= skipped;
      for (let copy = skipped; copy < copies[i]! && left > 0; copy++) {
        run.row[filled] = row[i]!;
        if (run.score !== null) run.score[filled] = score![i]!;
        left--;
        if (++filled < run.row.length) continue;
        yield run;
        run = createRun(Math.min(runRows, left));
        filled = 0;
      }
    }
    if (left === 0) return;
  }
  assert(left === 0, `Expected the tables to name ${count} rows, ${left} are missing`);
}

/**
 * Visits rows[from … to) with the part of the table that each lies in, until `visit` returns false.
 *
 * @returns the position after the last row visited
 */
type Cursor<T> = (rows: Float64Array, from: number, to: number, visit: (block: T, at: number) => boolean) => Promise<number>;

function createCursor<T>(parts: readonly Part[], load: (part: Part) => Promise<T>): Cursor<T> {
  let held: { part: Part; block: T } | null = null;
  return async (rows, from, to, visit) => {
    for (let i = from; i < to; ) {
      const part = partOf(parts, rows[i]!);
      if (held?.part !== part) held = { part, block: await load(part) };
      const { block } = held;
      for (const end = part.firstRow + part.rowCount; i < to && rows[i]! < end; ) {
        if (!visit(block, rows[i]! - part.firstRow)) return i + 1;
        i++;
      }
    }
    return to;
  };
}

/** The part that holds a row: the last one that begins at or before it. */
function partOf(parts: readonly Part[], row: number): Part {
  let low = 0;
  let high = parts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (parts[middle]!.firstRow <= row) low = middle;
    else high = middle - 1;
  }
  const part = parts[low];
  assert(part !== undefined && row >= part.firstRow && row < part.firstRow + part.rowCount, `Expected row ${row} within the table's parts, the last is ${part?.path}`);
  return part;
}

const TEXT_COLUMNS = ['uri', 'source', 'path', 'label', 'caption', 'meta'] as const;

interface TextColumns {
  readonly uri: string[];
  readonly source: string[];
  readonly path: string[];
  readonly label: (string | null)[];
  readonly caption: (string | null)[];
  readonly meta: (string | null)[];
}

type ImageBlock = { readonly [name in (typeof TEXT_COLUMNS)[number]]: readonly (string | null)[] | null } & { readonly offset: Float64Array; readonly length: Float64Array };

async function readImages(store: Store, part: Part): Promise<ImageBlock> {
  const view = decodeTable(await readPart(store, part), part.path);
  const text = Object.fromEntries(TEXT_COLUMNS.map((name) => [name, view.has(name) ? view.strings(name) : null])) as { [name in (typeof TEXT_COLUMNS)[number]]: (string | null)[] | null };
  const valid = view.validity('offset');
  const place = (name: 'offset' | 'length'): Float64Array => (view.numbers(name) as Float64Array).map((value, i) => (valid === undefined || valid[i] === 1 ? value : -1));
  return { ...text, offset: place('offset'), length: place('length') };
}

async function readAssignmentPart(store: Store, manifest: ClustersManifest, part: Part): Promise<{ readonly cluster: Uint32Array }> {
  for await (const block of readAssignment(store, { ...manifest, parts: [part] })) return block;
  return assert.fail(`Expected ${part.path} to be read`);
}

/** Writes a level-1 cluster and its ancestors, level 1 first. */
function followParents(parents: readonly Uint32Array[], cluster: number, out: Uint32Array, at: number): void {
  for (let l = 0; l < parents.length && cluster !== NO_CLUSTER; l++) {
    out[at + l] = cluster;
    cluster = parents[l]![cluster]!;
  }
}
