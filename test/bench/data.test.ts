/** Made-up vectors and stores, and the transformer with random weights. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mixture, writeEmbeddings, writeImages, writeRaw } from '../../src/bench/data.ts';
import { VIT_S14, encodeVit, vitFlop } from '../../src/bench/vit-model.ts';
import { openEmbeddingPoints } from '../../src/cluster/points.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { Tensor, openSession } from '../../src/onnx/session.ts';
import { readPart } from '../../src/run/manifest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('mixture', () => {
  const rows = mixture(24);

  it('gives unit rows that do not depend on how they are asked for', () => {
    const whole = rows(0, 50);
    expect(rows(17, 9)).toEqual(whole.slice(17 * 24, 26 * 24));
    for (let i = 0; i < 50; i++) expect(Math.hypot(...whole.subarray(i * 24, (i + 1) * 24))).toBeCloseTo(1, 5);
  });

  it('has clusters: many rows have a near neighbour, which noise would not', () => {
    const n = 400;
    const x = rows(0, n);
    let near = 0;
    for (let i = 0; i < n; i++) {
      let best = -1;
      for (let j = 0; j < n; j++) if (i !== j) best = Math.max(best, dot(x, i, j));
      if (best > 0.75) near++;
    }
    expect(near).toBeGreaterThan(n / 3);
  });

  it('is the same in a bare file, and in a store to 2^-11', async () => {
    const folder = await temporaryFolder('data');
    const n = 5000;
    await writeRaw(join(folder, 'x.f32'), rows, n);
    const bytes = await readFile(join(folder, 'x.f32'));
    expect(new Float32Array(bytes.buffer, bytes.byteOffset, n * 24)).toEqual(rows(0, n));
    const store = await openFsStore(join(folder, 'store'));
    const { manifest } = await writeEmbeddings(store, rows, { n, d: 24, dtype: 'float16' });
    const points = await openEmbeddingPoints(store, manifest, 0);
    const read = new Float32Array(n * 24);
    await points.read(0, n, read);
    const [own, scale] = [rows(0, n), points.scale];
    expect(read.every((value, i) => Math.abs(value / scale - own[i]!) <= 2 ** -11)).toBe(true);
    expect(read.every((value) => Math.abs(value) <= 1)).toBe(true);
  });

  function dot(x: Float32Array, i: number, j: number): number {
    let sum = 0;
    for (let e = 0; e < 24; e++) sum += x[i * 24 + e]! * x[j * 24 + e]!;
    return sum;
  }
});

it('writes a listing that stages read', async () => {
  const store = await openFsStore(await temporaryFolder('listing'));
  const { manifest } = await writeImages(store, 70_000);
  expect(manifest.parts.map(({ rowCount }) => rowCount)).toEqual([65_536, 4464]);
  const view = decodeTable(await readPart(store, manifest.parts[1]!), 'part');
  expect(view.row(0)).toMatchObject({ source: 'pool', path: 'pool-00006.tar' });
});

describe('the transformer', () => {
  const small = { side: 28, patch: 14, d: 64, layers: 2 };

  it('runs: finite vectors that depend on the image alone', async () => {
    const session = await openSession(encodeVit(small), { threads: 1 });
    const run = async (n: number): Promise<Float32Array> => {
      const pixels = Float32Array.from({ length: n * 3 * 28 * 28 }, (_, i) => Math.sin(i));
      return (await session.run({ pixel_values: new Tensor('float32', pixels, [n, 3, 28, 28]) }))['embedding']!.data as Float32Array;
    };
    const [one, two] = [await run(1), await run(2)];
    expect(two).toHaveLength(2 * 64);
    expect(two.every(Number.isFinite)).toBe(true);
    one.forEach((value, i) => expect(two[i]).toBeCloseTo(value, 4));
    expect(two.slice(64)).not.toEqual(two.slice(0, 64));
    await session.close();
  });

  it('counts the operations of ViT-S/14 and ViT-L/14 as published', () => {
    expect(vitFlop(VIT_S14) / 2e9).toBeCloseTo(6.1, 1);
    expect(vitFlop({ ...VIT_S14, d: 1024, layers: 24 }) / 2e9).toBeCloseTo(81, 0);
  });
});
