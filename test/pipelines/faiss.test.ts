/** The whole road with faiss as the search engine, as a recipe asks for it, and the index files that come of it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { drawSmallRun } from '../helpers/small-run.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { expectDone, expectOneSentence, winnow } from '../helpers/winnow.ts';
import { withoutFaiss } from '../vector/faiss-available.ts';

const reason = await withoutFaiss();
if (reason !== null) process.stderr.write(`${reason}\n`);

const SMALL = { levels: [40, 12, 4], iterations: 10 };
const seeds = (engine: string): object[] => [{ name: 'around', sources: [{ folder: './seeds' }], k: 4, engine }];

async function manifestOf(store: string, path: string): Promise<{ config: { engine: { engine: string } }; parts: { sha256: string }[] }> {
  return JSON.parse(await readFile(join(store, path, 'manifest.json'), 'utf8')) as Awaited<ReturnType<typeof manifestOf>>;
}

describe('a recipe with engine: faiss', () => {
  it.skipIf(reason !== null)('searches with it in clustering and retrieval, says so, and finds what ONNX Runtime finds', async () => {
    const folder = await temporaryFolder();
    const stores: Record<string, string> = {};
    for (const engine of ['faiss', 'onnxruntime']) {
      const { recipePath } = await drawSmallRun(folder, 300, { cluster: { ...SMALL, engine }, retrieve: seeds(engine), sample: { target: 60 } });
      const store = (stores[engine] = join(folder, engine));
      expectDone(await winnow(['run', recipePath, '--store', store, '--quiet']));
      for (const stage of ['clusters', 'selections/around']) expect((await manifestOf(store, stage)).config.engine.engine).toBe(engine);
    }
    const hashes = async (store: string): Promise<string[]> => (await manifestOf(store, 'clusters')).parts.map(({ sha256 }) => sha256);
    expect(await hashes(stores.faiss!)).toEqual(await hashes(stores.onnxruntime!));

    const out = join(folder, 'leaves.index');
    const written = await winnow(['index', stores.faiss!, '--out', out, '--level', '1', '--json']);
    expect(JSON.parse(written.stdout)).toMatchObject({ level: 1, metric: 'l2', mapped: false });
    expect((await winnow(['inspect', out])).stdout).toMatch(/flat faiss index of \d+ vectors, \d+ dimensions, squared L2/);
    expectOneSentence(await winnow(['index', stores.faiss!, '--out', out, '--level', '9']), 2, /CONFIG_INVALID.*from 1 to 3/);
  });

  it('is refused by name when it is another', async () => {
    const folder = await temporaryFolder();
    const { recipePath } = await drawSmallRun(folder, 20, { cluster: { engine: 'annoy' } });
    expectOneSentence(await winnow(['run', recipePath, '--store', join(folder, 'out')]), 2, /CONFIG_INVALID.*cluster\.engine/);
  });
});
