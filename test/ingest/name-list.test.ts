import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type NameList, createNameList } from '../../src/ingest/name-list.ts';

const listOf = (names: readonly string[]): NameList => {
  const list = createNameList();
  for (const name of names) list.push(name);
  return list;
};
const namesIn = (list: NameList): string[] => Array.from({ length: list.length }, (_, i) => list.at(i));

/** Code points on both sides of every length of UTF-8, of the surrogates and of the highest that one code unit holds. */
const EDGES = ['\u0001', '!', '/', '0', 'a', '\u007F', '\u0080', '\u07FF', '\u0800', '\uD7FF', '\uE000', '\uEFFF', '\uF000', '\uFFFC', '\uFFFD', '\uFFFE', '\uFFFF', '\u{10000}', '\u{10FFFF}', '\u{1F600}', '\u{1F601}'];
const edge = fc.string({ unit: fc.constantFrom(...EDGES), minLength: 1, maxLength: 5 });
const name = fc.oneof(edge, fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }));
/** Many of them begin alike, and some are the beginning of others. */
const names = fc.oneof(
  fc.array(name, { maxLength: 200 }),
  fc.tuple(edge, fc.array(fc.string({ unit: fc.constantFrom(...EDGES), maxLength: 3 }), { maxLength: 200 })).map(([start, ends]) => ends.map((end) => start + end)),
);

describe('a list of names', () => {
  it('gives names in the order they came, and sorted as strings are', () => {
    fc.assert(
      fc.property(names, (all) => {
        const list = listOf(all);
        expect(namesIn(list)).toEqual(all);
        list.sort();
        expect(namesIn(list)).toEqual([...all].sort());
      }),
      { numRuns: 500 },
    );
  });

  it('puts each pair of edges as strings do, alone, as a beginning, and before a slash', () => {
    for (const a of EDGES) {
      for (const b of EDGES) {
        for (const [x, y] of [[a, b], [`x${a}`, `x${b}`], [a, a + b], [`${a}/`, `${a + b}/`], [`${a}\uFFFF`, `${b}\u0001`]] as const) {
          const list = listOf([x, y]);
          list.sort();
          expect(namesIn(list)).toEqual([x, y].sort());
        }
      }
    }
  });

  it('can be added to once it is sorted, and sorted again', () => {
    fc.assert(
      fc.property(names, names, (first, then) => {
        const list = listOf(first);
        list.sort();
        for (const one of then) list.push(one);
        list.sort();
        expect(namesIn(list)).toEqual([...first, ...then].sort());
      }),
    );
  });

  it('finds what comes after a name, whether it is there or not, and knows folders', () => {
    fc.assert(
      fc.property(names, name, (all, other) => {
        const list = listOf(all);
        list.sort();
        const sorted = [...all].sort();
        for (const wanted of [other, '', ...all]) {
          const next = sorted.findIndex((one) => one > wanted);
          expect(list.firstAfter(wanted)).toBe(next < 0 ? sorted.length : next);
        }
        sorted.forEach((one, i) => expect(list.isFolder(i)).toBe(one.endsWith('/')));
      }),
    );
  });

  it('grows over many names, and over one longer than all before', () => {
    const all = Array.from({ length: 20_000 }, (_, i) => `${(i * 7919) % 20_000}-é`);
    all.splice(7, 0, '\uFFFD'.repeat(50_000));
    const list = listOf(all);
    list.sort();
    expect(namesIn(list)).toEqual([...all].sort());
  });
});
