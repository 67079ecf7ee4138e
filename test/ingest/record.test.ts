import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonText, parseJson, recordOf } from '../../src/ingest/record.ts';

describe('JSON of a record', () => {
  it('is what JSON.parse reads back, keys sorted, for any value', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), (value) => {
        const names = Object.keys(value);
        const text = jsonText(recordOf(names, (i) => value[names[i]!]), names);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(jsonText({ value: parseJson(text) }, ['value'])).toBe(`{"value":${text}}`);
      }),
      { numRuns: 50 },
    );
    expect(jsonText({ b: 1, a: [2], C: null }, ['b', 'a', 'C'])).toBe('{"C":null,"a":[2],"b":1}');
  });

  it('keeps every digit of long integers, at any depth, and touches no text or fraction', () => {
    const digits = fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n });
    fc.assert(
      fc.property(digits, digits, fc.string(), fc.double({ noNaN: true, noDefaultInfinity: true }), (a, b, text, fraction) => {
        const source = `{"a":${a},"b":[{"c":${b}}],"d":${JSON.stringify(`${text} ${a}`)},"e":${JSON.stringify(fraction)},"f":"${a}"}`;
        const value = parseJson(source) as Record<string, unknown>;
        expect(jsonText(value, Object.keys(value))).toBe(source);
      }),
    );
    expect(parseJson('{"x":0.12345678901234567890,"y":1e-1234567890123456789,"z":1234567890123456.5}')).toEqual({ x: 0.12345678901234568, y: 0, z: 1234567890123456.5 });
  });

  it('holds columns named like what objects inherit', () => {
    const names = ['__proto__', 'constructor', 'toString'];
    expect(jsonText(recordOf(names, (i) => `v${i}`), names)).toBe('{"__proto__":"v0","constructor":"v1","toString":"v2"}');
  });
});
