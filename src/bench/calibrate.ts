/** `winnow bench --calibrate`: the rates of this machine, from short runs of the product's own code, in about a minute. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { sample } from '../../pipelines/5-sample.ts';
import { mix } from '../../pipelines/7-mix.ts';
import { shard } from '../../pipelines/8-shard.ts';
import { buildTree } from '../cluster/build.ts';
import { ClusterConfig } from '../cluster/config.ts';
import { finishLevel } from '../cluster/finish.ts';
import { type Points, openEmbeddingPoints } from '../cluster/points.ts';
import { RECIPE_FORMAT, parseRecipe } from '../config.ts';
import { throwIfAborted } from '../errors.ts';
import { bestRate } from './best-rate.ts';
import { type MixtureRows, mixture, writeEmbeddings, writeImages } from './data.ts';
import { describeMachine } from './machine.ts';
import { measureListing, measureLook } from './listing.ts';
import { decodeContender, drawPictures, embedContender } from './pictures.ts';
import { measureProducts } from './products.ts';
import { RATES_FORMAT, Rates } from './rates.ts';
import { sampleContender } from './sample.ts';
import { measureStartUp } from './start-up.ts';
import { VIT_S14, encodeVit, vitFlop } from './vit-model.ts';
import { type BenchContext, type Workbench, openContext, withScratch } from './workbench.ts';

export interface CalibrateRequest {
  readonly out: string;
  /** An ONNX model or a folder with one, measured beside the built-in ones; null: none. */
  readonly model: string | null;
  /** Share of the usual amounts: 1 takes about a minute; less is for trying it out. */
  readonly scale: number;
  readonly signal: AbortSignal;
  note(text: string): void;
}

/** Measures, writes the file, makes its folder. @throws {WinnowError} ABORTED, MODEL_INVALID, MODEL_UNAVAILABLE */
export async function calibrate({ out, model, scale, signal, note }: CalibrateRequest): Promise<Rates> {
  const machine = describeMachine();
  const rates = await withScratch(async (scratch) => {
    const bench: Workbench = { scratch, peers: null, sizes: {}, signal, note };
    const amount = (whole: number, least = 64): number => Math.max(least, Math.round(whole * scale));
    const start = await measureStartUp(bench);
    const products = await measureProducts(amount(16_384), bench);
    const pictures = await measurePictures(bench, amount(800, 16), amount(64, 2), model);
    const listing = await measureListing(bench, amount(10_000));
    return Rates.parse({ format: RATES_FORMAT, machine: { ...machine }, start, ...products, ...pictures, ...listing, ...(await measureStore(bench, amount(40_960))), ...(await measureTables(bench, amount(100_000))) });
  });
  await mkdir(dirname(out), { recursive: true });
  await writeFile(out, `${JSON.stringify(rates, null, 2)}\n`);
  return rates;
}

