import { describe, expect, it } from 'vitest';
import { mix } from '../../pipelines/7-mix.ts';
import { mixParts } from '../../src/mix/mix.ts';
import { MixConfig } from '../../src/mix/config.ts';
import type { MixturePart } from '../../src/mix/mixture.ts';
import { pino } from 'pino';
import { temporaryFolder } from '../helpers/temporary.ts';
import { buildToy, exampleToy } from '../shard/toy-store.ts';

const PARTS: MixturePart[] = [
  { name: 'balanced', kind: 'balanced', rows: 300, uniqueImages: 200 },
  { name: 'near', kind: 'retrieved', rows: 100, uniqueImages: 80 },
  { name: 'imagenet', kind: 'raw', rows: 50, uniqueImages: 50 },
];

const resolve = (config: unknown, parts = PARTS) => mixParts(parts, MixConfig.parse(config));

describe('mixParts', () => {
  it('draws from all parts by size when the recipe says nothing', () => {
    expect(resolve({})).toEqual({
      mixture: { homogeneous: null, heterogeneous: [{ part: 'balanced', ratio: 300 / 450 }, { part: 'near', ratio: 100 / 450 }, { part: 'imagenet', ratio: 50 / 450 }] },
      unused: [],
    });
  });

  it('keeps the homogeneous part out of heterogeneous batches, as the paper does', () => {
    const { mixture, unused } = resolve({ homogeneous: { part: 'imagenet' } });
    expect(mixture).toEqual({ homogeneous: { part: 'imagenet', probability: 0.1 }, heterogeneous: [{ part: 'balanced', ratio: 0.75 }, { part: 'near', ratio: 0.25 }] });
    expect(unused).toEqual([]);
  });

  it('normalises given ratios and lists them in the order of the parts', () => {
    expect(resolve({ heterogeneous: { imagenet: 1, near: 2, balanced: 5 } }).mixture.heterogeneous).toEqual([
      { part: 'balanced', ratio: 0.625 },
      { part: 'near', ratio: 0.25 },
      { part: 'imagenet', ratio: 0.125 },
    ]);
  });

  it('names the parts that no batch draws from', () => {
    expect(resolve({ heterogeneous: { near: 1 } })).toEqual({ mixture: { homogeneous: null, heterogeneous: [{ part: 'near', ratio: 1 }] }, unused: ['balanced', 'imagenet'] });
    expect(resolve({ homogeneous: { part: 'imagenet', probability: 1 } })).toEqual({ mixture: { homogeneous: { part: 'imagenet', probability: 1 }, heterogeneous: [] }, unused: ['balanced', 'near'] });
    expect(resolve({ homogeneous: { part: 'imagenet', probability: 0 } }).unused).toEqual(['imagenet']);
  });

  it('takes one part alone, mixed with nothing or all homogeneous', () => {
    const one = PARTS.slice(0, 1);
    expect(resolve({}, one).mixture.heterogeneous).toEqual([{ part: 'balanced', ratio: 1 }]);
    expect(resolve({ homogeneous: { part: 'balanced', probability: 1 } }, one).mixture.heterogeneous).toEqual([]);
    expect(() => resolve({ homogeneous: { part: 'balanced', probability: 0.1 } }, one)).toThrow(/heterogeneous batches are drawn from, got none: "balanced" is left out as the homogeneous part of probability 0.1/);
  });

  it('weighs parts by size, its root, or a temperature', () => {
    const ratios = (config: object): number[] => resolve(config).mixture.heterogeneous.map(({ ratio }) => ratio);
    const expected = (power: number): number[] => {
      const weights = [300, 100, 50].map((rows) => rows ** power);
      return weights.map((weight) => weight / weights.reduce((a, b) => a + b));
    };
    const close = (found: number[], wanted: number[]): void => found.forEach((ratio, i) => expect(ratio).toBeCloseTo(wanted[i]!, 12));
    close(ratios({ heterogeneous: 'sqrt' }), expected(0.5));
    close(ratios({ heterogeneous: 'temperature' }), expected(0.5));
    close(ratios({ heterogeneous: 'temperature', temperature: 5 }), expected(0.2));
    close(ratios({ heterogeneous: 'temperature', temperature: 1 }), expected(1));
    close(ratios({ heterogeneous: 'temperature', temperature: 1000 }), expected(0.001));
  });

  it('takes several homogeneous parts, each out of the heterogeneous batches', () => {
    const { mixture, unused } = resolve({ homogeneous: [{ part: 'imagenet' }, { part: 'near', probability: 0.05 }], schedule: 'exact' });
    expect(mixture).toEqual({ homogeneous: [{ part: 'imagenet', probability: 0.1 }, { part: 'near', probability: 0.05 }], heterogeneous: [{ part: 'balanced', ratio: 1 }], schedule: 'exact' });
    expect(unused).toEqual([]);
    expect(resolve({ homogeneous: [{ part: 'imagenet', probability: 0.2 }] }).mixture.homogeneous).toEqual({ part: 'imagenet', probability: 0.2 });
    expect(() => resolve({ homogeneous: [{ part: 'imagenet', probability: 0.6 }, { part: 'near', probability: 0.6 }] })).toThrow(/sum to 1 at most, got 1.2/);
    expect(() => resolve({ homogeneous: [{ part: 'near' }, { part: 'near' }] })).toThrow(/name each part once, got "near" twice/);
  });

  it('resolves phases, each keeping what it does not name', () => {
    const { mixture, unused } = resolve({ heterogeneous: { near: 1 }, phases: [{ fromStep: 100, heterogeneous: { balanced: 1, near: 3 } }, { fromStep: 500, homogeneous: { part: 'imagenet', probability: 0.3 } }] });
    expect(mixture).toEqual({
      homogeneous: null,
      heterogeneous: [{ part: 'near', ratio: 1 }],
      phases: [
        { fromStep: 100, homogeneous: null, heterogeneous: [{ part: 'balanced', ratio: 0.25 }, { part: 'near', ratio: 0.75 }] },
        { fromStep: 500, homogeneous: { part: 'imagenet', probability: 0.3 }, heterogeneous: [{ part: 'balanced', ratio: 0.25 }, { part: 'near', ratio: 0.75 }] },
      ],
    });
    expect(unused).toEqual([]);
    expect(() => resolve({ phases: [{ fromStep: 9 }, { fromStep: 9 }] })).toThrow(/begin at ascending steps, got 9 after 9/);
    expect(() => resolve({ phases: [{ fromStep: 9, heterogeneous: { nearby: 1 } }] })).toThrow(/Expected mix\.phases\[0\]\.heterogeneous to name a part/);
  });

  it('refuses a part without rows and names that are not parts', () => {
    const empty = [...PARTS, { name: 'void', kind: 'raw', rows: 0, uniqueImages: 0 } as const];
    expect(() => resolve({}, empty)).toThrow(expect.objectContaining({ code: 'TOO_FEW_ROWS', message: expect.stringContaining('raw part "void"') }));
    expect(() => resolve({ homogeneous: { part: 'imagenot' } })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: 'Expected mix.homogeneous.part to name a part of the dataset (balanced, near, imagenet), got "imagenot"' }));
    expect(() => resolve({ heterogeneous: { nearby: 1 } })).toThrow(/mix.heterogeneous to name a part/);
    expect(() => resolve({ homogeneous: { part: 'near' }, heterogeneous: { near: 1 } })).toThrow(/other parts than the homogeneous one/);
  });
});

