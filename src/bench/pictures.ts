/** The works `decode` and `embed`: drawn pictures to pixels, and to vectors by the whole stage. */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { CONCEPTS } from '../demo/concepts.ts';
import { drawCorpus } from '../demo/draw.ts';
import { EmbedConfig } from '../embed/config.ts';
import { CHECK_ONLY, decodeImage } from '../embed/decode.ts';
import { embed } from '../embed/embed.ts';
import { DEFAULT_DECODE_LIMITS, type PreprocessSpec } from '../embed/embedding.ts';
import { openEncoder } from '../embed/task.ts';
import { SourceConfig } from '../ingest/image.ts';
import { ingest, resolveSources } from '../ingest/ingest.ts';
import { rowCountOf } from '../run/manifest.ts';
import { type Contender, type Contest, type ContestResult, timed } from './contest.ts';
import { openPeers } from './peer.ts';
import { VIT_S14, encodeVit, vitFlop } from './vit-model.ts';
import { type Workbench, openContext } from './workbench.ts';

const DECODED = 2000;
const EMBEDDED = { vit: 96, other: 2000 };
const SIDE = 224;

/** How a DINOv2 model wants its pixels; also what the bare loop does, by squeezing. */
const SQUEEZE: PreprocessSpec = {
  resize: { mode: 'exact', width: SIDE, height: SIDE }, crop: null, resample: 'bicubic', background: [255, 255, 255],
  layout: 'nhwc', type: 'uint8', rescale: 1, mean: [0, 0, 0], std: [1, 1, 1],
};

/** One contest: pictures in memory to 224 × 224 pixels. Peer: a bare sharp loop, as many at once as runs best. */
export async function decodeContests(bench: Workbench): Promise<(() => Promise<Contest>)[]> {
  const pictures = await drawPictures(bench, 'decode', bench.sizes.images ?? DECODED);
  const ours = await decodeContender(pictures);
  return [async () => {
    const { contenders, missing } = await openPeers(bench.peers, [{ script: 'sharp-loop.ts', settings: { list: pictures.list, side: SIDE }, amount: ours.amount }]);
    return {
      work: 'decode', what: `${ours.amount} drawn pictures in memory to ${SIDE} × ${SIDE} pixels`, unit: 'images', settings: { images: ours.amount, side: SIDE },
      ours,
      peers: contenders, missing,
    };
  }];
}

/** Decodes pictures, held in memory, with as many calls at once as the embed stage makes. */
export async function decodeContender(pictures: Pictures): Promise<Contender> {
  const images = await Promise.all(pictures.files.map((path) => readFile(path)));
  const run = async (): Promise<{ ok: number }> => {
    let next = 0;
    let ok = 0;
    const lane = async (): Promise<void> => {
      while (next < images.length) if ((await decodeImage(images[next++]!, SQUEEZE, DEFAULT_DECODE_LIMITS)).status === 'ok') ok++;
    };
    await Promise.all(Array.from({ length: 2 * availableParallelism() }, lane));
    return { ok };
  };
  return { name: 'winnow', amount: images.length, run: () => timed(run), close: async () => undefined };
}

/** A model to embed with, and a source of images. */
interface EmbedCase {
  readonly what: string;
  readonly model: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly source: Readonly<Record<string, unknown>>;
  /** What the bare decoding loop decodes: a list of files, or tars, and how many images they are; null: as many as ours. */
  readonly loop: { readonly list: string } | { readonly tars: readonly string[] };
  readonly loopImages: number | null;
}

/**
 * A contest a model: ViT-S/14 with random weights, the built-in descriptor, and a model of the evaluation data where it
 * lies beside the checkout. Peers: a bare ONNX Runtime loop over random pixels, and a bare sharp loop; the stage does both.
 */
