import { describe, expect, it } from 'vitest';
import { parseRecipe } from '../../src/config.ts';
import { planRecipe } from '../../src/plan/plan.ts';
import { TYPICAL_RATES } from '../../src/plan/typical.ts';

const seeds = { sources: [{ folder: './s' }] };

function planOf(retrieve: object[], parts: Record<string, number>, images = 20_000_000) {
  const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 'p', pool: [{ folder: '.' }], cluster: { levels: [50_000, 5_000] }, retrieve }, 'test');
  const execution = { concurrency: 2, threads: 2, blockRows: 8192, memoryBytes: 384 * 2 ** 20 };
  return planRecipe({ recipe, execution, images, d: 396, imageBytes: 10_000, textBytes: 40, parts, workers: 1, watts: 100, pricePerHour: null, rates: TYPICAL_RATES });
}

describe('the cost of retrieval', () => {
  it('counts a fit once for all sets that share it, none for a level of the tree, and rows up to the cap', () => {
    const { stages } = planOf([{ name: 'a', ...seeds, cluster: {} }, { name: 'b', ...seeds, cluster: { cap: 5000 } }, { name: 'c', ...seeds, cluster: { level: 2 } }], { a: 3000, b: 3000, c: 3000 });
    const { steps } = stages.find(({ stage }) => stage === 'retrieve')!;
    const names = steps.map(({ name }) => name);
    expect(names.filter((name) => name.startsWith('clusters-100000: ')).length).toBeGreaterThan(0);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !name.includes(': '))).toEqual(['a', 'b', 'c']);
    const step = (name: string) => steps.find((one) => one.name === name)!;
    expect(step('a')).toMatchObject({ flop: 2 * 3000 * 100_000 * 396, tasks: 1 + Math.ceil(1_000_000 / 65_536) });
    expect(step('b').tasks).toBe(2);
    expect(step('c').flop).toBe(2 * 3000 * 50_000 * 396);
    const rows = stages.find(({ stage }) => stage === 'shard')!.steps;
    expect(rows.find(({ name }) => name === 'a')!.tasks).toBe(Math.ceil(1_000_000 / 65_536));
    expect(rows.find(({ name }) => name === 'b')!.tasks).toBe(1);
  });

  it('counts prompts in the recipe', () => {
    const { stages, assumptions } = planOf([{ name: 'words', prompts: ['a cat', 'a dog'], text: { model: './t.onnx' }, k: 10 }], {}, 1_000_000);
    expect(stages.find(({ stage }) => stage === 'retrieve')!.steps).toMatchObject([{ name: 'words', flop: 2 * 2 * 1_000_000 * 396 }]);
    expect(assumptions.join()).not.toMatch(/words/);
  });
});