describe('the mix stage', () => {
  it('reads sizes from the selections and the raw parts, and counts pairs and copies as rows', async () => {
    const toy = exampleToy();
    const { context, recipe } = await buildToy(toy, await temporaryFolder());
    const { manifest } = await mix(context, recipe({ mix: { homogeneous: { part: 'whole', probability: 0.25 } } }));
    const rows = (entries: readonly { copies: number }[]): number => entries.reduce((sum, { copies }) => sum + copies, 0);
    const unique = (entries: readonly { row: number }[]): number => new Set(entries.map(({ row }) => row)).size;
    expect(manifest.mixtureParts).toEqual([
      { name: 'balanced', kind: 'balanced', rows: rows(toy.balanced), uniqueImages: unique(toy.balanced) },
      { name: 'near', kind: 'retrieved', rows: rows(toy.retrieved['near']!), uniqueImages: unique(toy.retrieved['near']!) },
      { name: 'whole', kind: 'raw', rows: 15, uniqueImages: 15 },
    ]);
    expect(manifest.mixture.homogeneous).toEqual({ part: 'whole', probability: 0.25 });
    expect(manifest.stats).toEqual({ rows: rows(toy.balanced) + rows(toy.retrieved['near']!) + 15, unused: [] });
  });

  it('warns of each part that is in no batch', async () => {
    const { context, recipe } = await buildToy(exampleToy(), await temporaryFolder());
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => lines.push((JSON.parse(line) as { msg: string }).msg) });
    await mix({ ...context, log }, recipe({ mix: { heterogeneous: { near: 1, balanced: 2 } } }));
    expect(lines).toEqual(['mix: no batch draws from the part "whole"; give it a ratio in mix.heterogeneous, or take it out of the recipe']);
  });

  it('says which stage has not run', async () => {
    const { context, recipe } = await buildToy({ ...exampleToy(), retrieved: {} }, await temporaryFolder());
    await expect(mix(context, { ...recipe(), retrieve: [{ name: 'near', sources: [], engine: 'onnxruntime', k: 4 }] })).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringMatching(/selections\/near\/manifest.json.*winnow retrieve/) });
  });
});
