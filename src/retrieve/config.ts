/** Settings of the retrieve stage: one entry a seed dataset. */
import { z } from 'zod';
import { SourceConfig } from '../ingest/image.ts';

export const partName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]*$/, 'lower-case letters, digits, ".", "_" and "-" only')
  .describe('Name of the part in the dataset.');

export const RetrieveConfig = z.strictObject({
  name: partName,
  sources: z.array(SourceConfig).min(1).describe('The seed images.'),
  engine: z.enum(['onnxruntime', 'faiss']).default('onnxruntime').describe('What computes the products. faiss (slower) needs the optional faiss-node: infra/faiss/build.sh.'),
  k: z.int().min(1).max(10_000).default(4).describe('Pool images for each seed image. The published values: 4 for seed sets above a million images, 32 for ImageNet-1k.'),
});
export type RetrieveConfig = z.infer<typeof RetrieveConfig>;

/** A raw dataset taken whole as a part of its own. */
export const RawConfig = z.strictObject({
  name: partName,
  sources: z.array(SourceConfig).min(1).describe('The images of the part; all that decode are taken.'),
});
export type RawConfig = z.infer<typeof RawConfig>;
