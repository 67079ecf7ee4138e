/** What the other stages cost: the arithmetic of their tasks and tables, each beside what the stage really does. */
import type { Rates } from '../bench/rates.ts';
import type { Recipe } from '../config.ts';
import { EMBEDDING_PART_ROWS } from '../embed/embedding.ts';
import { IMAGES_PART_ROWS } from '../ingest/image.ts';
import { SELECTION_PART_ROWS } from '../sample/selection.ts';
import type { Execution } from '../run/stage.ts';
import { BASE_BYTES, type StageCost, type Step, step } from './cost.ts';

/** A set of images: the pool, the seeds of a retrieved part, or a raw part. */
export interface ImageSet {
  readonly name: string;
  readonly images: number;
  /** Raw parts are read and checked, and get no vectors. */
  readonly hasVectors: boolean;
}

export interface StageRequest {
  readonly recipe: Recipe;
  readonly execution: Execution;
  readonly pool: ImageSet;
  readonly seeds: readonly ImageSet[];
  readonly raws: readonly ImageSet[];
  /** Evaluation sets that the pool must not have. */
  readonly evaluations: readonly ImageSet[];
  readonly d: number;
  /** Bytes of an image file on average, and of the text of its row: uri and path. */
  readonly imageBytes: number;
  readonly textBytes: number;
  readonly model: EmbedRate;
  readonly rates: Rates;
}

export interface EmbedRate {
  /** Of one image; 0 where the model has no products worth counting. */
  readonly flop: number;
  /** Images a second of the whole stage on one worker. */
  readonly images: number;
}

/** uri, path and offsets of both; source, offset, length, size, label. */
export function imageRowBytes(textBytes: number): number {
  return textBytes + 41;
}

/** A vector; id, status, width, height and their offsets. */
export function embeddingRowBytes(d: number, elementBytes: number): number {
  return d * elementBytes + 48;
}

/** Of a component of a stored vector. */
export function elementBytesOf({ embed }: Recipe): number {
  return embed.dtype === 'float16' ? 2 : 4;
}

/** Files and their sizes are listed; tars are read header by header. One driver lists. */
export function ingestCost({ recipe, pool, seeds, raws, evaluations, textBytes, rates }: StageRequest): StageCost {
  const inTars = recipe.pool.some(({ tars }) => tars !== undefined);
  const steps = [pool, ...seeds, ...raws, ...evaluations].filter(({ images }) => images > 0).map(({ name, images }) => {
    const packed = inTars && name === pool.name;
    const bytesWritten = images * imageRowBytes(textBytes);
    return step(name, { bytesRead: packed ? images * 512 : 0, bytesWritten, peakBytes: BASE_BYTES + IMAGES_PART_ROWS * imageRowBytes(textBytes) * 4, seconds: images / (packed ? rates.listTars : rates.list) + bytesWritten / rates.write });
  });
  return { stage: 'ingest', steps, warnings: [] };
}

/** Bytes of encoded images, and of pixels, that wait in a task (src/embed/task.ts). */
const AHEAD_BYTES = 2 ** 28 + 2 ** 26;

/** Every image is read once, hashed, decoded, and seen by the model, where the set gets vectors. */
export function embedCost({ recipe, pool, seeds, raws, evaluations, d, imageBytes, textBytes, model, rates }: StageRequest): StageCost {
  const steps = [pool, ...seeds, ...raws, ...evaluations].filter(({ images }) => images > 0).map(({ name, images, hasVectors }): Step => {
    const tasks = Math.ceil(images / EMBEDDING_PART_ROWS);
    const listed = Math.min(images, IMAGES_PART_ROWS) * imageRowBytes(textBytes);
    const bytesWritten = images * embeddingRowBytes(hasVectors ? d : 0, elementBytesOf(recipe));
    // Every task reads the part of the listing that it is in.
    const bytesRead = images * imageBytes + tasks * listed;
    const computing = hasVectors ? images / model.images : 0;
    const hosted = images / rates.decode;
    return step(name, {
      tasks, flop: hasVectors ? images * model.flop : 0, bytesRead, bytesWritten,
      peakBytes: BASE_BYTES + Math.min(AHEAD_BYTES, images * imageBytes + 2 ** 26) + EMBEDDING_PART_ROWS * embeddingRowBytes(d, 4) + 2 * listed,
      // Reading and decoding run ahead of the model.
      seconds: Math.max(computing, hosted, bytesRead / rates.hash) + bytesWritten / rates.write
    });
  });
  return { stage: 'embed', steps, warnings: [] };
}

/** Leaf, distance, row by leaf and copies of each row of the pool (src/sample/sample.ts). */
const ROW_BYTES_HELD = 14;
export const ASSIGNMENT_ROW_BYTES = 12.125;
const SELECTION_ROW_BYTES = 14;
const ROWS_MAX = 2 ** 32;

