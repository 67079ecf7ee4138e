import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_SLABS, createSlabs } from '../../src/batch/slabs.ts';

const MIB = 2 ** 20;

describe('createSlabs', () => {
  it('gives memory that is large enough and nobody else\'s, and makes no more of it than was taken at once', () => {
    const steps = fc.array(fc.oneof(fc.record({ take: fc.integer({ min: 0, max: 5 * MIB }) }), fc.record({ give: fc.nat(10) })), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (taken) => {
        const slabs = createSlabs();
        const out: SharedArrayBuffer[] = [];
        const seen = new Set<SharedArrayBuffer>();
        let most = 0;
        let grown = 0;
        for (const step of taken) {
          if ('give' in step) slabs.give(out.splice(step.give % Math.max(1, out.length), 1));
          else {
            const slab = slabs.take(step.take)!;
            expect(slab.byteLength).toBeGreaterThanOrEqual(step.take);
            expect(slab.byteLength).toBeLessThan(Math.max(step.take + MIB, 6 * MIB));
            expect(out).not.toContain(slab);
            if (!seen.has(slab)) grown++;
            seen.add(slab);
            out.push(slab);
            most = Math.max(most, out.length);
          }
        }
        // A slab is made where none was free, or in the place of one that was too small: at most once for each whole MiB it grows by.
        expect(grown).toBeLessThanOrEqual(most * 6);
      }),
      { numRuns: 200 },
    );
  });

  it('has the same memory again once it was given back', () => {
    const slabs = createSlabs();
    const first = slabs.take(1000)!;
    slabs.give([first]);
    expect(slabs.take(MIB)).toBe(first);
    expect(slabs.take(1)).not.toBe(first);
    slabs.give([new ArrayBuffer(8)]); // what a thread allocated for itself is not kept
    expect(slabs.take(1)).toBeInstanceOf(SharedArrayBuffer);
    expect(NO_SLABS.take(1000)).toBeNull();
  });
});
