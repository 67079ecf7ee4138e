/** Stage 9, batch: `dataset/` → a stream of training batches for one rank. */
import { z } from 'zod';
import { encodeStream } from '../src/arrow/ipc.ts';
import { type Batch, type BatchImages, batchColumns, batchMetadata, checkBatchRequest } from '../src/batch/batch.ts';
import { BatchConfig } from '../src/batch/config.ts';
import { createSampler } from '../src/batch/sampler.ts';
import { STEPS_MAX } from '../src/batch/schedule.ts';
import { throwIfAborted } from '../src/errors.ts';
import { type Dataset, openDataset } from '../src/shard/read.ts';
import type { Store } from '../src/store/store.ts';

export interface BatchesOptions {
  readonly steps: number;
  readonly fromStep?: number;
  readonly rank?: number;
  readonly worldSize?: number;
  /** Images of the global batch. Default: as the dataset's recipe says. */
  readonly batchSize?: number;
  /** Default: the dataset's own. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/**
 * Streams the batches of one rank as Arrow IPC: each record batch is one training batch, with `step`, `kind`, `rank` and
 * `worldSize` in its metadata. A batch is made when it is asked for, and depends on nothing but the dataset's manifest and
 * the options: resuming at a step is asking from it.
 *
 * @throws {WinnowError} CONFIG_INVALID when a number is out of range, INPUT_MISSING without a dataset, ABORTED
 */
export async function* batches(store: Store, options: BatchesOptions): AsyncIterable<Uint8Array> {
  const dataset = await openDataset(store);
  const { fromStep = 0, steps, rank = 0, worldSize = 1, batchSize = recipeBatchSize(dataset), signal } = options;
  checkBatchRequest({ fromStep, steps, rank, worldSize, batchSize }, STEPS_MAX);
  const { parts, mixture, seed } = dataset.manifest;
  const names = parts.map(({ name }) => name);
  const sampler = createSampler({ parts, mixture, seed: options.seed ?? seed }, batchSize);
  const records = async function* () {
    for (let step = fromStep; step < fromStep + steps; step++) {
      throwIfAborted(signal);
      const batch = sampler.batch(step, rank, worldSize);
      yield { columns: batchColumns(batch, names, await findImages(batch, names, dataset)), metadata: batchMetadata(batch) };
    }
  };
  yield* encodeStream(records());
}

function recipeBatchSize({ manifest }: Dataset): number {
  const recipe = z.object({ batch: BatchConfig }).safeParse(manifest.lineage.recipe);
  return recipe.success ? recipe.data.batch.size : BatchConfig.parse({}).size;
}

/** Looks a batch's images up part by part and puts them back in its order. */
async function findImages({ part, index }: Batch, names: readonly string[], dataset: Dataset): Promise<BatchImages> {
  const n = part.length;
  const images = { id: new Array<string>(n), uri: new Array<string>(n), source: new Array<string>(n), path: new Array<string>(n), offset: new Float64Array(n), length: new Float64Array(n) };
  for (let p = 0; p < names.length; p++) {
    const slots = Uint32Array.from(part.keys()).filter((slot) => part[slot] === p);
    if (slots.length === 0) continue;
    const rows = await dataset.rows(names[p]!, Array.from(slots, (slot) => index[slot]!));
    slots.forEach((slot, i) => {
      images.id[slot] = rows.id[i]!;
      images.uri[slot] = rows.uri[i]!;
      images.source[slot] = rows.source[i]!;
      images.path[slot] = rows.path[i]!;
      images.offset[slot] = rows.offset[i]!;
      images.length[slot] = rows.length[i]!;
    });
  }
  return images;
}
