/**
 * The noun of the shard stage: `dataset/`, what a training loop opens. A part is a run of shards; index i of a part is
 * the i-th row over its shards. `dataset/manifest.json` tells everything: parts, mixture, lineage, the funnel.
 */
import { z } from 'zod';
import type { Manifest, Part } from '../run/manifest.ts';
import type { Mixture } from '../mix/mixture.ts';

const Derive = z
  .strictObject({
    command: z.array(z.string().min(1)).min(1).describe('The program and its arguments; no shell. It starts in the folder of the recipe, once for some thousand rows of a shard at most.'),
    version: z.string().min(1).max(200).describe('Your name for what the program does now. Change it when its images change: the shards are then written anew.'),
    timeoutSeconds: z.number().positive().max(86_400).default(600).describe('Longest time for one call: 4,096 images or 64 MiB of them.'),
  })
  .describe('An external program that puts other bytes in the place of images, such as blurred faces: an Arrow IPC stream of row, id, uri, image on stdin, one of row, image (null: unchanged) and note on stdout. Originals stay as they are.');
export type DeriveConfig = z.infer<typeof Derive>;

export const ShardConfig = z
  .strictObject({
    rows: z.int().min(1).max(1_048_576).default(65_536).describe('Rows a shard at most.'),
    withBytes: z.boolean().default(false).describe('Copy the original bytes of each image into the shards, unchanged. Default: references only.'),
    sizeBytesMax: z.int().min(1024).max(1_073_741_824).default(268_435_456).describe('`withBytes`: bytes of images a shard at most; one larger image gets a shard of its own.'),
    derive: Derive.optional(),
  })
  .superRefine(({ withBytes, derive }, context) => {
    if (derive !== undefined && !withBytes) context.addIssue({ code: 'custom', path: ['withBytes'], message: 'expected true beside shard.derive, since only shards hold derived bytes' });
  });
export type ShardConfig = z.infer<typeof ShardConfig>;

/** What of the settings decides the dataset, for its lineage: everything but where a program lies on this machine and its time limit. */
export function lineageShard({ derive, ...shard }: ShardConfig): Record<string, unknown> {
  return derive === undefined ? shard : { ...shard, derive: { version: derive.version } };
}

/** A file of shards. */
export interface ShardFile extends Part {
  /** Rows whose image is derived; only with `derive`. */
  readonly derived?: number;
}

export interface DatasetPart {
  readonly name: string;
  readonly kind: 'balanced' | 'retrieved' | 'raw';
  readonly rows: number;
  readonly uniqueImages: number;
  /** Paths relative to the store; firstRow is the index in this part. */
  readonly shards: readonly ShardFile[];
}

/** Whether shards may hold derived images, told by their column `derivedId`. */
export function hasDerived({ config }: Pick<DatasetManifest, 'config'>): boolean {
  return (config as { derive?: unknown } | null)?.derive !== undefined;
}

export interface DatasetManifest extends Omit<Manifest, 'parts'> {
  readonly parts: readonly DatasetPart[];
  readonly mixture: Mixture;
  readonly lineage: Readonly<Record<string, unknown>>;
}