async function measurePictures(bench: Workbench, pictures: number, some: number, model: string | null): Promise<Pick<Rates, 'decode' | 'embed' | 'look'>> {
  const { scratch, signal, note } = bench;
  const drawn = await drawPictures(bench, 'calibrate', pictures);
  const { folder } = drawn;
  const { folder: fewer } = await drawPictures(bench, 'calibrate-few', some);
  const vit = join(scratch, 'vit.onnx');
  await writeFile(vit, encodeVit(VIT_S14));
  const input = { layout: 'nchw', type: 'float32', resize: { mode: 'exact', width: VIT_S14.side, height: VIT_S14.side }, crop: null, rescale: 1 / 255, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
  const cases = [
    { name: 'descriptor', reference: 'descriptor', flop: null, settings: {}, folder },
    { name: 'ViT-S/14', reference: vit, flop: vitFlop(VIT_S14), settings: { input }, folder: fewer },
    ...(model === null ? [] : [{ name: basename(model), reference: model, flop: null, settings: {}, folder }]),
  ];
  const decoding = await decodeContender(drawn);
  note('calibrate: decoding');
  const decode = await bestRate(decoding.amount, decoding.run);
  const embed: Rates['embed'] = [];
  for (const [i, one] of cases.entries()) {
    throwIfAborted(signal);
    note(`calibrate: embedding with ${one.name}`);
    const contender = await embedContender(bench, `store-calibrate-${i}`, one.reference, one.settings, { folder: one.folder });
    embed.push({ model: one.name, flop: one.flop, images: await bestRate(contender.amount, contender.run) });
    await contender.close();
  }
  return { decode, embed, look: await measureLook(bench, folder) };
}

const D = 384;

/** What does not grow with the number of clusters: reading, writing, hashing, and a tree of one cluster. */
async function measureStore({ scratch, signal, note }: Workbench, n: number): Promise<Pick<Rates, 'read' | 'readAgain' | 'write' | 'hash' | 'assemble'>> {
  note('calibrate: reading and writing');
  const rows = mixture(D);
  const context = await openContext(join(scratch, 'store-vectors'), { signal });
  const embeddings = await writeEmbeddings(context.store, rows, { n, d: D, dtype: 'float16' });
  const bytes = embeddings.manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
  const block = new Float32Array(8192 * D);
  const readAll = async (points: Points): Promise<void> => {
    for (let first = 0; first < n; first += 8192) await points.read(first, Math.min(8192, n - first), block);
  };
  const read = await bestRate(bytes, async () => readAll(await openEmbeddingPoints(context.store, embeddings.manifest, 0)));
  const checked = await openEmbeddingPoints(context.store, embeddings.manifest, 0);
  await readAll(checked);
  const readAgain = await bestRate(bytes, () => readAll(checked));
  const piece = new Uint8Array(await readFile(join(scratch, 'store-vectors', embeddings.manifest.parts[0]!.path)));
  const write = await bestRate(8 * piece.length, async () => {
    for (let i = 0; i < 8; i++) await context.store.write(`written/${i}`, piece);
  });
  const hash = await bestRate(8 * piece.length, async () => {
    for (let i = 0; i < 8; i++) createHash('sha256').update(piece).digest();
  });
  let assemble = 0;
  for (let turn = 0; turn < ASSEMBLED; turn++) assemble = Math.max(assemble, (n * D) / (await finishSeconds(context, embeddings)));
  await context.close();
  return { read, readAgain, write, hash, assemble };
}

const ASSEMBLED = 3;

/** Of a tree of one cluster, the steps after its k-means. */
async function finishSeconds(context: BenchContext, embeddings: Parameters<typeof buildTree>[1]): Promise<number> {
  await context.store.remove('clusters/');
  let finishing = performance.now();
  const map: BenchContext['executor']['map'] = (kind, payloads, label) => {
    if (kind.name === finishLevel.name) finishing = performance.now();
    return context.executor.map(kind, payloads, label);
  };
  await buildTree({ ...context, executor: { ...context.executor, map } }, embeddings, ClusterConfig.parse({ levels: [1], iterations: 1 }));
  return (performance.now() - finishing) / 1000;
}

const SHALLOW = 16;

/** Stages that look at rows and clusters, not at vectors. */
async function measureTables({ scratch, signal, note }: Workbench, n: number): Promise<Pick<Rates, 'leaves' | 'draw' | 'shard' | 'task'>> {
  note('calibrate: sampling and sharding');
  const recipe = parseRecipe({ format: RECIPE_FORMAT, name: 'calibrate', pool: [{ folder: '.' }], cluster: { levels: [Math.min(100, n), 10], iterations: 1 }, sample: { target: Math.round(n / 2) } }, 'the recipe of the calibration');
  const context = await openContext(join(scratch, 'store-tables'), { signal });
  const rows: MixtureRows = mixture(SHALLOW);
  await writeImages(context.store, n);
  await buildTree(context, await writeEmbeddings(context.store, rows, { n, d: SHALLOW, dtype: 'float16' }), recipe.cluster);
  const draw = await bestRate(n, async () => {
    await context.store.remove('selections/');
    await sample(context, recipe);
  });
  const mixes = await bestRate(1, async () => {
    await context.store.remove('mixture/');
    await mix(context, recipe);
  });
  const written = await bestRate(Math.round(n / 2), async () => {
    await context.store.remove('dataset/');
    await shard(context, recipe);
  });
  await context.close();
  const sampling = sampleContender(2 * n);
  return { leaves: await bestRate(sampling.amount, sampling.run), draw, shard: written, task: 1 / mixes };
}
