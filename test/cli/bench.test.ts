/** `winnow bench` as its user meets it. */
import { describe, expect, it } from 'vitest';
import type { BenchReport } from '../../src/bench/bench.ts';
import { bench } from '../../src/cli/bench.ts';

const quiet = { signal: new AbortController().signal, note: () => undefined };

describe('bench', () => {
  it('names the machine, the work, ours, and the peers or why they are not there', async () => {
    const notes: string[] = [];
    const { text, json } = await bench({ works: ['sample', 'batch'], rounds: 2, sizes: { n: 2000 }, ...quiet, note: (line) => notes.push(line) });
    const report = json as BenchReport;
    expect(text).toMatch(/^\d+ cores of .*; Node v\d+\.\d+\.\d+, ONNX Runtime [\d.]+; load average [\d.]+ before, [\d.]+ after$/m);
    expect(text).toMatch(/^Medians of 2 rounds/m);
    expect(text).toMatch(/^sample: \d+ of \d+ images over 2000 leaves in 5 levels, sizes only\n {2}winnow +[\d,.]+ leaves\/s/m);
    expect(text).toMatch(/^batch: 1 batches of 1024 images/m);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
    expect(notes.length).toBeGreaterThan(2);
    expect(report.results.map(({ work }) => work)).toEqual(['sample', 'batch']);
    expect(report.results[0]!.contenders[0]!.rounds).toHaveLength(2);
    // torch is measured, or named as missing.
    const [, batches] = report.results;
    expect(batches!.contenders.length + batches!.missing.length).toBe(2);
  });

  it('knows its works', async () => {
    await expect(bench({ works: ['assing'], rounds: 1, sizes: {}, ...quiet })).rejects.toThrow(/name of a work, got "assing": did you mean "assign"\?; works: assign, kmeans, tree/);
    await expect(bench({ works: ['sample'], rounds: 1, sizes: { n: -5 }, ...quiet })).rejects.toThrow(/--n to be a whole number from 1 up, got -5/);
  });
});
