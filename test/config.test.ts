import { describe, expect, it } from 'vitest';
import { RECIPE_FORMAT, parseRecipe } from '../src/config.ts';

const RECIPE = { format: RECIPE_FORMAT, name: 'test', pool: [{ folder: 'pictures' }] };

function messageOf(value: unknown): string {
  try {
    parseRecipe(value, 'r.yaml');
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
}

describe('parseRecipe', () => {
  it('fills in defaults and freezes', () => {
    const recipe = parseRecipe(RECIPE, 'r.yaml');
    expect(recipe.cluster.levels).toBe('auto');
    expect(recipe.embed.model).toBe('descriptor');
    expect(Object.isFrozen(recipe.embed.limits)).toBe(true);
  });

  it.each([
    ['an unknown key, with the right one', { ...RECIPE, embd: {} }, /no key "embd": did you mean "embed"\?/],
    ['an unknown key further in', { ...RECIPE, cluster: { levls: 'auto' } }, /cluster has no key "levls": did you mean "levels"\?/],
    ['a wrong word', { ...RECIPE, cluster: { levels: 'atuo' } }, /cluster\.levels: expected "auto".*got "atuo"/],
    ['a number out of range', { ...RECIPE, sample: { target: -3 } }, /sample\.target.*got -3/],
    ['no source', { ...RECIPE, pool: [] }, /pool/],
    ['two kinds of source in one', { ...RECIPE, pool: [{ folder: 'a', list: 'b' }] }, /exactly one of folder, tars, list, urls, tiles, got folder and list/],
    ['another format', { ...RECIPE, format: 'winnow-recipe/9' }, /format: expected "winnow-recipe\/1", got "winnow-recipe\/9"/],
    ['a mixture of parts that are not made', { ...RECIPE, mix: { homogeneous: { part: 'balance' } } }, /did you mean "balanced"/],
    ['levels that grow', { ...RECIPE, cluster: { levels: [10, 20] } }, /finest to coarsest/],
    ['a sample size for each of the wrong number of levels', { ...RECIPE, cluster: { levels: [20, 10], resampling: { rounds: 1, sampleSize: [1] } } }, /one entry a level \(2\), got 1/],
    ['two parts of one name', { ...RECIPE, raw: [{ name: 'balanced', sources: [{ folder: 'x' }] }] }, /two parts are named "balanced"/],
    ['nothing', null, /expected object, got null/],
  ])('refuses %s', (_, value, expected) => {
    expect(messageOf(value)).toMatch(expected);
  });
});
