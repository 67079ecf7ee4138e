/** Arithmetic of a plan: goldens that can be checked by hand, and laws. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WinnowError } from '../../src/errors.ts';
import { type Recipe, loadRecipe, parseRecipe } from '../../src/config.ts';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { GPUS, ratesWithGpu } from '../../src/plan/devices.ts';
import { type PlanReport, type PlanRequest, footprint, planRecipe } from '../../src/plan/plan.ts';
import { embeddingRowBytes } from '../../src/plan/stage-cost.ts';
import { TYPICAL_RATES } from '../../src/plan/typical.ts';

const EXECUTION = { concurrency: 2, threads: 2, blockRows: 8192, memoryBytes: 384 * 2 ** 20 };

function recipeOf(overrides: Record<string, unknown> = {}): Recipe {
  return parseRecipe({ format: 'winnow-recipe/1', name: 'plan', pool: [{ folder: '.' }], ...overrides }, 'test');
}

function planOf(overrides: Partial<PlanRequest> = {}): PlanReport {
  return planRecipe({ recipe: recipeOf(), execution: EXECUTION, images: 10_000, d: 384, workers: 1, rates: TYPICAL_RATES, watts: 20, pricePerHour: null, parts: {}, imageBytes: 100_000, textBytes: 64, ...overrides });
}

const stageOf = (report: PlanReport, name: string) => report.stages.find(({ stage }) => stage === name)!;

describe('the paper', () => {
  const images = 17e9;
  const lvd = async (changes: Record<string, unknown>, memoryBytes = 2 ** 36): Promise<PlanReport> => {
    const { recipe } = await loadRecipe('pipelines/recipes/lvd-1689m.yaml');
    return planOf({ recipe: { ...recipe, cluster: { ...recipe.cluster, ...changes } }, execution: { ...EXECUTION, memoryBytes }, images, d: 1024, workers: 64, rates: ratesWithGpu(TYPICAL_RATES, GPUS.find(({ name }) => name === 'H100')!) });
  };

  it('has 35 TB of vectors, 259,400 blocks a pass, and its five levels', async () => {
    const report = await lvd({});
    expect(report.vectorBytes).toBe(images * 1024 * 2);
    expect(report.blocks).toBe(259_400);
    expect(report.levels).toEqual([200_000_000, 8_000_000, 800_000, 100_000, 25_000]);
    expect(stageOf(report, 'embed').steps[0]!.tasks).toBe(Math.ceil(images / 4096));
    expect(stageOf(report, 'embed').bytesWritten).toBeGreaterThan(34.8e12);
    expect(stageOf(report, 'embed').bytesWritten).toBeLessThan(37e12);
  });

  it('searches two levels: a pass over √k cells is 5e17 FLOP where brute force takes 7e21', async () => {
    const { steps } = stageOf(await lvd({ splits: 1 }), 'cluster');
    const flopOf = (name: string): number => steps.find((one) => one.name === `level 1, ${name}`)!.flop;
    expect(flopOf('route')).toBeCloseTo(2 * images * 14_142 * 1024, -12);
    expect(flopOf('assignment')).toBeLessThan(1e19);
    expect(2 * images * 200_000_000 * 1024).toBeGreaterThan(6.9e21);
  });

  it('says what does not fit', async () => {
    const { warnings } = await lvd({ splits: 1000 }, EXECUTION.memoryBytes);
    expect(warnings.join('\n')).toMatch(/index of 200,000 cells.*1\.11 TB.*\n.*sample: one task.*17,000,000,000.*\nretrieve retrieved-imagenet-22k: .*read the whole pool/s);
  });

  it('counts energy as the footprint table does: 61,440 H100 hours are 18 t of CO2', () => {
    const { kwh, co2Kg } = footprint(61_440, 700);
    expect(kwh).toBeCloseTo(47_308.8, 1);
    expect(co2Kg / 1000).toBeCloseTo(18.2, 1);
  });
});

describe('goldens', () => {
  it('an unsplit level of fixed size', () => {
    const { steps } = stageOf(planOf({ recipe: recipeOf({ cluster: { levels: [100], iterations: 2, split: { when: 'never' } } }) }), 'cluster');
    const round = steps[0]!;
    // Seeding of 10,000 points with candidates in sixteens, and three assignments.
    expect(round.flop).toBe(2 * 10_000 * 384 * 100 * 16 + 3 * 2 * 10_000 * 100 * 384);
    expect(round.bytesWritten).toBe((100 * 384 + 2 * 10_000) * 4);
    expect(round.bytesRead).toBe(10_000 * embeddingRowBytes(384, 2));
  });

  it('a row of embeddings is as long as a real one', () => {
    const rows = 4096;
    const table = (n: number): number =>
      encodeTable({
        embedding: { type: 'vector', element: 'float16', d: 384, values: new Uint16Array(n * 384) },
        status: { type: 'dictionary', values: new Array<string>(n).fill('ok') },
        id: { type: 'utf8', values: Array.from({ length: n }, (_, i) => i.toString(16).padStart(32, '0')) },
        width: { type: 'uint32', values: new Uint32Array(n) },
        height: { type: 'uint32', values: new Uint32Array(n) },
      }).byteLength;
    expect(table(2 * rows) - table(rows)).toBe(rows * embeddingRowBytes(384, 2));
  });

  it('prices and powers busy hours', () => {
    const report = planOf({ pricePerHour: 2, watts: 500 });
    expect(report.total.cost).toBeCloseTo(report.total.workerHours * 2, 12);
    expect(report.total.kwh).toBeCloseTo(report.total.workerHours * 0.5 * 1.1, 12);
    expect(report.total.co2Kg).toBeCloseTo(report.total.kwh * 0.385, 12);
    expect(report.stages.reduce((sum, { cost }) => sum + cost!, 0)).toBeCloseTo(report.total.cost!, 10);
    expect(planOf().total.cost).toBeNull();
  });
});

describe('laws', () => {
  const images = fc.integer({ min: 3000, max: 50_000_000 });
  const cluster = fc.record({ levels: fc.constantFrom('auto', [2000, 200, 20]), split: fc.constantFrom({ when: 'never' }, { when: 'always' }), resampling: fc.record({ rounds: fc.integer({ min: 0, max: 3 }) }) });

  /** Which steps there are, and how each level is seeded: past 1,024 clusters that goes cell by cell, which is far less work. */
  const regimeOf = ({ stages, levels }: PlanReport): string => JSON.stringify([stages.map(({ steps }) => steps.map(({ name }) => name)), levels.map((k) => k > 1024)]);

  it('more images never take fewer operations or bytes in the same regime', () => {
    const searched = { filters: [{ name: 'soft', blur: {} }, { name: 'licence', cap: { column: 'label', max: 100 } }], dedup: { near: {}, perceptual: {} } };
    const few = fc.double({ min: 8, max: 17.7, noNaN: true }).map((log) => Math.round(Math.exp(log)));
    const more = fc.double({ min: 0, max: 15, noNaN: true }).map((log) => Math.ceil(Math.exp(log)));
    fc.assert(
      fc.property(few, more, cluster, (n, added, config) => {
        const recipe = recipeOf({ cluster: config, ...searched });
        const [less, all] = [planOf({ recipe, images: n }), planOf({ recipe, images: n + added })];
        fc.pre(regimeOf(less) === regimeOf(all));
        // Cells are whole: where the square root of clusters rounds to one more, seeding in all of them is a little less work.
        const whole = config.split.when === 'always' ? 0.995 : 1;
        for (const { stage, flop, bytesRead, bytesWritten } of less.stages) {
          const other = stageOf(all, stage);
          expect(other.flop).toBeGreaterThanOrEqual(flop * whole);
          // Blocks and groups are whole: a few more rows may share one header less.
          expect(other.bytesRead).toBeGreaterThanOrEqual(bytesRead * 0.98);
          expect(other.bytesWritten).toBeGreaterThanOrEqual(bytesWritten * 0.98);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('workers divide hours as far as there are tasks, and change no worker-hour, operation or byte', () => {
    fc.assert(
      fc.property(images, cluster, fc.integer({ min: 2, max: 1000 }), (n, config, workers) => {
        const recipe = recipeOf({ cluster: config });
        const [one, many] = [planOf({ recipe, images: n }), planOf({ recipe, images: n, workers })];
        expect({ ...many.total, hours: 0 }).toEqual({ ...one.total, hours: 0 });
        expect(one.total.hours).toBeCloseTo(one.total.workerHours, 9);
        expect(many.total.hours).toBeLessThanOrEqual(one.total.hours);
        expect(many.total.hours * workers).toBeGreaterThanOrEqual(one.total.hours * (1 - 1e-9));
        const { steps } = stageOf(many, 'embed');
        const [embed] = steps;
        expect(stageOf(many, 'embed').hours).toBeCloseTo(embed!.seconds / Math.min(workers, embed!.tasks) / 3600, 9);
      }),
      { numRuns: 40 },
    );
  });

  it('the sum of the stages is the total, and every figure is finite', () => {
    fc.assert(
      fc.property(images, cluster, (n, config) => {
        const { stages, total } = planOf({ recipe: recipeOf({ cluster: config }), images: n });
        for (const key of ['tasks', 'flop', 'bytesRead', 'bytesWritten', 'hours', 'workerHours', 'kwh'] as const) {
          expect(stages.reduce((sum, stage) => sum + stage[key], 0) / total[key]).toBeCloseTo(1, 9);
          expect(Number.isFinite(total[key])).toBe(true);
        }
        expect(total.peakBytes).toBe(Math.max(...stages.map(({ peakBytes }) => peakBytes)));
      }),
      { numRuns: 40 },
    );
  });

  it('a GPU is never slower than two cores, whatever the stage', () => {
    const rates = ratesWithGpu(TYPICAL_RATES, GPUS.find(({ name }) => name === 'A100')!);
    const recipe = recipeOf({ embed: { model: './dinov2-base' } });
    const [cpu, gpu] = [planOf({ recipe, images: 1e6, d: 768 }), planOf({ recipe, images: 1e6, d: 768, rates })];
    for (const { stage, hours } of cpu.stages) expect(stageOf(gpu, stage).hours).toBeLessThanOrEqual(hours * (1 + 1e-9));
    expect(stageOf(gpu, 'embed').hours).toBeLessThan(stageOf(cpu, 'embed').hours / 7);
  });
});

describe('filters and the search for copies', () => {
  const rowBytes = embeddingRowBytes(384, 2);
  const searched = { filters: [{ name: 'thin', size: { sideMin: 64 } }, { name: 'soft', blur: {} }, { name: 'licence', cap: { column: 'meta.licence', max: 10 } }], dedup: { near: {}, perceptual: {} } };

  it('are no stages where the recipe has none', () => {
    expect(planOf().stages.map(({ stage }) => stage)).toEqual(['ingest', 'embed', 'cluster', 'sample', 'mix', 'shard']);
  });

  it('read every row once, and every image again for pixels and for hashes', () => {
    const report = planOf({ recipe: recipeOf(searched) });
    expect(report.stages.map(({ stage }) => stage).slice(1, 5)).toEqual(['embed', 'filter', 'dedup', 'cluster']);
    const [rules, caps] = stageOf(report, 'filter').steps;
    expect(rules!.bytesRead).toBe(10_000 * (rowBytes + 64 + 41 + 100_000));
    expect(rules).toMatchObject({ name: 'rules', tasks: Math.ceil(10_000 / 4096) });
    expect(caps!.name).toBe('caps');
    expect(stageOf(report, 'dedup').steps.map(({ name }) => name)).toEqual(['hashes', 'hash pairs', 'ids', 'cells', 'search', 'groups', 'survivors']);
    // One cell: all pairs are compared.
    expect(stageOf(report, 'dedup').steps.find(({ name }) => name === 'search')!.flop).toBe(2 * 10_000 ** 2 * 384);
    expect(report.assumptions.join('\n')).toMatch(/take nothing out/);
  });

  it('compare a twentieth of all pairs past brute force, and as many as the recipe says', () => {
    const n = 1_000_000;
    const searchOf = (near: object): number => stageOf(planOf({ recipe: recipeOf({ dedup: { near } }), images: n }), 'dedup').steps.find(({ name }) => name === 'search')!.flop;
    const routing = 2 * n * 4000 * 384;
    expect(searchOf({})).toBeCloseTo(2 * n * n * 0.05 * 384 + routing, -6);
    expect(searchOf({ probes: 40 })).toBeCloseTo(2 * n * n * 0.01 * 384 + routing, -6);
    expect(searchOf({ cells: 4000, probes: 4000 })).toBeCloseTo(2 * n * n * 384 + routing, -6);
  });

  it('hold evaluation sets against the pool, and embed them', () => {
    const recipe = recipeOf({ decontaminate: [{ name: 'val', sources: [{ folder: './val' }] }] });
    const report = planOf({ recipe, parts: { val: 500 } });
    expect(stageOf(report, 'embed').steps.map(({ name }) => name)).toEqual(['pool', 'val']);
    expect(stageOf(report, 'dedup').steps[0]).toMatchObject({ name: 'against val', flop: 2 * 500 * 10_000 * 384 });
    expect(planOf({ recipe }).assumptions.join('\n')).toMatch(/val are not counted: say --part val=COUNT/);
  });

  it('say what they do not count', () => {
    const filters = [{ name: 'mine', command: { run: ['true'], version: '1' } }];
    expect(planOf({ recipe: recipeOf({ filters, dedup: { near: { embed: {} } } }) }).warnings.join('\n')).toMatch(/programs and models of mine .*\n.*dedup\.near\.embed/);
  });

  it('start once a stage, whatever the number of images', () => {
    const start = { ...TYPICAL_RATES.start, filter: 100 };
    const more = planOf({ recipe: recipeOf(searched), rates: { ...TYPICAL_RATES, start } });
    const usual = planOf({ recipe: recipeOf(searched) });
    expect((stageOf(more, 'filter').hours - stageOf(usual, 'filter').hours) * 3600).toBeCloseTo(100 - TYPICAL_RATES.start.filter, 6);
    expect(stageOf(more, 'dedup').hours).toBe(stageOf(usual, 'dedup').hours);
  });
});

describe('what it has to be told', () => {
  const seeds = { retrieve: [{ name: 'flowers', sources: [{ folder: './seeds' }] }], raw: [{ name: 'imagenet-1k', sources: [{ folder: './raw' }] }] };

  it('counts sets by name, by publication, or not at all and says so', () => {
    const recipe = recipeOf(seeds);
    const unknown = planOf({ recipe });
    expect(unknown.assumptions.join('\n')).toMatch(/flowers are not counted: say --part flowers=COUNT/);
    expect(unknown.assumptions.join('\n')).toMatch(/imagenet-1k has 1,281,167 images, as published/);
    expect(unknown.stages.map(({ stage }) => stage)).not.toContain('retrieve');
    const told = planOf({ recipe, parts: { flowers: 500, 'imagenet-1k': 10 } });
    expect(stageOf(told, 'retrieve')).toMatchObject({ tasks: 1, flop: 2 * 500 * 10_000 * 384 });
    expect(stageOf(told, 'embed').steps.map(({ name }) => name)).toEqual(['pool', 'flowers', 'imagenet-1k']);
  });

  it.each<[string, Partial<PlanRequest>, RegExp]>([
    ['a part that is not in the recipe', { recipe: recipeOf(seeds), parts: { flower: 1 } }, /--part to name .*\(flowers, imagenet-1k\), got "flower": did you mean "flowers"\?/],
    ['a model of unknown width', { recipe: recipeOf({ embed: { model: './mine.onnx' } }), d: null }, /Expected --dims.*\.\/mine\.onnx/],
    ['fewer images than clusters', { recipe: recipeOf({ cluster: { levels: [20_000] } }) }, /--images 10000.*20000/],
  ])('%s is one sentence', (_, overrides, sentence) => {
    expect(() => planOf(overrides)).toThrow(WinnowError);
    expect(() => planOf(overrides)).toThrow(sentence);
  });

  it('tells dimensions from the model', () => {
    expect(planOf({ d: null }).d).toBeGreaterThan(100);
    expect(planOf({ d: null, recipe: recipeOf({ embed: { model: 'hf:onnx-community/dinov2-large' } }) })).toMatchObject({ d: 1024 });
  });
});
