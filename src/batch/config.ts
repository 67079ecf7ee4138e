/** Settings of the batch stage. */
import { z } from 'zod';

const side = z.int().min(1).max(65_536);

const CropSizes = z.strictObject({
  global: side.describe('Side of the global crops, pixels.'),
  local: side.describe('Side of the local crops, pixels.'),
  gram: side.nullable().default(null).describe('Side of the crops for the Gram teacher, pixels; null: none.'),
  probability: z.number().positive().max(1).describe('Share of steps with these sizes; normalised to sum 1.'),
});
export type CropSizes = z.infer<typeof CropSizes>;

export const BatchConfig = z.strictObject({
  size: z.int().min(1).max(1_048_576).default(64).describe('Images of the global batch, over all ranks. The paper: 4096.'),
  compose: z
    .enum(['plain', 'stratified', 'cluster'])
    .optional()
    .describe('`stratified`: spread every batch over the clusters of a level; `cluster`: take the images that a batch has of a part from one cluster. Parts without clusters are drawn plainly. Default: plain.'),
  level: z.int().min(1).max(16).optional().describe('`stratified`, `cluster`: the level of the tree, 1 the finest. Default: the top.'),
  crops: z
    .union([z.literal('paper'), z.array(CropSizes).min(1)])
    .optional()
    .describe('Crop sizes, drawn for each step and the same on all ranks; `paper`: the mixed-resolution phase of DINOv3. Default: none.'),
  groups: z.array(z.int().min(1)).min(1).optional().describe('Multi-student distillation: sizes of the rank groups, in rank order. Each group sees the whole global batch.'),
});
export type BatchConfig = z.infer<typeof BatchConfig>;
