/**
 * The noun of the mix stage: which parts make the training set and how a batch draws from them (DINOv3 paper, section
 * 3.1: a homogeneous batch from one part with probability p, else a heterogeneous batch from all the others by ratio).
 */
import { z } from 'zod';
import type { Manifest } from '../run/manifest.ts';

/** Name of the part that balanced sampling makes. */
export const BALANCED_PART = 'balanced';

export const MixConfig = z.strictObject({
  homogeneous: z
    .strictObject({
      part: z.string().min(1).describe('The part that homogeneous batches are drawn from; it is left out of heterogeneous ones.'),
      probability: z.number().min(0).max(1).default(0.1).describe('Share of steps with a homogeneous batch. The paper: 0.1, from ImageNet-1k.'),
    })
    .nullable()
    .default(null)
    .describe('null: every batch is heterogeneous.'),
  heterogeneous: z
    .union([z.literal('proportional'), z.record(z.string(), z.number().positive())])
    .default('proportional')
    .describe('Ratio of each other part in a heterogeneous batch (normalised to sum 1), or proportional to part sizes. The paper does not disclose its ratios.'),
});
export type MixConfig = z.infer<typeof MixConfig>;

export interface MixturePart {
  readonly name: string;
  readonly kind: 'balanced' | 'retrieved' | 'raw';
  /** Rows with copies counted: what one pass over the part sees. */
  readonly rows: number;
  readonly uniqueImages: number;
}

export interface Mixture {
  readonly homogeneous: { readonly part: string; readonly probability: number } | null;
  /** Ratios sum to 1; order is that of `parts`. */
  readonly heterogeneous: readonly { readonly part: string; readonly ratio: number }[];
}

export interface MixtureManifest extends Manifest {
  readonly mixtureParts: readonly MixturePart[];
  readonly mixture: Mixture;
}
