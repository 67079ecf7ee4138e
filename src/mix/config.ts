/** Settings of the mix stage. */
import { z } from 'zod';

const homogeneousPart = z.strictObject({
  part: z.string().min(1).describe('The part that homogeneous batches are drawn from; it is left out of heterogeneous ones.'),
  probability: z.number().min(0).max(1).default(0.1).describe('Share of steps with a homogeneous batch of this part. The paper: 0.1, from ImageNet-1k.'),
});

const heterogeneousRatios = z
  .union([z.enum(['proportional', 'sqrt', 'temperature']), z.record(z.string(), z.number().positive())])
  .describe('Ratio of each other part in a heterogeneous batch (normalised to sum 1), or by size: proportional, sqrt, or temperature (rows ^ (1 / temperature)). The paper does not disclose its ratios.');

const temperature = z.number().min(1).max(1000).optional().describe('`heterogeneous: temperature`: 1 is proportional, 2 is sqrt; the higher, the more alike the parts are drawn. Default 2.');

const homogeneous = z.union([homogeneousPart, z.array(homogeneousPart).min(1)]).nullable();

/** How batches draw from a step on. */
const PhaseConfig = z.strictObject({
  fromStep: z.int().min(1).describe('First step of the phase; it ends where the next begins.'),
  homogeneous: homogeneous.optional().describe('Default: as in the phase before.'),
  heterogeneous: heterogeneousRatios.optional().describe('Default: as in the phase before.'),
  temperature,
});

export const MixConfig = z.strictObject({
  homogeneous: homogeneous.default(null).describe('null: every batch is heterogeneous. A list: several homogeneous parts, each with its probability; together at most 1.'),
  heterogeneous: heterogeneousRatios.default('proportional'),
  temperature,
  schedule: z
    .enum(['independent', 'exact'])
    .optional()
    .describe('Which steps are homogeneous: `independent` draws (the default), or `exact`: in any window of m steps their count is within 1 of p · m.'),
  overlap: z
    .enum(['keep', 'first'])
    .optional()
    .describe('Images that several parts hold: `keep` them in each, counted; `first`: only the first part that has one keeps it, in the order balanced, retrieved, raw. Rows of the pool are compared by row, raw parts by content id. Default: kept and not counted.'),
  phases: z.array(PhaseConfig).min(1).optional().describe('Warm-up or curriculum: other ratios from a step on. Shares are exact within each phase.'),
});
export type MixConfig = z.infer<typeof MixConfig>;
