import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { type CapLimits, applyLimits, columnValue, findLimits, readCapRows } from '../../src/filter/cap.ts';
import type { CapRule } from '../../src/filter/filter.ts';
import { randomStream } from '../../src/random.ts';
import { type Part, writePart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

interface Row {
  readonly isIn: boolean;
  readonly value: string | null;
  readonly score: number;
}

const NEVER = new AbortController().signal;
const idOf = (row: number): string => (row * 7919 + 13).toString(16).padStart(32, 'f').slice(-32).split('').reverse().join('');
const cap = (settings: object, name = 'c'): CapRule => ({ kind: 'cap', name, identity: {}, cap: { column: 'label', max: 1, by: 'random', missing: 'keep', ...settings } }) as CapRule;

async function writeRows(store: Store, rows: readonly Row[], cuts: number): Promise<Part[]> {
  const parts: Part[] = [];
  for (let from = 0; from < rows.length; from += cuts) {
    const some = rows.slice(from, from + cuts);
    const columns = {
      id: { type: 'utf8', values: some.map((_, i) => idOf(from + i)) },
      in: { type: 'bool', values: Uint8Array.from(some, ({ isIn }) => (isIn ? 1 : 0)) },
      'value.c': { type: 'dictionary', values: some.map(({ value }) => value) },
      'value.second': { type: 'dictionary', values: some.map(({ value }) => (value === null ? null : value.length > 1 ? 'long' : 'short')) },
      'score.s': { type: 'float32', values: Float32Array.from(some, ({ score }) => score) },
    } as const;
    parts.push(await writePart(store, `cut-${cuts}-${rows.length}`, parts, some.length, encodeTable(columns)));
  }
  return parts;
}

/** Rows that stay, by the caps as a whole. */
async function staying(store: Store, parts: readonly Part[], caps: readonly CapRule[], seed = 0): Promise<number[]> {
  const before: { rule: CapRule; limits: CapLimits }[] = [];
  for (const rule of caps) before.push({ rule, limits: await findLimits(store, parts, rule, before, seed, NEVER) });
  const stay: number[] = [];
  for (const part of parts) {
    const rows = await readCapRows(store, part, seed);
    for (const { rule, limits } of JSON.parse(JSON.stringify(before)) as typeof before) applyLimits(rows, rule, limits, (i) => (rows.isIn[i] = 0));
    rows.isIn.forEach((isIn, i) => isIn === 1 && stay.push(part.firstRow + i));
  }
  return stay;
}

/** By sorting everything. */
function bruteForce(rows: readonly Row[], { name, cap: { max, by, missing } }: CapRule, seed: number): number[] {
  const stream = randomStream(seed, 'filter', 'cap', name);
  const key = (row: number): number => (by === 'random' ? stream.uniform(Number.parseInt(idOf(row).slice(0, 13), 16)) : (by.prefer === 'highest' ? -1 : 1) * Math.fround(rows[row]!.score));
  const groups = new Map<string, number[]>();
  const stay: number[] = [];
  rows.forEach(({ isIn, value }, row) => {
    if (!isIn || (value === null && missing === 'reject')) return;
    if (value === null && missing === 'keep') stay.push(row);
    else groups.set(String(value ?? 'nothing at all'), [...(groups.get(String(value ?? 'nothing at all')) ?? []), row]);
  });
  for (const group of groups.values()) stay.push(...group.sort((a, b) => key(a) - key(b) || a - b).slice(0, max));
  return stay.sort((a, b) => a - b);
}

const someRows = fc.array(fc.record({ isIn: fc.boolean(), value: fc.constantFrom('a', 'b', 'cc', '', '__proto__', null), score: fc.constantFrom(0, 1, 2, 0.5) }), { minLength: 1, maxLength: 60 });

describe('caps', () => {
  it('keep what sorting everything keeps, however the rows are cut', async () => {
    const store = await openFsStore(await temporaryFolder('cap'));
    const settings = fc.record({ max: fc.integer({ min: 1, max: 9 }), by: fc.constantFrom('random', { score: 's', prefer: 'highest' }, { score: 's', prefer: 'lowest' }), missing: fc.constantFrom('keep', 'reject', 'cap') });
    await fc.assert(
      fc.asyncProperty(someRows, settings, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 5 }), async (rows, more, cuts, seed) => {
        const rule = cap(more);
        expect(await staying(store, await writeRows(store, rows, cuts), [rule], seed)).toEqual(bruteForce(rows, rule, seed));
      }),
      { numRuns: 120 },
    );
  });

  it('count what the caps before them left', async () => {
    const store = await openFsStore(await temporaryFolder('cap'));
    const rows = Array.from({ length: 40 }, (_, i) => ({ isIn: true, value: ['a', 'b', 'cc', 'dd'][i % 4]!, score: i }));
    const first = cap({ max: 5 });
    const second = cap({ max: 7, by: { score: 's', prefer: 'highest' } }, 'second');
    const stay = await staying(store, await writeRows(store, rows, 7), [first, second]);
    const left = bruteForce(rows, first, 0);
    const expected = [['a', 'b'], ['cc', 'dd']].flatMap((values) => left.filter((row) => values.includes(rows[row]!.value)).sort((a, b) => b - a).slice(0, 7));
    expect(stay).toEqual(expected.sort((a, b) => a - b));
    expect(stay).toHaveLength(14);
  });

  it('draw by content: another seed draws others, and a smaller cap keeps a part of a larger one', async () => {
    const store = await openFsStore(await temporaryFolder('cap'));
    const rows = Array.from({ length: 400 }, () => ({ isIn: true, value: 'a', score: 0 }));
    const parts = await writeRows(store, rows, 64);
    const [small, large, other] = [await staying(store, parts, [cap({ max: 20 })]), await staying(store, parts, [cap({ max: 100 })]), await staying(store, parts, [cap({ max: 20 })], 1)];
    expect(small).toHaveLength(20);
    expect(small.filter((row) => !large.includes(row))).toEqual([]);
    expect(small).not.toEqual(other);
    expect(Math.max(...small) - Math.min(...small)).toBeGreaterThan(100);
  });
});

describe('columnValue', () => {
  it('reads label, source and keys of meta, nested ones too, as text', () => {
    const meta = '{"licence":"CC0","year":1999,"by":{"who":"me"},"free":true,"none":null,"empty":""}';
    const of = (column: string): string | null => columnValue(column, 'pool', 'cat', meta);
    expect(['label', 'source', 'meta.licence', 'meta.year', 'meta.by.who', 'meta.free', 'meta.by'].map(of)).toEqual(['cat', 'pool', 'CC0', '1999', 'me', 'true', '{"who":"me"}']);
    expect(['meta.none', 'meta.empty', 'meta.other', 'meta.licence.x', 'meta.toString'].map(of)).toEqual([null, null, null, null, null]);
    expect(columnValue('meta.a', 'pool', null, 'not json')).toBeNull();
    expect(columnValue('meta.a', 'pool', null, null)).toBeNull();
  });
});
