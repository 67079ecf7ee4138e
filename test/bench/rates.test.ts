/** Rates: what a file must hold, and how a rate is found between measured ones. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rateAt, ratesPath, readRates } from '../../src/bench/rates.ts';
import { TYPICAL_RATES } from '../../src/plan/typical.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('readRates', () => {
  const write = async (text: string): Promise<string> => {
    const path = join(await temporaryFolder('rates'), 'rates.json');
    await writeFile(path, text);
    return path;
  };

  it('reads what was written', async () => {
    expect(await readRates(await write(JSON.stringify(TYPICAL_RATES)))).toEqual(TYPICAL_RATES);
  });

  it.each<[string, string, RegExp]>([
    ['text', 'no JSON', /Expected rates as JSON/],
    ['another file', '{"format": "other"}', /bench --calibrate.*format/],
    ['a rate of zero', JSON.stringify({ ...TYPICAL_RATES, hash: 0 }), /hash: /],
    ['nothing measured', JSON.stringify({ ...TYPICAL_RATES, assign: [] }), /assign: /],
  ])('%s is one sentence', async (_, text, sentence) => {
    const path = await write(text);
    await expect(readRates(path)).rejects.toThrow(sentence);
    await expect(readRates(path)).rejects.toMatchObject({ code: 'INPUT_MALFORMED' });
  });

  it('names the command that makes a missing file', async () => {
    await expect(readRates('/nowhere/rates.json')).rejects.toThrow(/\/nowhere\/rates\.json, found none: .*bench --calibrate/);
  });
});

describe('rateAt', () => {
  const measured = [{ k: 16, flops: 1e9 }, { k: 256, flops: 4e9 }, { k: 4096, flops: 3e9 }];

  it('is what was measured, and the geometric mean half way', () => {
    for (const { k, flops } of measured) expect(rateAt(measured, k)).toBeCloseTo(flops, -2);
    expect(rateAt(measured, 64)).toBeCloseTo(2e9, -2);
    expect([rateAt(measured, 1), rateAt(measured, 1e9)]).toEqual([1e9, 3e9]);
  });

  it('stays between its neighbours', () => {
    fc.assert(fc.property(fc.double({ min: 16, max: 256, noNaN: true }), (k) => {
      expect(rateAt(measured, k)).toBeGreaterThanOrEqual(1e9 * (1 - 1e-12));
      expect(rateAt(measured, k)).toBeLessThanOrEqual(4e9 * (1 + 1e-12));
    }));
  });
});

it('rates lie in the cache folder', () => {
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = '/caches';
  expect(ratesPath()).toBe('/caches/winnow/rates.json');
  if (before === undefined) delete process.env['XDG_CACHE_HOME'];
  else process.env['XDG_CACHE_HOME'] = before;
});
