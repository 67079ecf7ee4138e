/**
 * How well copies are found: plants altered copies among real photographs and counts which pairs each embedding and hash finds.
 *
 *   npx tsx test/bench/planted-copies.ts [folder]      # needs ../shared/data; the folder keeps what was made
 *
 * Pairs of two originals that show one picture are in the data already: a photograph that two of the sets hold, or its recoloured or
 * cropped version. They are told by their pixels (correlation of 32 × 32 thumbnails of the originals, checked by eye on contact
 * sheets) and count neither as found nor as false, nor do pairs of their copies.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { ingestImages } from '../../pipelines/1-ingest.ts';
import { embedImages } from '../../pipelines/2-embed.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { openSession } from '../../src/cli/session.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { ExecutionConfig } from '../../src/config.ts';
import { createHammingIndex } from '../../src/dedup/hamming-index.ts';
import { type PerceptualConfig, hashPixels, hashSpec, variantsOf } from '../../src/dedup/perceptual-hash.ts';
import { openPairScores, similarityOf } from '../../src/dedup/scores.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import { decodeImage } from '../../src/embed/decode.ts';
import { DEFAULT_DECODE_LIMITS, readEmbeddingPart } from '../../src/embed/embedding.ts';
import { SourceConfig } from '../../src/ingest/image.ts';
import { resolveSources } from '../../src/ingest/ingest.ts';
import { createLog } from '../../src/log.ts';
import { randomStream } from '../../src/random.ts';
import { normaliseRows } from '../../src/vector/matrix.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { ALTERATIONS, alter } from './alter-image.ts';
import { readTarImages } from './tar-images.ts';

const ORIGINALS = 5000;
const COPIES_A_KIND = 500;
/** Originals whose thumbnails correlate as much show one picture: of the pairs above it that were looked at all did but one (two daisies at 0.83, which only MobileNetV2 pairs). */
const SAME_PICTURE = 0.79;
/** Crops of one photograph each, found by eye: thumbnails that are shifted correlate less. */
const SAME_BY_EYE = [[662, 675, 677, 678], [670, 697, 698, 699]];
/** Bits up to which pairs of hashes are listed. */
const RADIUS_MAX = 10;

interface Pairs {
  readonly a: number[];
  readonly b: number[];
  readonly similarity: number[];
}

interface Method {
  readonly name: string;
  /** The setting that the table is made with, and others to choose it by. */
  readonly threshold: number;
  readonly others: readonly number[];
  readonly show: (threshold: number) => string;
  readonly pairs: Pairs;
}

interface Planted {
  readonly files: readonly string[];
  /** For each file the index of its original (itself for an original), and its kind: −1 for an original. */
  readonly original: Int32Array;
  readonly kind: Int8Array;
}

