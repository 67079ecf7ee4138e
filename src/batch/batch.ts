/**
 * The noun of the batch stage: one training batch of one rank, what may be asked for, and the Arrow record batch that a
 * training loop reads. A batch is a pure function of (dataset, seed, batch size, step, rank, world size).
 */
import type { Column, Columns } from '../arrow/tables.ts';
import { WinnowError } from '../errors.ts';
import type { CropSizes } from './config.ts';

export interface Batch {
  readonly step: number;
  readonly kind: 'homogeneous' | 'heterogeneous';
  readonly rank: number;
  readonly worldSize: number;
  /** Ordinal of the part in the dataset, one an image. */
  readonly part: Uint32Array;
  /** Row of the image in that part. */
  readonly index: Float64Array;
}

/** Which batches a consumer asks for. */
export interface BatchRequest {
  readonly fromStep: number;
  readonly steps: number;
  /** Steps from one batch to the next: with w workers, each asks for every w-th. */
  readonly every: number;
  readonly rank: number;
  readonly worldSize: number;
  /** Images of the global batch, over all ranks. */
  readonly batchSize: number;
  /** Sizes of the rank groups in rank order, or none: all ranks are one group. */
  readonly groups: readonly number[];
}

/** Most images of a global batch. */
export const BATCH_SIZE_MAX = 1_048_576;

/**
 * @param stepsMax steps the schedule has
 * @throws {WinnowError} CONFIG_INVALID naming the first number out of its range
 */
export function checkBatchRequest({ fromStep, steps, every, rank, worldSize, batchSize, groups }: BatchRequest, stepsMax: number): void {
  expectInteger('the batch size', batchSize, 1, BATCH_SIZE_MAX);
  expectInteger('the first step', fromStep, 0, stepsMax - 1);
  expectInteger('the stride of steps', every, 1, stepsMax);
  expectInteger('the number of steps', steps, 1, Math.ceil((stepsMax - fromStep) / every));
  expectInteger('the world size', worldSize, 1, BATCH_SIZE_MAX);
  expectInteger('the rank', rank, 0, worldSize - 1, ` (world size ${worldSize})`);
  for (const size of groups) expectInteger('the size of each rank group', size, 1, BATCH_SIZE_MAX);
  const sum = groups.reduce((total, size) => total + size, 0);
  if (groups.length > 0 && sum !== worldSize) throw new WinnowError('CONFIG_INVALID', `Expected the rank groups to sum to the world size ${worldSize}, got ${groups.join(' + ')} = ${sum}`);
}

/** A rank's place in its group. */
export interface GroupPlace {
  readonly group: number;
  readonly rank: number;
  readonly size: number;
}

/**
 * Rank groups all see the same global batch, each dealt by its own size (multi-student distillation; the paper's groups
 * are 48, 48, 80 and 120 ranks). The all-gather order is rank order: what the ranks of a group hold, in rank order, is
 * the global batch, and so is what all ranks hold of a batch dealt without groups, as a shared teacher takes it.
 */
export function placeInGroup(rank: number, worldSize: number, groups: readonly number[]): GroupPlace {
  let first = 0;
  for (const [group, size] of groups.entries()) {
    if (rank < first + size) return { group, rank: rank - first, size };
    first += size;
  }
  return { group: 0, rank, size: worldSize };
}

/** Columns of a batch, in their order, but for `image`, the bytes, which comes last. `derivedId` stands beside it only. */
export const BATCH_COLUMNS = ['part', 'index', 'id', 'uri', 'source', 'path', 'offset', 'length', 'derivedId'] as const;
export type BatchColumn = (typeof BATCH_COLUMNS)[number];

/**
 * @param names as a consumer lists them, with `image` for the bytes
 * @throws {WinnowError} CONFIG_INVALID naming what is no column
 */
export function parseColumns(names: readonly string[]): { readonly columns: BatchColumn[]; readonly images: boolean } {
  const unknown = names.find((name) => name !== 'image' && !(BATCH_COLUMNS as readonly string[]).includes(name));
  if (unknown !== undefined) throw new WinnowError('CONFIG_INVALID', `Expected columns of a batch (${BATCH_COLUMNS.join(', ')}, image), got ${JSON.stringify(unknown.slice(0, 40))}`);
  return { columns: BATCH_COLUMNS.filter((name) => names.includes(name)), images: names.includes('image') };
}

