import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createCalls } from '../../src/embed/calls.ts';
import { CHECK_ONLY } from '../../src/embed/decode.ts';
import type { Encoder, PreprocessSpec } from '../../src/embed/embedding.ts';
import { createRows, type EmbeddingRows } from '../../src/embed/rows.ts';

/** Images of 2 × 1 pixels; the vector of one is its first two bytes, taken when the call ends. */
const SPEC: PreprocessSpec = { ...CHECK_ONLY, resize: { mode: 'exact', width: 2, height: 1 } };
const EXECUTION = { concurrency: 1, threads: 1, blockRows: 1024, memoryBytes: 1 };
const FOREVER = new AbortController().signal;

interface Watched extends Encoder {
  readonly sizes: number[];
  active(): number;
  peak(): number;
}

function watchedEncoder(batchSize: number, until: (call: number) => Promise<void>, type: 'uint8' | 'float32' = 'uint8'): Watched {
  const sizes: number[] = [];
  let active = 0;
  let peak = 0;
  return {
    d: 2, preprocess: { ...SPEC, type }, batchSize, provenance: {}, notice: '', sizes,
    active: () => active,
    peak: () => peak,
    encode: async (tensor, n) => {
      peak = Math.max(peak, ++active);
      await until(sizes.push(n) - 1);
      active -= 1;
      return Float32Array.from({ length: 2 * n }, (_, i) => tensor[Math.floor(i / 2) * 6 + (i % 2)]!);
    },
    close: async () => {},
  };
}

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
};

function okRows(n: number): EmbeddingRows {
  const rows = createRows(n, 2, { dtype: 'float32', normalize: false });
  for (let row = 0; row < n; row++) rows.put(row, 'a', { status: 'ok', width: 2, height: 1, pixels: new Uint8Array() }, 1);
  return rows;
}

const pixelsOf = (row: number): Uint8Array => Uint8Array.of(row % 251, row % 7, 0, 0, 0, 0);

describe('createCalls', () => {
  it('gives each row its own vector, in calls of the full size, two or more at a time, however long they take', async () => {
    const small = { min: 1, max: 9 };
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.integer(small), fc.integer(small), fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1 }), fc.constantFrom('uint8', 'float32'), async (n, batchSize, threads, delays, type) => {
        const encoder = watchedEncoder(batchSize, (call) => turns(delays[call % delays.length]!), type as 'uint8');
        const rows = okRows(n);
        const calls = createCalls(encoder, rows, { execution: { ...EXECUTION, threads }, signal: FOREVER });
        for (let row = 0; row < n; row++) await calls.add(row, pixelsOf(row));
        await calls.finish();
        expect(encoder.active()).toBe(0);
        expect(rows.vectors).toEqual(Float32Array.from({ length: 2 * n }, (_, i) => pixelsOf(Math.floor(i / 2))[i % 2]!));
        const size = Math.min(batchSize, n);
        expect(encoder.sizes).toEqual(Array.from({ length: Math.ceil(n / size) }, (_, call) => Math.min(size, n - call * size)));
        expect(encoder.peak()).toBeLessThanOrEqual(1 + Math.max(2, Math.ceil((2 * threads) / size)));
      }),
      { numRuns: 80 },
    );
  });

  it('hands on a call while the one before is under way, and two images a thread, then waits', async () => {
    for (const [batchSize, threads, behind] of [[4, 1, 2], [1, 3, 6], [4, 5, 3]] as const) {
      const gates: (() => void)[] = [];
      const encoder = watchedEncoder(batchSize, () => new Promise((open) => gates.push(open)));
      const calls = createCalls(encoder, okRows(40), { execution: { ...EXECUTION, threads }, signal: FOREVER });
      let added = 0;
      const adding = (async () => {
        for (; added < 40; added++) await calls.add(added, pixelsOf(added));
        await calls.finish();
      })();
      await turns(5);
      // One more was filled while `behind` were with the encoder, and handed on; its last image waits for the first call.
      expect(encoder.active()).toBe(behind + 1);
      expect(added).toBe(batchSize * (behind + 1) - 1);
      gates.shift()!();
      await turns(2);
      expect(encoder.active()).toBe(behind + 1);
      expect(added).toBe(batchSize * (behind + 2) - 1);
      for (let turn = 0; turn < 60; turn++) {
        gates.splice(0).forEach((open) => open());
        await turns(1);
      }
      await adding;
      expect(encoder.sizes.reduce((sum, size) => sum + size)).toBe(40);
    }
  });

  it('passes on what a call failed with', async () => {
    const failing = watchedEncoder(2, async (call) => {
      if (call === 1) throw new Error('the model broke');
    });
    const calls = createCalls(failing, okRows(12), { execution: EXECUTION, signal: FOREVER });
    await expect(
      (async () => {
        for (let row = 0; row < 12; row++) await calls.add(row, pixelsOf(row));
      })(),
    ).rejects.toThrow('the model broke');
    const last = createCalls(watchedEncoder(8, () => Promise.reject(new Error('at the end'))), okRows(3), { execution: EXECUTION, signal: FOREVER });
    await last.add(0, pixelsOf(0));
    await expect(last.finish()).rejects.toThrow('at the end');
  });

  it('does not wait for a long call when the run is stopped', async () => {
    const stop = new AbortController();
    const calls = createCalls(watchedEncoder(1, () => new Promise(() => {})), okRows(9), { execution: EXECUTION, signal: stop.signal });
    const adding = (async () => {
      for (let row = 0; row < 9; row++) await calls.add(row, pixelsOf(row));
    })();
    setImmediate(() => stop.abort());
    await expect(adding).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(calls.finish()).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