async function main(folder: string): Promise<void> {
  const missing = withoutSharedData();
  if (missing !== null) return void process.stdout.write(`${missing}\n`);
  const planted = await plant(join(folder, 'images'));
  say(`${planted.files.length} images: ${ORIGINALS} originals, ${COPIES_A_KIND} copies of each of ${ALTERATIONS.length} kinds`);
  const thumbnails = await readThumbnails(join(folder, 'images'), planted);
  const bits = (radius: number) => (1 - (radius + 0.5) / 64);
  const methods: Method[] = [];
  for (const [name, model, threshold, others] of [['descriptor', 'descriptor', 0.99, [0.97, 0.98, 0.985, 0.99, 0.995]], ['MobileNetV2', join(sharedData, 'models/mobilenetv2_fp32_224.onnx'), 0.9, [0.85, 0.9, 0.93, 0.95, 0.97]]] as const) {
    methods.push({ name, threshold, others, show: (at) => `> ${at}`, pairs: await vectorPairs(folder, planted, name, model, others[0]) });
  }
  for (const [name, config, radius] of [['dHash', { hash: 'dhash', flips: false }, 4], ['pHash', { hash: 'phash', flips: false }, 6], ['pHash, flips', { hash: 'phash', flips: true }, 6]] as const) {
    methods.push({ name, threshold: bits(radius), others: [0, 2, 4, 6, 8, 10].map(bits), show: (at) => `≤ ${Math.round(64 * (1 - at) - 0.5)} bits`, pairs: await hashPairs(join(folder, 'images'), planted, config) });
  }
  methods.push(union(methods[1]!, methods.at(-1)!));
  const isSame = (a: number, b: number): boolean => {
    const [from, to] = [planted.original[a]!, planted.original[b]!];
    return SAME_BY_EYE.some((group) => group.includes(from) && group.includes(to)) || correlation(thumbnails, from, to) >= SAME_PICTURE;
  };
  for (const method of methods.slice(0, -1)) printCurve(method, planted, isSame);
  printTable(methods, planted, isSame);
  await writeFile(join(folder, 'false-pairs.json'), JSON.stringify(methods.map((method) => ({ name: method.name, pairs: falsePairs(method, planted, thumbnails) }))));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** 1,000 flowers of 128 pixels, 3,049 and 951 photographs of 64; a keyed draw says which have a copy of which kind. */
async function plant(folder: string): Promise<Planted> {
  const files: string[] = [];
  const original: number[] = [];
  const kind: number[] = [];
  const isMade = existsSync(join(folder, 'done'));
  await mkdir(folder, { recursive: true });
  const sources = isMade ? [] : await listOriginals();
  for (let i = 0; i < ORIGINALS; i++) {
    files.push(`${String(i).padStart(5, '0')}.jpg`);
    original.push(i);
    kind.push(-1);
    if (!isMade) await writeFile(join(folder, files[i]!), sources[i]!);
  }
  const order = Array.from({ length: ORIGINALS }, (_, i) => i);
  const stream = randomStream(1, 'planted copies');
  order.sort((a, b) => stream.uniform(a) - stream.uniform(b));
  for (const [k, name] of ALTERATIONS.entries()) {
    for (let c = 0; c < COPIES_A_KIND; c++) {
      const from = order[(k * COPIES_A_KIND + c) % ORIGINALS]!;
      const file = `copy-${k}-${String(from).padStart(5, '0')}.jpg`;
      if (!isMade) await writeFile(join(folder, file), await alter(sources[from]!, name, from));
      files.push(file);
      original.push(from);
      kind.push(k);
    }
  }
  await writeFile(join(folder, 'done'), '');
  return { files, original: Int32Array.from(original), kind: Int8Array.from(kind) };
}

async function listOriginals(): Promise<Buffer[]> {
  const found: Buffer[] = [];
  for (const set of ['raw', 'longtail']) {
    const root = join(sharedData, set);
    const names = (await readdir(root, { recursive: true })).filter((name) => /\.jpe?g$/i.test(name)).sort();
    for (const name of names) found.push(await readFile(join(root, name)));
  }
  for await (const { bytes } of readTarImages(join(sharedData, 'pool-tars/pool-000.tar'))) if (found.length < ORIGINALS) found.push(bytes);
  return found;
}

async function vectorPairs(folder: string, { files }: Planted, name: string, model: string, threshold: number): Promise<Pairs> {
  const images = join(folder, 'images');
  const signal = new AbortController().signal;
  const session = await openSession({ store: join(folder, name), seed: 0, execution: ExecutionConfig.parse({}), clusterEngine: 'onnxruntime', locations: { images }, signal, log: createLog({ level: 'warn' }), progress: SILENT_PROGRESS, command: 'bench' });
  const { context } = session;
  const listed = await ingestImages(context, 'images', resolveSources([SourceConfig.parse({ folder: images })], '/'));
  const { manifest } = await embedImages(context, 'embeddings', listed, EmbedConfig.parse({ maxDropRatio: 0 }), model);
  const n = listed.manifest.parts.reduce((sum, { rowCount }) => sum + rowCount, 0);
  const vectors = new Float32Array(n * manifest.d);
  const place = new Map(files.map((file, i) => [file, i]));
  const paths: string[] = [];
  for (const part of listed.manifest.parts) paths.push(...(decodeTable(await context.store.read(part.path), part.path).strings('path') as string[]));
  for (const part of manifest.parts) {
    const block = await readEmbeddingPart(context.store, part, manifest.d);
    for (let i = 0; i < part.rowCount; i++) vectors.set(block.vectors.subarray(i * manifest.d, (i + 1) * manifest.d), place.get(paths[part.firstRow + i]!)! * manifest.d);
  }
  await session.close('done');
  normaliseRows(vectors, n, manifest.d);
  const pairs: Pairs = { a: [], b: [], similarity: [] };
  say(`${name}: ${n} vectors`);
  const scores = await openPairScores(2);
  await scores.above(vectors, n, vectors, n, manifest.d, new Float32Array(n).fill(threshold - 1e-4), (a, b) => {
    if (a < b) push(pairs, a, b, similarityOf(vectors, a * manifest.d, vectors, b * manifest.d, manifest.d));
  });
  await scores.close();
  say(`${name}: ${pairs.a.length} pairs above ${threshold}`);
  return pairs;
}

function push({ a, b, similarity }: Pairs, i: number, j: number, value: number): void {
  a.push(i);
  b.push(j);
  similarity.push(value);
}

async function hashPairs(folder: string, { files }: Planted, config: Pick<PerceptualConfig, 'hash' | 'flips'>): Promise<Pairs> {
  const started = performance.now();
  const d = variantsOf(config) * 2;
  const words = new Uint32Array(files.length * d);
  const valid = new Uint8Array(files.length);
  const kept = join(folder, `../${config.hash}-${d}.bin`);
  const bytes = existsSync(kept) ? await readFile(kept) : null;
  if (bytes !== null) {
    words.set(new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + words.byteLength)));
    valid.set(bytes.subarray(words.byteLength));
  }
  for (const [i, file] of bytes === null ? files.entries() : []) {
    const decoded = await decodeImage(await readFile(join(folder, file)), hashSpec(config), DEFAULT_DECODE_LIMITS);
    if (decoded.status === 'ok') valid[i] = hashPixels(decoded.pixels, config, words.subarray(i * d, (i + 1) * d)) ? 1 : 0;
  }
  await writeFile(kept, Buffer.concat([Buffer.from(words.buffer), valid]));
  say(`${((performance.now() - started) / 1000).toFixed(0)} s for ${config.hash}: ${files.length - valid.reduce((sum, one) => sum + one, 0)} images without contrast have no hash`);
  const pairs: Pairs = { a: [], b: [], similarity: [] };
  const own = Uint32Array.from({ length: files.length * 2 }, (_, i) => words[Math.floor(i / 2) * d + (i % 2)]!);
  const index = createHammingIndex(own, RADIUS_MAX);
  for (let b = 1; b < files.length; b++) {
    if (valid[b] === 0) continue;
    const nearest = new Map<number, number>();
    for (let v = b * d; v < (b + 1) * d; v += 2) index.within(words[v]!, words[v + 1]!, (a, bits) => a < b && valid[a] === 1 && nearest.set(a, Math.min(bits, nearest.get(a) ?? 64)));
    for (const [a, bits] of nearest) push(pairs, a, b, 1 - bits / 64);
  }
  return pairs;
}

