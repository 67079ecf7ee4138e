import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wrapLine } from '../../src/report/wrap.ts';

describe('wrapLine', () => {
  it('leaves short lines alone, and keeps to the columns but for words that are longer', () => {
    expect(wrapLine('  kept most:  a 1/2')).toEqual(['  kept most:  a 1/2']);
    expect(wrapLine('  one two three four', 12)).toEqual(['  one two', '      three', '      four']);
    const words = fc.array(fc.stringMatching(/^[a-z0-9,/]{1,30}$/), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(words, fc.nat(6), fc.integer({ min: 45, max: 120 }), (some, indent, columns) => {
        const lines = wrapLine(`${' '.repeat(indent)}${some.join(' ')}`, columns);
        expect(lines.flatMap((line) => line.trim().split(' '))).toEqual(some);
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
      }),
    );
  });
});
