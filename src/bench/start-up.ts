/**
 * What each stage takes in a process that has just begun, before any amount of work: code is compiled at its first use,
 * sessions and threads are opened, manifests are written. Measured once, since the second time much of it is there.
 */
import { join } from 'node:path';
import { curate, sourcesOf } from '../../pipelines/curate.ts';
import { type LoadedRecipe, RECIPE_FORMAT, parseRecipe } from '../config.ts';
import { type Log, SILENT } from '../log.ts';
import { drawPictures } from './pictures.ts';
import { STARTED_STAGES, type Rates } from './rates.ts';
import { type Workbench, openContext } from './workbench.ts';

/** So few that their own work takes next to nothing. */
const PICTURES = 16;

/** The whole road over a handful of pictures, every stage in it. To be asked before anything else runs in the process. */
export async function measureStartUp(bench: Workbench): Promise<Rates['start']> {
  const { scratch, signal } = bench;
  const { folder } = await drawPictures(bench, 'start-up', PICTURES);
  const loaded: LoadedRecipe = {
    recipe: parseRecipe({
      format: RECIPE_FORMAT, name: 'start-up', pool: [{ folder }], embed: { maxDropRatio: 1 },
      filters: [{ name: 'blur', blur: { sharpnessMin: 0 } }], dedup: { near: { threshold: 0.9999 } },
      retrieve: [{ name: 'like', sources: [{ name: 'seeds', folder }], k: 1 }],
    }, 'the recipe of the calibration'),
    baseDirectory: scratch,
  };
  const seconds = Object.fromEntries(STARTED_STAGES.map((stage) => [stage, 0])) as Rates['start'];
  const debug = ({ event, stage, seconds: took }: { event?: string; stage?: string; seconds?: number }): void => {
    const started = STARTED_STAGES.find((one) => one === (stage === 'survivors' ? 'dedup' : stage));
    if (event === 'stage' && started !== undefined) seconds[started] += took ?? 0;
  };
  const context = await openContext(join(scratch, 'store-start-up'), { signal, locations: sourcesOf(loaded).locations });
  try {
    await curate({ ...context, log: { ...SILENT, debug } as unknown as Log }, loaded);
  } finally {
    await context.close();
  }
  return seconds;
}