/** Facts about a batch's images, in its order; those that nobody asked for may be empty. */
export interface BatchImages {
  readonly id: readonly string[];
  readonly uri: readonly string[];
  /** Source and path of the file to open; `offset` and `length` in bytes, or −1 when the image is the whole file. */
  readonly source: readonly string[];
  readonly path: readonly string[];
  readonly offset: Float64Array;
  readonly length: Float64Array;
  /** What the bytes of `image` hash to where they are derived, null where they are the original; null as a whole where a dataset has no such images, or none are asked for. */
  readonly derivedId: readonly (string | null)[] | null;
  /** Encoded bytes as the shard has them, or as they were embedded; null when not asked for. */
  readonly image: readonly Uint8Array[] | null;
}

/**
 * The columns of a batch that are asked for: part, index, id, uri as the contract says, then where the bytes lie. The
 * dictionary of `part` is every part of the dataset in its order, the same in every batch, so a consumer may use the codes
 * as they are. With bytes, `image` comes last.
 */
export function batchColumns(batch: Batch, parts: readonly string[], images: BatchImages, wanted: ReadonlySet<BatchColumn>): Columns {
  const place = (values: Float64Array): Column => ({ type: 'uint64', values: values.map((value) => Math.max(0, value)), valid: Uint8Array.from(values, (value) => (value < 0 ? 0 : 1)) });
  const column = (name: BatchColumn): Column => {
    switch (name) {
      case 'part':
        return { type: 'dictionary', values: Array.from(batch.part, (part) => parts[part]!), dictionary: parts };
      case 'index':
        return { type: 'uint64', values: batch.index };
      case 'offset':
      case 'length':
        return place(images[name]);
      case 'derivedId':
        return { type: 'utf8', values: images.derivedId! };
      default:
        return { type: 'utf8', values: images[name] };
    }
  };
  const names = BATCH_COLUMNS.filter((name) => wanted.has(name) && (name !== 'derivedId' || images.derivedId !== null));
  return { ...Object.fromEntries(names.map((name) => [name, column(name)])), ...(images.image !== null && { image: { type: 'binary', values: images.image } }) };
}

/** What a batch's metadata tells beside the batch itself. */
export interface BatchNotes {
  readonly crops: CropSizes | null;
  /** Null without rank groups. */
  readonly place: GroupPlace | null;
  /** Images of the global batch. */
  readonly batchSize: number;
  /** Images put in the place of others whose bytes could not be had; null when no bytes were asked for. */
  readonly substituted: number | null;
}

/**
 * Metadata of a batch's record batch, as Arrow has it: strings. `first` is the place of the batch's first image in the
 * global batch. With groups, `rank` and `worldSize` are those of the whole job, `groupRank` and `groupSize` the group's.
 */
export function batchMetadata({ step, kind, rank, worldSize }: Pick<Batch, 'step' | 'kind' | 'rank' | 'worldSize'>, { crops, place, batchSize, substituted }: BatchNotes): Record<string, string> {
  const dealt = place ?? { rank, size: worldSize };
  return {
    step: String(step),
    kind,
    rank: String(rank),
    worldSize: String(worldSize),
    batchSize: String(batchSize),
    first: String(Math.floor((batchSize * dealt.rank) / dealt.size)),
    ...(place !== null && { group: String(place.group), groupRank: String(place.rank), groupSize: String(place.size) }),
    ...(crops !== null && { globalCrop: String(crops.global), localCrop: String(crops.local), ...(crops.gram !== null && { gramCrop: String(crops.gram) }) }),
    ...(substituted !== null && { substituted: String(substituted) }),
  };
}

function expectInteger(what: string, value: number, least: number, most: number, why = ''): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new WinnowError('CONFIG_INVALID', `Expected ${what} to be an integer from ${least} to ${most}${why}, got ${value}`);
}
