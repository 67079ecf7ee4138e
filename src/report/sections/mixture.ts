/** The mixture, and what a training run would see of it. */
import { z } from 'zod';
import { simulate } from '../../batch/simulate.ts';
import { BatchConfig } from '../../batch/config.ts';
import { homogeneousOf } from '../../mix/mixture.ts';
import type { ReportFacts } from '../facts.ts';
import { cell, cite, derive, percent, renderTable } from '../table.ts';
import { type Section, section } from './section.ts';

/** Null before the mix stage is done. @param steps of the run that is rehearsed */
export function mixtureSection({ mixture, dataset }: ReportFacts, steps: number): Section | null {
  if (mixture === null) return null;
  const { mixtureParts, mixture: draws } = mixture.manifest;
  const alone = homogeneousOf(draws);
  const isList = Array.isArray(draws.homogeneous);
  const rows = mixtureParts.map(({ name, kind }, p) => {
    const [h, r] = [alone.findIndex(({ part }) => part === name), draws.heterogeneous.findIndex(({ part }) => part === name)];
    return [
      cell(name), kind, cite(mixture, `/mixtureParts/${p}/rows`), cite(mixture, `/mixtureParts/${p}/uniqueImages`),
      h < 0 ? '–' : cite(mixture, `/mixture/homogeneous${isList ? `/${h}` : ''}/probability`, percent),
      r < 0 ? '–' : cite(mixture, `/mixture/heterogeneous/${r}/ratio`, percent),
    ];
  });
  const parts = renderTable({ caption: 'Parts of the training set', head: ['part', 'kind', 'rows', 'different images', 'batches of it alone', 'share of the other batches'], rows, numbers: [2, 3, 4, 5] });
  const phases = draws.phases === undefined || draws.phases.length === 0 ? '' : `<p>The recipe has ${derive(draws.phases.length, 'mixture/manifest.json#/mixture/phases')} later phases; the rehearsal below goes by all of them.</p>`;
  return section('mixture', ['Training', 'What a training run would see'], `${parts}${phases}${dataset === null ? '' : rehearsal({ dataset }, steps)}`, ['mixture/manifest.json', ...(dataset === null ? [] : ['dataset/manifest.json'])]);
}

function rehearsal({ dataset }: { dataset: NonNullable<ReportFacts['dataset']> }, steps: number): string {
  const parsed = z.object({ batch: BatchConfig, seed: z.number() }).safeParse(dataset.manifest.lineage['recipe']);
  const { size: batchSize } = parsed.success ? parsed.data.batch : BatchConfig.parse({});
  const seed = parsed.success ? parsed.data.seed : 0;
  const parts = dataset.manifest.parts.map(({ name, rows, uniqueImages, shards }) => ({ name, rows, uniqueImages, shards: shards.length, imageBytes: null }));
  const run = simulate(parts, { mixture: dataset.manifest.mixture, seed, batchSize, steps, windowSteps: 100, rate: null });
  const source = `dataset/manifest.json#/mixture over ${steps} steps of ${batchSize}`;
  const two = (value: number): string => value.toFixed(2);
  const rows = run.parts.map((part) => [cell(part.name), derive(part.images, source), derive(part.share, source, percent), derive(part.passes, source, two), derive(part.repeatsPerImage, source, two), derive(part.seen, source, percent)]);
  return `<h3>A run of ${derive(steps, '--steps')} steps of ${derive(batchSize, 'dataset/manifest.json#/lineage/recipe/batch/size')} images</h3>
<p>${derive(run.homogeneousShare, source, percent)} of the steps are drawn from one part alone.</p>
${renderTable({ caption: 'Counted by the schedule, without drawing', head: ['part', 'images drawn', 'share', 'passes', 'times an image is seen', 'rows seen'], rows, numbers: [1, 2, 3, 4, 5] })}`;
}
