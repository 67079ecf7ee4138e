/** Reads what is known of the rows of one part of `embeddings/`, and of the same rows in `images/`. */
import { type TableView, decodeTable } from '../arrow/ipc.ts';
import { type EmbeddingPart, readStatuses } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { TaskEnv } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { decodeFloat16 } from '../vector/float16.ts';
import type { PartRows } from './filter.ts';

export interface PartRequest {
  readonly embeddings: EmbeddingPart;
  /** The part of `images/` that holds the rows. */
  readonly images: Part;
  /** Dimensions of the vectors; 0: none are wanted. */
  readonly d: number;
  readonly withMeta: boolean;
}

/** @throws {WinnowError} CHECKSUM_MISMATCH, DIMENSION_MISMATCH */
export async function readPartRows({ store, resource }: Pick<TaskEnv, 'store' | 'resource'>, { embeddings, images, d, withMeta }: PartRequest): Promise<PartRows> {
  const view = decodeTable(await readPart(store, embeddings), embeddings.path);
  const listed = await (await resource('filter-listing', async () => keepLast(store))).open(images);
  const { firstRow, rowCount } = embeddings;
  const from = firstRow - images.firstRow;
  const strings = (name: string): (string | null)[] => listed.strings(name).slice(from, from + rowCount);
  const numbers = (name: string): Float64Array => listed.numbers(name).slice(from, from + rowCount);
  const [source, path, offset, length] = [strings('source') as string[], strings('path') as string[], numbers('offset'), numbers('length')];
  return {
    firstRow,
    rowCount,
    id: view.strings('id'),
    status: (await readStatuses(store, embeddings, view)) as string[],
    width: view.numbers('width') as Uint32Array,
    height: view.numbers('height') as Uint32Array,
    uri: strings('uri') as string[],
    source,
    label: strings('label'),
    meta: withMeta && listed.has('meta') ? strings('meta') : new Array<null>(rowCount).fill(null),
    place: source.map((name, i) => ({ source: name, path: path[i]!, offset: offset[i]!, length: length[i]! })),
    sizeBytes: numbers('size'),
    d,
    vectors: d === 0 ? new Float32Array(0) : vectorsOf(view.vector('embedding'), d, embeddings.path),
  };
}

/** Columns of a part of `images/`, each decoded when it is first asked for. */
interface Listing {
  has(name: string): boolean;
  strings(name: string): (string | null)[];
  /** Nulls as −1. */
  numbers(name: string): Float64Array;
}

/** A part of `images/` holds the rows of up to sixteen of `embeddings/`, which come one after the other: the last one is kept. */
function keepLast(store: Store): { open(part: Part): Promise<Listing>; close(): Promise<void> } {
  let held: { readonly sha256: string; readonly path: string; readonly listing: Promise<Listing> } | null = null;
  return {
    open: (part) => {
      if (held === null || held.path !== part.path || held.sha256 !== part.sha256) {
        const listing = readPart(store, part).then((bytes) => listingOf(decodeTable(bytes, part.path)));
        listing.catch(() => (held = null));
        held = { sha256: part.sha256, path: part.path, listing };
      }
      return held.listing;
    },
    close: async () => {
      held = null;
    },
  };
}

function listingOf(view: TableView): Listing {
  const texts = new Map<string, (string | null)[]>();
  const figures = new Map<string, Float64Array>();
  return {
    has: view.has,
    strings: (name) => {
      const known = texts.get(name) ?? view.strings(name);
      texts.set(name, known);
      return known;
    },
    numbers: (name) => {
      const held = figures.get(name);
      if (held !== undefined) return held;
      const valid = view.validity(name);
      const read = Float64Array.from(view.numbers(name), (value, i) => (valid?.[i] === 0 ? -1 : value));
      figures.set(name, read);
      return read;
    },
  };
}

function vectorsOf(column: ReturnType<ReturnType<typeof decodeTable>['vector']>, d: number, where: string): Float32Array {
  if (column.d !== d) throw new WinnowError('DIMENSION_MISMATCH', `Expected vectors of ${d} dimensions in ${where}, got ${column.d}`);
  return column.element === 'float16' ? decodeFloat16(column.values as Uint16Array) : Float32Array.from(column.values as Float32Array);
}
