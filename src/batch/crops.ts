/**
 * Crop sizes of a step: one keyed draw that all ranks share (the GLOBAL_HOMOGENEOUS mode of the public loader, whose draws
 * start again on resume; reference section 4.4). It is independent of what the batch holds.
 */
import { randomStream } from '../random.ts';
import type { CropSizes } from './config.ts';

/** The mixed-resolution phase of DINOv3 (vit7b16_high_res_adapt; reference section 4.5). */
export const PAPER_CROPS: readonly CropSizes[] = [
  { global: 512, local: 112, gram: 768, probability: 0.3 },
  { global: 768, local: 112, gram: 1152, probability: 0.3 },
  { global: 768, local: 168, gram: 1152, probability: 0.3 },
  { global: 768, local: 224, gram: 1152, probability: 0.05 },
  { global: 768, local: 336, gram: 1152, probability: 0.05 },
];

/** @returns sizes by step; null without a table */
export function createCrops(table: readonly CropSizes[] | 'paper' | null, seed: number): (step: number) => CropSizes | null {
  if (table === null) return () => null;
  const rows = table === 'paper' ? PAPER_CROPS : table;
  const draws = randomStream(seed, 'batch', 'crops');
  const total = rows.reduce((sum, { probability }) => sum + probability, 0);
  return (step) => {
    let left = draws.uniform(step) * total;
    return rows.find(({ probability }) => (left -= probability) < 0) ?? rows.at(-1)!;
  };
}
