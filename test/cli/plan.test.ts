/** `winnow plan` as its user meets it: the table, the JSON, and one sentence for each mistake. */
import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type PlanOptions, plan } from '../../src/cli/plan.ts';
import { loadRecipe, parseRecipe } from '../../src/config.ts';
import type { PlanReport } from '../../src/plan/plan.ts';
import { TYPICAL_RATES } from '../../src/plan/typical.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-plan-'));
const rates = join(folder, 'rates.json');
await writeFile(rates, JSON.stringify(TYPICAL_RATES));
afterAll(() => rm(folder, { recursive: true, force: true }));

async function planOf(overrides: Partial<PlanOptions> = {}): Promise<{ text: string; json: PlanReport & { device: string; watts: number; rates: string[] } }> {
  const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'plan', pool: [{ folder: '.' }] }, 'test');
  const { text, json } = await plan({ loaded: { recipe, baseDirectory: folder }, images: 20_000, dims: 384, workers: 1, gpu: null, price: null, rates, parts: [], imageBytes: 100_000, watts: null, ...overrides });
  return { text, json: json as PlanReport & { device: string; watts: number; rates: string[] } };
}

describe('plan', () => {
  it('has a row a stage and a step, the total, and where the rates are from', async () => {
    const { text, json } = await planOf();
    expect(text.split('\n')[0]).toBe('20,000 images of 384 dimensions: 15.4 MB of vectors, 1 block of 65,536 rows a pass; clusters 3,291 / 1,646 / 823 / 411 / 206');
    for (const { stage } of json.stages) expect(text).toMatch(new RegExp(`^${stage} .*\\d`, 'm'));
    expect(text).toMatch(/^ {2}level 1, round 0, in memory /m);
    expect(text).toMatch(/^total /m);
    expect(text).not.toContain('cost');
    expect(text).toContain(`Rates: measured on 2 cores of ${TYPICAL_RATES.machine.cpu} (${rates})`);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
    expect(json).toMatchObject({ images: 20_000, d: 384, workers: 1, watts: 20, device: expect.stringContaining('2 cores') });
    expect(json.stages[2]!.steps[0]).toEqual({ name: 'pilot', tasks: 1, flop: expect.any(Number), bytesRead: expect.any(Number), bytesWritten: 0, peakBytes: expect.any(Number), seconds: expect.any(Number) });
  });

  it('plans the whole of the paper on GPUs, with a price', async () => {
    const { text, json } = await planOf({ loaded: await loadRecipe('pipelines/recipes/lvd-1689m.yaml'), images: 17e9, dims: 1024, workers: 256, gpu: 'h100', price: 2.5 });
    expect(text).toMatch(/^17,000,000,000 images of 1,024 dimensions: 34\.8 TB of vectors, 259,400 blocks.*200,000,000 \/ 8,000,000 \/ 800,000 \/ 100,000 \/ 25,000$/m);
    expect(text).toMatch(/256 workers, each H100 and 16 cores, 700 W/);
    expect(text).toMatch(/public figures of the H100, 495 TFLOP\/s dense TF32 at 40 %/);
    expect(json.stages.map(({ stage }) => stage)).toEqual(['ingest', 'embed', 'cluster', 'sample', 'retrieve', 'mix', 'shard']);
    expect(json.total.cost).toBeCloseTo(json.total.workerHours * 2.5, 3);
    expect(text).toContain('cost');
  });

  it('takes what is told: power, parts, dimensions by name', async () => {
    const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'plan', pool: [{ folder: '.' }], embed: { model: './vit-small.onnx' }, retrieve: [{ name: 'seeds', sources: [{ folder: './s' }] }] }, 'test');
    const { text, json } = await planOf({ loaded: { recipe, baseDirectory: folder }, dims: null, parts: ['seeds=1.2e3'], watts: 321 });
    expect(json).toMatchObject({ d: 384, watts: 321 });
    expect(json.stages.find(({ stage }) => stage === 'retrieve')).toMatchObject({ tasks: 2 });
    expect(text).toContain('Assumed: ./vit-small.onnx gives 384 dimensions, by its name');
  });

  it.each<[string, Partial<PlanOptions>, RegExp]>([
    ['a GPU nobody knows', { gpu: 'H10' }, /--gpu to be one of V100, .*got "H10": did you mean "(A10|H100)"\?/],
    ['a part without a count', { parts: ['seeds'] }, /--part as NAME=COUNT.*got "seeds"/],
    ['a part with half an image', { parts: ['seeds=0.5'] }, /--part as NAME=COUNT.*got "seeds=0\.5"/],
    ['rates that are not there', { rates: '/nowhere.json' }, /\/nowhere\.json, found none/],
  ])('%s is one sentence', async (_, overrides, sentence) => {
    await expect(planOf(overrides)).rejects.toThrow(sentence);
  });
});