/** What two methods find together, each at its threshold. */
function union(one: Method, other: Method): Method {
  const pairs: Pairs = { a: [], b: [], similarity: [] };
  const seen = new Set<number>();
  for (const { pairs: found, threshold } of [one, other]) {
    found.a.forEach((a, i) => {
      const key = a * 2 ** 20 + found.b[i]!;
      if (!(found.similarity[i]! > threshold) || seen.has(key)) return;
      seen.add(key);
      push(pairs, a, found.b[i]!, 1);
    });
  }
  return { name: `${one.name} and ${other.name}`, threshold: 0, others: [], show: () => 'as before', pairs };
}

const THUMBNAIL = 32;

/** Unit vectors of the originals' colours, mean taken off. */
async function readThumbnails(folder: string, { files }: Planted): Promise<Float32Array> {
  const d = THUMBNAIL * THUMBNAIL * 3;
  const thumbnails = new Float32Array(ORIGINALS * d);
  for (let i = 0; i < ORIGINALS; i++) {
    const pixels = await sharp(join(folder, files[i]!)).toColourspace('srgb').removeAlpha().resize(THUMBNAIL, THUMBNAIL, { fit: 'fill' }).raw().toBuffer();
    const mean = pixels.reduce((sum, one) => sum + one, 0) / pixels.length;
    for (let j = 0; j < d; j++) thumbnails[i * d + j] = pixels[j]! - mean;
  }
  normaliseRows(thumbnails, ORIGINALS, d);
  return thumbnails;
}

