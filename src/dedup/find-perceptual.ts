/**
 * Pairs of images with near perceptual hashes, for those who have no model that finds copies: `hashes/` by row, then
 * `hash-pairs/`, tables of `a`, `b` and `similarity` (1 − distance / 64) that dedup takes as edges.
 */
import { type StoredManifest, rowCountOf } from '../run/manifest.ts';
import { type RunContext, runStage } from '../run/stage.ts';
import { type HashRequest, hashImages } from './hash-images.ts';
import { findHashPairs, planHashPairs } from './hash-pairs.ts';
import type { HashesManifest, PerceptualConfig } from './perceptual-hash.ts';

/** Key prefix of the pairs. */
export const HASH_PAIRS = 'hash-pairs';

export interface PerceptualRequest extends Omit<HashRequest, 'config'> {
  readonly config: PerceptualConfig;
}

export interface PerceptualPairs {
  readonly hashes: StoredManifest<HashesManifest>;
  readonly pairs: StoredManifest;
}

/** Another radius keeps the hashes. @throws {WinnowError} when a source of images is gone */
export async function findPerceptual(context: RunContext, request: PerceptualRequest): Promise<PerceptualPairs> {
  const { radius } = request.config;
  const hashes = await hashImages(context, request);
  const { parts } = hashes.manifest;
  const pairs = await runStage(context, {
    path: HASH_PAIRS,
    stage: 'dedup',
    config: { radius },
    inputs: [hashes],
    seeded: false,
    make: async () => {
      const payloads = planHashPairs(hashes, { radius, out: HASH_PAIRS });
      context.progress.begin(HASH_PAIRS, payloads.reduce((sum, { first }) => sum + rowCountOf(parts) - parts[first]!.firstRow, 0), 'images');
      const found = (await context.executor.map(findHashPairs, payloads, HASH_PAIRS)).flatMap((result) => result.pairs);
      let firstRow = 0;
      const numbered = found.map((part) => ({ ...part, firstRow: (firstRow += part.rowCount) - part.rowCount }));
      context.progress.end(`${rowCountOf(numbered)} pairs within ${radius} bits`);
      return { parts: numbered, stats: { pairs: rowCountOf(numbered) } };
    },
  });
  return { hashes, pairs };
}
