/**
 * The noun of the batch stage: one training batch of one rank, what may be asked for, and the Arrow record batch that a
 * training loop reads. A batch is a pure function of (dataset, seed, batch size, step, rank, world size).
 */
import type { Columns } from '../arrow/tables.ts';
import { WinnowError } from '../errors.ts';

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
  readonly rank: number;
  readonly worldSize: number;
  /** Images of the global batch, over all ranks. */
  readonly batchSize: number;
}

/** Most images of a global batch. */
export const BATCH_SIZE_MAX = 1_048_576;

/**
 * @param stepsMax steps the schedule has
 * @throws {WinnowError} CONFIG_INVALID naming the first number out of its range
 */
export function checkBatchRequest({ fromStep, steps, rank, worldSize, batchSize }: BatchRequest, stepsMax: number): void {
  expectInteger('the batch size', batchSize, 1, BATCH_SIZE_MAX);
  expectInteger('the first step', fromStep, 0, stepsMax - 1);
  expectInteger('the number of steps', steps, 1, stepsMax - fromStep);
  expectInteger('the world size', worldSize, 1, BATCH_SIZE_MAX);
  expectInteger('the rank', rank, 0, worldSize - 1, ` (world size ${worldSize})`);
}

/** Facts about a batch's images, in its order. */
export interface BatchImages {
  readonly id: readonly string[];
  readonly uri: readonly string[];
  /** Source and path of the file to open; `offset` and `length` in bytes, or −1 when the image is the whole file. */
  readonly source: readonly string[];
  readonly path: readonly string[];
  readonly offset: Float64Array;
  readonly length: Float64Array;
}

/**
 * The columns of a batch: part, index, id, uri as the contract says, then where the bytes lie. The dictionary of `part`
 * is every part of the dataset in its order, the same in every batch, so a consumer may use the codes as they are.
 */
export function batchColumns(batch: Batch, parts: readonly string[], images: BatchImages): Columns {
  const inTar = Uint8Array.from(images.offset, (offset) => (offset < 0 ? 0 : 1));
  const place = (values: Float64Array): Columns[string] => ({ type: 'uint64', values: values.map((value) => Math.max(0, value)), valid: inTar });
  return {
    part: { type: 'dictionary', values: Array.from(batch.part, (part) => parts[part]!), dictionary: parts },
    index: { type: 'uint64', values: batch.index },
    id: { type: 'utf8', values: images.id },
    uri: { type: 'utf8', values: images.uri },
    source: { type: 'utf8', values: images.source },
    path: { type: 'utf8', values: images.path },
    offset: place(images.offset),
    length: place(images.length),
  };
}

/** Metadata of a batch's record batch, as Arrow has it: strings. */
export function batchMetadata({ step, kind, rank, worldSize }: Batch): Record<string, string> {
  return { step: String(step), kind, rank: String(rank), worldSize: String(worldSize) };
}

function expectInteger(what: string, value: number, least: number, most: number, why = ''): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new WinnowError('CONFIG_INVALID', `Expected ${what} to be an integer from ${least} to ${most}${why}, got ${value}`);
}
