/** Every work in a size that takes a second, and a calibration that a plan can read. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { type BenchRequest, WORKS, type Work, runBench } from '../../src/bench/bench.ts';
import { calibrate } from '../../src/bench/calibrate.ts';
import { readRates } from '../../src/bench/rates.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const PEERS = fileURLToPath(new URL('.', import.meta.url));
const hasPython = existsSync('/usr/bin/python3');

function requestOf(work: Work, overrides: Partial<BenchRequest> = {}): BenchRequest {
  return { works: [work], rounds: 1, sizes: { n: 600, d: 16, k: [20], iterations: 2, images: 12 }, peers: null, data: null, signal: new AbortController().signal, note: () => undefined, ...overrides };
}

describe('runBench', () => {
  it.each(WORKS.filter((work) => work !== 'embed'))('%s', async (work) => {
    const { machine, results, rounds } = await runBench(requestOf(work));
    expect(machine.cores).toBeGreaterThan(0);
    expect(rounds).toBe(1);
    expect(results).toHaveLength(1);
    const [{ contenders, ratios, missing, what }] = results as [(typeof results)[number]];
    // Assignment is measured with the distances, too.
    const own = work === 'assign' ? ['winnow', 'winnow, with the distances'] : ['winnow'];
    expect(contenders.map(({ name }) => name)).toEqual(own);
    expect(contenders[0]!.rate).toBeGreaterThan(0);
    expect(contenders[0]!.seconds).toBe(contenders[0]!.rounds[0]);
    expect(ratios.map(({ peer }) => peer)).toEqual(own.slice(1));
    expect(what).toMatch(/\d/);
    if (work !== 'sample') expect(missing).not.toEqual([]);
  });

  it('embed has a contest a model, a transformer and the descriptor at least', async () => {
    const { results } = await runBench(requestOf('embed', { sizes: { images: 4 } }));
    expect(results.map(({ what }) => what)).toEqual([expect.stringMatching(/^4 images.*ViT-S\/14.*12\.2 GFLOP/), expect.stringMatching(/^4 images.*descriptor/)]);
    for (const { contenders } of results) expect(contenders[0]!.facts).toEqual({ ok: 4 });
  });

  it.skipIf(!hasPython)('measures peers at the same work in the same run, where they are installed', async () => {
    const { results: [result] } = await runBench(requestOf('assign', { peers: PEERS, rounds: 2 }));
    const [ours, ...peers] = result!.contenders;
    expect(peers.length + result!.missing.length).toBeGreaterThanOrEqual(3);
    expect(result!.ratios.map(({ peer }) => peer)).toEqual(peers.map(({ name }) => name));
    for (const { name, facts } of peers) if (name.includes('IndexFlatL2')) expect(facts['inertia']! / ours!.facts['inertia']!).toBeCloseTo(1, 4);
  });

  it('decodes beside a bare loop', async () => {
    // So many pictures that some odd files are among them, which neither has to bear.
    const { results: [result] } = await runBench(requestOf('decode', { peers: PEERS, sizes: { images: 300 } }));
    expect(result!.contenders[0]!.facts['ok']).toBe(result!.settings['images']);
    expect(result!.settings['images']).toBeLessThan(300);
    expect(result!.contenders[1]!.name).toMatch(/^sharp alone/);
    expect(result!.ratios[0]!.rate).toBeGreaterThan(0);
  });

  it.each<[string, object, RegExp]>([
    ['n', { n: 0 }, /--n to be a whole number from 1 up, got 0/],
    ['k', { k: [5, 1.5] }, /--k .*got 1\.5/],
  ])('refuses a size of %s', async (_, sizes, sentence) => {
    await expect(runBench(requestOf('sample', { sizes }))).rejects.toThrow(sentence);
  });
});

it('calibration writes rates that can be read', async () => {
  const out = join(await temporaryFolder('calibrate'), 'deep', 'rates.json');
  const notes: string[] = [];
  const rates = await calibrate({ out, model: null, scale: 0.002, signal: new AbortController().signal, note: (text) => notes.push(text) });
  expect(await readRates(out)).toEqual(rates);
  expect(rates.embed.map(({ model }) => model)).toEqual(['descriptor', 'ViT-S/14']);
  expect(rates.assign.map(({ k }) => k)).toEqual([...rates.assign.map(({ k }) => k)].sort((a, b) => a - b));
  expect(rates.kmeans.every(({ first, flops }) => first > 0 && flops > 0)).toBe(true);
  expect(rates.start.embed + rates.start.cluster + rates.start.dedup).toBeGreaterThan(0);
  expect(notes.length).toBeGreaterThan(5);
});
