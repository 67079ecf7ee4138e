/**
 * The noun of the shard stage: `dataset/`, what a training loop opens. A part is a run of shards; index i of a part is
 * the i-th row over its shards. `dataset/manifest.json` tells everything: parts, mixture, lineage, the funnel.
 */
import { z } from 'zod';
import type { Manifest, Part } from '../run/manifest.ts';
import type { Mixture } from '../mix/mixture.ts';

export const ShardConfig = z.strictObject({
  rows: z.int().min(1).max(1_048_576).default(65_536).describe('Rows a shard at most.'),
  withBytes: z.boolean().default(false).describe('Copy the original bytes of each image into the shards, unchanged. Default: references only.'),
  sizeBytesMax: z.int().min(1024).max(1_073_741_824).default(268_435_456).describe('`withBytes`: bytes of images a shard at most; one larger image gets a shard of its own.'),
});
export type ShardConfig = z.infer<typeof ShardConfig>;

export interface DatasetPart {
  readonly name: string;
  readonly kind: 'balanced' | 'retrieved' | 'raw';
  readonly rows: number;
  readonly uniqueImages: number;
  /** Paths relative to the store; firstRow is the index in this part. */
  readonly shards: readonly Part[];
}

export interface DatasetManifest extends Omit<Manifest, 'parts'> {
  readonly parts: readonly DatasetPart[];
  readonly mixture: Mixture;
  readonly lineage: Readonly<Record<string, unknown>>;
}