function correlation(thumbnails: Float32Array, a: number, b: number): number {
  const d = THUMBNAIL * THUMBNAIL * 3;
  return similarityOf(thumbnails, a * d, thumbnails, b * d, d);
}

interface Counts {
  /** Planted pairs found, of each kind. */
  readonly found: number[];
  /** False pairs with a copy of each kind; pairs of two originals last. */
  readonly wrong: number[];
  /** Pairs that show one picture without having been planted. */
  real: number;
}

function countPairs({ pairs }: Method, threshold: number, { original, kind }: Planted, isSame: (a: number, b: number) => boolean): Counts {
  const counts: Counts = { found: new Array(ALTERATIONS.length).fill(0), wrong: new Array(ALTERATIONS.length + 1).fill(0), real: 0 };
  pairs.a.forEach((a, i) => {
    if (!(pairs.similarity[i]! > threshold)) return;
    const b = pairs.b[i]!;
    if (original[a] === original[b]) counts.found[Math.max(kind[a]!, kind[b]!)]!++;
    else if (isSame(a, b)) counts.real++;
    else for (const k of kind[a]! < 0 && kind[b]! < 0 ? [ALTERATIONS.length] : [...new Set([kind[a]!, kind[b]!])].filter((one) => one >= 0)) counts.wrong[k]!++;
  });
  return counts;
}

const percent = (share: number): string => (Number.isNaN(share) ? '–' : (100 * share).toFixed(1));
const total = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0);

function printTable(methods: readonly Method[], planted: Planted, isSame: (a: number, b: number) => boolean): void {
  const counted = methods.map((method) => countPairs(method, method.threshold, planted, isSame));
  say(`\n| copy | ${methods.map(({ name, show, threshold }) => `${name} ${show(threshold)}`).join(' | ')} |\n|---|${methods.map(() => '---|').join('')}`);
  for (const [k, name] of ALTERATIONS.entries()) {
    say(`| ${name} | ${counted.map(({ found, wrong }) => `${percent(found[k]! / COPIES_A_KIND)} / ${percent(found[k]! / (found[k]! + wrong[k]!))}`).join(' | ')} |`);
  }
  say(`| all pairs, false ones | ${counted.map(({ found, wrong }) => `${total(found) + total(wrong)}, ${total(wrong)}`).join(' | ')} |`);
  say(`| near-duplicates the data had | ${counted.map(({ real }) => real).join(' | ')} |`);
}

function printCurve(method: Method, planted: Planted, isSame: (a: number, b: number) => boolean): void {
  say(`\n${method.name}: recall of each kind, then false pairs of two originals and in all`);
  for (const threshold of method.others) {
    const { found, wrong } = countPairs(method, threshold, planted, isSame);
    say(`  ${method.show(threshold).padEnd(10)} ${found.map((one) => percent(one / COPIES_A_KIND).padStart(6)).join('')}   ${wrong.at(-1)} ${total(wrong)}`);
  }
}

/** Pairs of originals from the most similar down, with their correlation: what to look at. */
function falsePairs({ pairs, threshold }: Method, { kind }: Planted, thumbnails: Float32Array): { a: number; b: number; similarity: number; correlation: number }[] {
  const order = pairs.a.map((_, i) => i).filter((i) => kind[pairs.a[i]!]! < 0 && kind[pairs.b[i]!]! < 0 && pairs.similarity[i]! > threshold);
  return order.map((i) => ({ a: pairs.a[i]!, b: pairs.b[i]!, similarity: pairs.similarity[i]!, correlation: correlation(thumbnails, pairs.a[i]!, pairs.b[i]!) })).sort((x, y) => y.similarity - x.similarity);
}

await main(process.argv[2] ?? '/tmp/winnow-planted-copies');