export async function embedContests(bench: Workbench, data: string | null): Promise<(() => Promise<Contest>)[]> {
  const vit = join(bench.scratch, 'vit-s14.onnx');
  bench.note('embed: making a ViT-S/14 with random weights');
  await writeFile(vit, encodeVit(VIT_S14));
  const some = await drawPictures(bench, 'embed', bench.sizes.images ?? EMBEDDED.vit);
  const many = await drawPictures(bench, 'describe', bench.sizes.images ?? EMBEDDED.other);
  const input = { layout: 'nchw', type: 'float32', resize: { mode: 'exact', width: SIDE, height: SIDE }, crop: null, resample: 'bicubic', rescale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  const cases: EmbedCase[] = [
    { what: `ViT-S/14 (random weights, ${(vitFlop(VIT_S14) / 1e9).toFixed(1)} GFLOP an image)`, model: vit, settings: { input }, source: { folder: some.folder }, loop: { list: some.list }, loopImages: some.files.length },
    { what: 'the built-in descriptor', model: 'descriptor', settings: {}, source: { folder: many.folder }, loop: { list: many.list }, loopImages: many.files.length },
  ];
  if (data !== null) {
    const tars = (await readdir(join(data, 'pool-tars'))).sort().slice(0, 2).map((name) => join(data, 'pool-tars', name));
    cases.push({ what: 'MobileNetV2', model: join(data, 'models', 'mobilenetv2_fp32_224.onnx'), settings: {}, source: { tars }, loop: { tars }, loopImages: null });
  }
  return cases.map((one, i) => () => embedContest(bench, one, i));
}

/** Ours over the slower of its two parts: the whole stage cannot be faster, and 1 means that the rest of it is free. */
export function partsRatio({ contenders, ratios }: ContestResult): number | null {
  return contenders.length < 2 ? null : Math.max(...ratios.map(({ rate }) => rate));
}

async function embedContest(bench: Workbench, { what, model, settings, source, loop, loopImages }: EmbedCase, i: number): Promise<Contest> {
  const stage = await embedContender(bench, `store-embed-${i}`, model, settings, source);
  const { amount } = stage;
  bench.note(`embed: looking for the best bare loops (${what})`);
  const { contenders, missing } = await openPeers(bench.peers, [
    ...(model === 'descriptor' ? [] : [{ script: 'ort-loop.ts', settings: { model, images: Math.min(amount, 512), side: SIDE }, amount: Math.min(amount, 512) }]),
    { script: 'sharp-loop.ts', settings: { ...loop, side: SIDE }, amount: loopImages ?? amount },
  ]);
  return { work: 'embed', what: `${amount} images to vectors by ${what}`, unit: 'images', settings: { images: amount, side: SIDE }, ours: stage, peers: contenders, missing };
}

/** The stage end to end: read, hash, decode, infer, write the table and its manifest. Listing and opening the model come before. */
export async function embedContender({ scratch, signal }: Workbench, name: string, model: string, settings: Readonly<Record<string, unknown>>, source: Readonly<Record<string, unknown>>): Promise<Contender> {
  const sources = resolveSources([SourceConfig.parse({ name: 'pool', ...source })], scratch);
  const context = await openContext(join(scratch, name), { signal, locations: { pool: sources[0]!.location } });
  const images = await ingest(context, { path: 'images', sources });
  const config = EmbedConfig.parse({ model, maxDropRatio: 1, ...settings });
  const encoder = await openEncoder(model, config, context);
  const amount = rowCountOf(images.manifest.parts);
  const run = async (): Promise<{ ok: number }> => {
    await context.store.remove('embeddings/');
    const { manifest } = await embed(context, { path: 'embeddings', images, config, model: { reference: model, encoder } });
    return { ok: manifest.okRows.reduce((sum, rows) => sum + rows, 0) };
  };
  return { name: 'winnow', amount, run: () => timed(run), close: () => context.close() };
}

/** A drawn corpus: its folder, and those of its files that decode, in memory and as a JSON list for other programs. */
export interface Pictures {
  readonly folder: string;
  readonly files: readonly string[];
  readonly list: string;
}

/** Draws a corpus of about `images` pictures. Its odd files stay in the folder, as they would in life, but no loop has to bear them. */
export async function drawPictures({ scratch, signal, note }: Pick<Workbench, 'scratch' | 'signal' | 'note'>, name: string, images: number): Promise<Pictures> {
  const folder = join(scratch, `pictures-${name}`);
  note(`${name}: drawing ${images} pictures`);
  await drawCorpus(folder, { images, concepts: Math.min(CONCEPTS.length, images), signal });
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  const files: string[] = [];
  for (const path of found.filter((file) => file.isFile() && file.name.endsWith('.jpg')).map((file) => join(file.parentPath, file.name)).sort()) {
    if ((await decodeImage(await readFile(path), CHECK_ONLY, DEFAULT_DECODE_LIMITS)).status === 'ok') files.push(path);
  }
  const list = `${folder}.json`;
  await writeFile(list, JSON.stringify(files));
  return { folder, files, list };
}
