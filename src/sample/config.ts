/** Settings of the sample stage. */
import { z } from 'zod';
import { PROPORTIONAL } from '../cluster/tree.ts';

/** A count, a share of the pool in (0, 1), or a percentage such as "20%". */
export const Target = z.union([
  z.int().min(1),
  z.number().gt(0).lt(1),
  z.string().regex(/^(100(\.0+)?|\d{1,2}(\.\d+)?)%$/, 'a count, a share between 0 and 1, or a percentage such as "20%"'),
]);
export type Target = z.infer<typeof Target>;

export const SampleConfig = z.strictObject({
  target: Target.default('20%').describe('Images wanted: a count, a share such as 0.2, or "20%" of the clustered images.'),
  depth: z.union([z.literal('auto'), z.int().min(1)]).default('auto').describe('Level whose clusters share the target evenly, 1 is the finest: the dial from density (1) to volume (the top). auto: the top of fixed levels; chosen from the data with cluster.levels: auto.'),
  floor: z.union([z.literal('auto'), z.number().min(0).max(PROPORTIONAL)]).default('auto').describe('Large clusters at that level keep at least floor / (1 + floor) of their proportional share. 0: even quotas, as published. 100: as the pool is. auto: 0 for fixed levels; chosen with cluster.levels: auto.'),
  strategy: z.enum(['random', 'closest', 'furthest']).default('random').describe('Which images of a leaf are taken first. `closest` gives typical images, `furthest` odd ones; `random` did best in the published ablation.'),
  multiplier: z.int().min(1).max(65_535).default(1).describe('How often one image may be taken at most. 1: never twice; more: small clusters are repeated.'),
  strict: z.boolean().default(false).describe('true: fail when the pool cannot give the target. false: the shortfall is a number in the manifest.'),
});
export type SampleConfig = z.infer<typeof SampleConfig>;

const BranchOverride = z
  .strictObject({
    level: z.int().min(1).describe('Level of the cluster, 1 is the finest.'),
    cluster: z.int().min(0).describe('Number of the cluster in its level.'),
    cap: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('The branch gives at most so many images, copies counted.'),
    boost: z.number().min(0.001).max(1000).optional().describe('The branch fills at this many times the rate of its siblings: above 1 more of it is drawn, below 1 less.'),
    exclude: z.literal(true).optional().describe('Nothing of the branch is drawn.'),
  })
  .refine(({ cap, boost, exclude }) => (exclude === true ? cap === undefined && boost === undefined : cap !== undefined || boost !== undefined), 'a cap, a boost or both, or exclude: true alone');
export type BranchOverride = z.infer<typeof BranchOverride>;

/** Curation by hand: what a person decided of single branches of one tree. */
export const OverridesConfig = z.strictObject({
  clusters: z.string().regex(/^[0-9a-f]{64}$/, 'the SHA-256 of clusters/manifest.json, 64 hex digits').describe('SHA-256 of the clusters/manifest.json that the branches are of; the draw fails on any other tree.'),
  branches: z
    .array(BranchOverride)
    .min(1)
    .refine((branches) => new Set(branches.map(({ level, cluster }) => `${level}/${cluster}`)).size === branches.length, 'each branch once')
    .describe('Branches that give at most so much, more, less or nothing.'),
});
export type OverridesConfig = z.infer<typeof OverridesConfig>;

/** The target as a count of images. A share is rounded down, but never to zero. */
export function targetCount(target: Target, poolRows: number): number {
  if (typeof target === 'number') return target >= 1 ? target : Math.max(1, Math.floor(target * poolRows));
  return Math.max(1, Math.floor((Number.parseFloat(target) / 100) * poolRows));
}
