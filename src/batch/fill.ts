/**
 * From rows to images: the facts of a batch's rows and, where asked for, their bytes. An image whose bytes cannot be had
 * is replaced by the row of the same part that a keyed draw on its own row names, so the replacement is the same at any
 * world size and in any run; it is counted and named in the log. Under `strict` it is an error.
 */
import { WinnowError } from '../errors.ts';
import type { Log } from '../log.ts';
import { randomStream } from '../random.ts';
import { type WritableRows, copyRow } from '../shard/read.ts';
import { type DatasetManifest, hasDerived } from '../shard/shard.ts';
import type { Batch, BatchColumn, BatchImages } from './batch.ts';
import type { ImageReader, RowPlace } from './images.ts';
import type { Sum } from './read-pool.ts';
import type { RowColumn, RowFacts, RowReader, RowsWanted } from './rows.ts';
import { NO_SLABS, type Slabs } from './slabs.ts';

export interface ImageSource {
  /** Names of the parts, in the dataset's order. */
  readonly names: readonly string[];
  /** Bytes of an image, on average so far; a guess before the first. */
  meanBytes(): number;
  /** Images lie in memory from `slabs`. @throws {WinnowError} INPUT_MISSING */
  fill(batch: Batch, options: FillOptions, slabs: Slabs, signal: AbortSignal): Promise<Filled>;
}

export interface Filled {
  /** With replacements in it. */
  readonly batch: Batch;
  readonly facts: BatchImages;
  /** How many replacements there are. */
  readonly substituted: number;
  /** What the images lie in, as far as it was taken for them. */
  readonly slabs: readonly ArrayBufferLike[];
}

export interface FillOptions {
  /** Of the facts, those alone are read that are asked for. */
  readonly columns: ReadonlySet<BatchColumn>;
  readonly images: boolean;
  readonly strict: boolean;
  readonly seed: number;
}

/** Replacements tried for one image. */
const ATTEMPTS = 8;
/** Images that are told of by name; all are counted. */
const TOLD_MAX = 1000;
/** Bytes of an image before any was read, where shards do not tell. */
const GUESSED_BYTES = 131_072;

export interface ImageSourceOptions {
  readonly rows: RowReader;
  /** Opens nothing when no bytes are asked for. */
  readonly reader: ImageReader;
  /** What `reader` checks images by. */
  readonly verify: Sum;
  readonly log: Log;
}

/** Images of a dataset. */
export function createImageSource(manifest: DatasetManifest, { rows, reader, verify, log }: ImageSourceOptions): ImageSource {
  const names = manifest.parts.map(({ name }) => name);
  const shards = manifest.parts.flatMap((part) => part.shards);
  const hasBytes = (manifest.config as { withBytes?: boolean } | null)?.withBytes === true;
  const isDerived = hasDerived(manifest);
  let images = hasBytes ? shards.reduce((sum, { rowCount }) => sum + rowCount, 0) : 1;
  let sizeBytes = hasBytes ? shards.reduce((sum, { bytes }) => sum + bytes, 0) : GUESSED_BYTES;
  const replace = async (part: number, index: number, { seed, wanted, why }: { seed: number; wanted: RowsWanted; why: string }, signal: AbortSignal): Promise<{ index: number; facts: RowFacts; bytes: Uint8Array }> => {
    const draws = randomStream(seed, 'batch', 'substitute', names[part]!);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const other = draws.below(index * ATTEMPTS + attempt, manifest.parts[part]!.rows);
      const facts = await rows.read(manifest.parts[part]!, [other], wanted);
      const { images: [bytes] } = await reader.read([{ facts, at: 0 }], NO_SLABS, signal);
      if (bytes instanceof Uint8Array) return { index: other, facts, bytes };
    }
    throw new WinnowError('INPUT_MISSING', `Expected an image of part "${names[part]}" that can be read in place of row ${index} (${why}), got none in ${ATTEMPTS} tries`, { details: { part: names[part], index } });
  };
  const uriOf = async (part: number, index: number): Promise<string> => (await rows.read(manifest.parts[part]!, [index], { columns: new Set(['uri']), images: null })).uri[0]!;
  const told = new Set<string>();
  /** An image comes again with every pass: it is told of once, and not of more than can be read. */
  const isNews = (part: number, index: number): boolean => told.size < TOLD_MAX && told.size < told.add(`${part} ${index}`).size;
  return {
    names,
    meanBytes: () => Math.ceil(sizeBytes / Math.max(1, images)),
    fill: async (batch, options, slabs, signal) => {
      const wanted: RowsWanted = { columns: rowColumns(options.columns), images: options.images ? verify : null };
      const { places, facts } = await readFacts(batch, manifest, rows, wanted);
      if (!options.images) return { batch, facts: { ...facts, derivedId: null, image: null }, substituted: 0, slabs: [] };
      const index = batch.index.slice();
      const read = await reader.read(places, slabs, signal);
      const image = new Array<Uint8Array>(index.length);
      let substituted = 0;
      const substitute = async (i: number, fault: string): Promise<void> => {
        const [part, row] = [batch.part[i]!, index[i]!];
        if (options.strict) {
          const uri = await uriOf(part, row);
          throw new WinnowError('INPUT_MISSING', `Expected the bytes of ${uri} (row ${row} of part "${names[part]}"), could not have them: ${fault}`, { details: { uri, step: batch.step } });
        }
        const other = await replace(part, row, { seed: options.seed, wanted, why: fault }, signal);
        if (isNews(part, row)) {
          const [named, instead] = [await uriOf(part, row), await uriOf(part, other.index)];
          log.warn({ stage: 'batch', step: batch.step, uri: named, instead }, `batch: ${named} could not be read (${fault}); ${instead} is in its place`);
        }
        substituted++;
        index[i] = other.index;
        copyRow(other.facts, 0, facts, i);
        image[i] = other.bytes;
      };
      const substitutions: Promise<void>[] = [];
      read.images.forEach((found, i) => {
        if (found instanceof Uint8Array) image[i] = found;
        else substitutions.push(substitute(i, found.fault));
      });
      await Promise.all(substitutions);
      images += image.length;
      for (const { byteLength } of image) sizeBytes += byteLength;
      return { batch: { ...batch, index }, facts: { ...facts, derivedId: isDerived ? facts.derivedId : null, image }, substituted, slabs: read.slabs };
    },
  };
}

/** The columns of a batch that lie in shards. */
function rowColumns(columns: ReadonlySet<BatchColumn>): ReadonlySet<RowColumn> {
  return new Set(Array.from(columns).filter((name): name is RowColumn => name !== 'part' && name !== 'index'));
}

/** Reads facts part by part and puts them back in the batch's order; `places` says where each lies. */
async function readFacts({ part, index }: Batch, { parts }: DatasetManifest, rows: RowReader, wanted: RowsWanted): Promise<{ places: RowPlace[]; facts: WritableRows }> {
  const n = part.length;
  const facts: WritableRows = { id: new Array<string>(n), uri: new Array<string>(n), source: new Array<string>(n), path: new Array<string>(n), offset: new Float64Array(n), length: new Float64Array(n), derivedId: new Array<string | null>(n) };
  const places = new Array<RowPlace>(n);
  const some = Array.from(part.keys());
  await Promise.all(
    parts.map(async (one, p) => {
      const own = some.filter((slot) => part[slot] === p);
      if (own.length === 0) return;
      const read = await rows.read(one, own.map((slot) => index[slot]!), wanted);
      own.forEach((slot, at) => {
        places[slot] = { facts: read, at };
        copyRow(read, at, facts, slot);
      });
    }),
  );
  return { places, facts };
}
