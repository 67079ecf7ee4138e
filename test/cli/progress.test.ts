import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { type Figures, barLine, createLogProgress, createProgress, duration } from '../../src/cli/progress.ts';
import type { Log } from '../../src/log.ts';

const figures = (some: Partial<Figures>): Figures => ({ stage: 'embeddings', total: 10_000, unit: 'images', done: 2500, kept: 0, seconds: 20, note: '', ...some });

describe('barLine', () => {
  it('shows share, count, rate and time to go in 80 columns, whatever the stage', () => {
    expect(barLine(figures({}), 80)).toBe('embeddings █████░░░░░░░░░░░░░░░  25%  2500/10000  125 images/s  1 min 0 s to go');
    for (const some of [
      { stage: 'seeds/flowers-of-the-north/embeddings', total: 1_689_000_000, done: 123_456_789, seconds: 86_400 * 3 },
      { stage: 'cluster', unit: 'comparisons', total: 5e11, done: 1e9, note: 'level 1, round 0, iteration 12: inertia 21.7641, 9 moved, 0 empty' },
      { stage: 'retrieve around', unit: 'comparisons', total: 6_600_000, done: 1_000_000 },
    ]) {
      const line = barLine(figures(some), 80);
      expect(line).toMatch(/\d%  \S+\/\S+  \S+ (images|comparisons)\/s  .+ to go$/);
      expect(line.length).toBeLessThan(80);
    }
  });

  it('is always shorter than the terminal is wide, and fuller the more is done', () => {
    const some = fc.record({ stage: fc.string({ maxLength: 60 }), total: fc.option(fc.nat(1e12)), done: fc.nat(1e12), seconds: fc.double({ min: 1e-3, max: 1e8, noNaN: true }), note: fc.string({ maxLength: 120 }) });
    fc.assert(
      fc.property(some, fc.integer({ min: 1, max: 200 }), (one, columns) => {
        expect(barLine(figures(one), columns).length).toBeLessThanOrEqual(Math.max(0, columns - 1));
      }),
    );
    const filled = [0, 2500, 5000, 9999, 10_000].map((done) => barLine(figures({ done }), 100).split('█').length);
    expect(filled).toEqual(filled.toSorted((a, b) => a - b));
    expect(barLine(figures({ done: 10_000 }), 100)).not.toContain('░');
  });

  it('takes the rate from what this run did, not from what an earlier one left', () => {
    const line = barLine(figures({ done: 8000, kept: 6000, seconds: 10 }), 100);
    expect(line).toContain(' 80%  8000/10000  200 images/s  10 s to go');
    expect(barLine(figures({ done: 6000, kept: 6000 }), 100)).toMatch(/60%  6000\/10000$/);
  });

  it('shows the note where it fits whole, and the total where there is one', () => {
    const note = 'level 1, round 0, iteration 3: inertia 21.1';
    expect(barLine(figures({ note }), 140)).toContain(note);
    expect(barLine(figures({ note }), 80)).not.toContain('level');
    expect(barLine(figures({ total: null, unit: 'files' }), 80)).toBe('embeddings 2500 files  125 files/s');
  });
});

describe('progress that is no terminal', () => {
  function written(isTTY: boolean): { stream: NodeJS.WriteStream; text(): string } {
    let text = '';
    const stream = { isTTY, write: (chunk: string) => (text += chunk) } as unknown as NodeJS.WriteStream;
    return { stream, text: () => text };
  }

  it('writes lines', () => {
    const { stream, text } = written(false);
    const progress = createProgress(stream);
    progress.begin('embeddings', 10, 'images');
    progress.advance(10);
    progress.end('9 of 10 images');
    expect(text()).toMatch(/^embeddings: 9 of 10 images \(\d\.\d s\)\n$/);
  });

  it('writes what is long in lines of 80 columns, large counts short', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { stream, text } = written(false);
    const progress = createProgress(stream);
    progress.begin('cluster', 203_450_000, 'comparisons');
    progress.note('level 4, round 0, iteration 2: inertia 42.2181, 0 moved, 0 empty');
    vi.advanceTimersByTime(6000);
    progress.advance(188_600_000);
    vi.useRealTimers();
    expect(text()).toMatch(/^cluster: 189M of 203M comparisons \(92 %\), 31\.4M comparisons\/s.*\n {4}.*inertia 42/);
    progress.end('1689000000 images in 200000000 / 8000000 / 800000 / 100000 / 25000 clusters of a tree');
    const lines = text().trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  it('or events of the log, with figures', () => {
    const events: object[] = [];
    const progress = createLogProgress({ info: (event: object, message: string) => events.push({ ...event, message }) } as unknown as Log);
    progress.begin('shard', 4, 'rows');
    progress.advance(3, true);
    progress.advance(1);
    progress.end('4 rows');
    expect(events).toEqual([expect.objectContaining({ event: 'progress', stage: 'shard', total: 4, done: 4, kept: 3, ended: true, message: expect.stringMatching(/^shard: 4 rows/) })]);
  });
});

describe('duration', () => {
  it.each([[0.04, '0.0 s'], [9.94, '9.9 s'], [9.96, '10 s'], [59.4, '59 s'], [59.6, '1 min 0 s'], [3599.6, '1 h 0 min'], [3600 * 3 + 1201, '3 h 20 min']])('%d s: %s', (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });
});