/** Tables of centroids, which hold the shape of the tree: parent and size of each cluster. */
function treeBytes(clusters: readonly number[], d: number): number {
  return clusters.reduce((sum, k) => sum + k, 0) * (d * 4 + 12.125);
}

/** One task: it holds the pool's rows, and draws. */
export function sampleCost({ pool: { images }, d, rates }: StageRequest, clusters: readonly number[], selected: number): StageCost {
  const all = clusters.reduce((sum, k) => sum + k, 0);
  const bytesRead = images * ASSIGNMENT_ROW_BYTES + treeBytes(clusters, d);
  const bytesWritten = selected * SELECTION_ROW_BYTES;
  const warnings = images < ROWS_MAX ? [] : [`sample: one task draws from at most ${ROWS_MAX.toLocaleString('en')} rows, the pool has ${images.toLocaleString('en')}: its memory and time below are what it would take`];
  return {
    stage: 'sample', warnings,
    steps: [step('balanced', { bytesRead, bytesWritten, peakBytes: BASE_BYTES + images * ROW_BYTES_HELD + all * 40, seconds: images / rates.draw + all / rates.leaves + bytesWritten / rates.write })],
  };
}

/** Rows of a retrieved part: pairs of a query and an image, or images of clusters as far as the cap and the pool go. */
export function retrievedRows({ recipe, pool }: StageRequest, name: string, queries: number): number {
  const entry = recipe.retrieve.find((one) => one.name === name);
  return entry?.cluster === undefined ? queries * (entry?.k ?? 1) : queries === 0 ? 0 : Math.min(entry.cluster.cap, pool.images);
}

/** Reads manifests alone. */
export function mixCost({ recipe }: StageRequest): StageCost {
  const parts = 1 + recipe.retrieve.length + recipe.raw.length;
  return { stage: 'mix', steps: [step('mixture', { bytesRead: parts * 1200, bytesWritten: 1400, seconds: 0.002 * parts })], warnings: [] };
}

/** uri, path and id with their offsets; row, score, cluster of each level, source, offset, length, label. */
function shardRowBytes(textBytes: number, levels: number): number {
  return textBytes + 36 + 46 + levels * 4;
}

/** Tables are joined part by part: each task reads the parts its rows lie in, vectors and all. */
export function shardCost(request: StageRequest, selected: number, clusters: readonly number[]): StageCost {
  const { recipe, pool, seeds, raws, d, imageBytes, textBytes, rates } = request;
  const { rows, withBytes } = recipe.shard;
  const runRows = rows * Math.max(1, Math.floor(SELECTION_PART_ROWS / rows));
  const levels = clusters.length;
  const parts = [
    { name: 'balanced', entries: selected, from: pool.images, vectors: true },
    ...seeds.map(({ name, images }) => ({ name, entries: retrievedRows(request, name, images), from: pool.images, vectors: true })),
    ...raws.map(({ name, images }) => ({ name, entries: images, from: images, vectors: false })),
  ];
  const steps = parts.filter(({ entries }) => entries > 0).map(({ name, entries, from, vectors }) => {
    const tableRow = embeddingRowBytes(vectors ? d : 0, elementBytesOf(recipe)) + imageRowBytes(textBytes) + (vectors ? ASSIGNMENT_ROW_BYTES + SELECTION_ROW_BYTES : 0);
    const touched = from * (1 - (1 - Math.min(1, entries / from)) ** EMBEDDING_PART_ROWS);
    // A worker reads the tree once, with its first task.
    const bytesRead = touched * tableRow + (name === 'balanced' ? treeBytes(clusters, d) : 0) + (withBytes ? entries * imageBytes : 0);
    const bytesWritten = entries * (shardRowBytes(textBytes, vectors ? levels : 0) + (withBytes ? imageBytes : 0));
    return step(name, {
      tasks: Math.ceil(entries / runRows), bytesRead, bytesWritten,
      peakBytes: BASE_BYTES + Math.min(entries, rows) * shardRowBytes(textBytes, levels) * 6 + (withBytes ? Math.min(recipe.shard.sizeBytesMax, entries * imageBytes) * 2 : 0) + EMBEDDING_PART_ROWS * embeddingRowBytes(d, 4),
      seconds: Math.max(entries / rates.shard, bytesRead / rates.read) + (withBytes ? (entries * imageBytes) / rates.hash : 0) + bytesWritten / rates.write,
    });
  });
  return { stage: 'shard', steps, warnings: recipe.shard.derive === undefined ? [] : ['shard.derive: the time and memory of the program itself are not counted'] };
}
