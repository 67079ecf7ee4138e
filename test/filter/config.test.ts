import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { FilterConfig, kindOf } from '../../src/filter/config.ts';
import { lineageRecipe, parseRecipe } from '../../src/config.ts';

const recipe = (filters: unknown): ReturnType<typeof parseRecipe> => parseRecipe({ format: 'winnow-recipe/1', name: 'r', pool: [{ folder: './p' }], filters }, 'r.yaml');
const message = (filters: unknown): string => {
  try {
    recipe(filters);
  } catch (error) {
    return (error as Error).message;
  }
  return '';
};

describe('filters of a recipe', () => {
  it.each([
    [[{ name: 'A', blur: {} }], 'filters.0.name: lower-case letters, digits and "-" only, got "A"'],
    [[{ name: 'a' }], 'expected exactly one of size, blur, flat, score, allow, deny, command, cap beside the name, got none'],
    [[{ name: 'a', blur: {}, flat: {} }], 'got blur and flat'],
    [[{ name: 'a', blur: { sharpness: 3 } }], 'filters.0.blur has no key "sharpness": did you mean "sharpnessMin"?'],
    [[{ name: 'a', size: {} }], 'filters.0.size: expected at least one limit'],
    [[{ name: 'a', deny: {} }], 'filters.0.deny: expected ids, uris or file'],
    [[{ name: 'a', blur: {} }, { name: 'a', flat: {} }], 'two filters are named "a"'],
    [[{ name: 'c', cap: { column: 'label', max: 3 } }, { name: 'a', flat: {} }], 'expected caps after all other filters, got "a" after the cap "c"'],
    [[{ name: 'f', flat: {} }, { name: 'c', cap: { column: 'label', max: 3, by: { score: 'f' } } }], 'by the score "f", which no filter gives; scores: f.deviation, f.entropy'],
    [[{ name: 'c', cap: { column: 'licence', max: 3 } }], 'filters.0.cap.column: expected label, source or meta.<key>, got "licence"'],
    [[{ name: 's', score: { model: 'm.onnx', on: 'pixels' } }], 'filters.0.score.output: expected the name of an output beside on: pixels'],
    [[{ name: 's', score: { model: 'm.onnx', min: 2, max: 1 } }], 'filters.0.score.min: expected min to be at most max (1)'],
    [[{ name: 'c', command: { run: ['x'] } }], 'filters.0.command.version'],
  ])('%j is refused in one line', (filters, expected) => {
    expect(message(filters)).toContain(expected);
    expect(message(filters)).not.toContain('\n');
  });

  it('stand in the lineage without places of this machine, and not at all where there are none', () => {
    const { filters } = lineageRecipe(
      recipe([
        { name: 's', score: { model: '/home/me/head.onnx', min: 1 } },
        { name: 'h', score: { model: 'hf:a/b', min: 1 } },
        { name: 'd', deny: { file: '/home/me/list.txt', uris: ['x*'] } },
        { name: 'c', command: { run: ['/home/me/f.py'], version: '3' } },
      ]),
    ) as { filters: unknown };
    expect(JSON.stringify(filters)).not.toContain('/home');
    expect(filters).toMatchObject([{ name: 's', score: { min: 1 } }, { score: { model: 'hf:a/b' } }, { deny: { file: true, uris: ['x*'] } }, { command: { version: '3' } }]);
    expect(lineageRecipe(recipe([]))).not.toHaveProperty('filters');
  });
});

it('the kinds that the README shows are valid, and every kind is among them', () => {
  const text = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const [, shown] = /^```yaml filters\n([\s\S]*?)^```/m.exec(text)!;
  const { filters } = recipe(parse(shown!));
  const kinds = Object.keys(FilterConfig.shape).filter((key) => key !== 'name');
  expect([...new Set(filters.map(kindOf))].sort()).toEqual(kinds.filter((kind) => kind !== 'allow').sort());
});
