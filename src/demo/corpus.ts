/** The demo corpus: its options, its summary, and the plan that says what every file is before anything is drawn. */
import { z } from 'zod';
import { WinnowError } from '../errors.ts';
import { keyedOrder, randomStream } from '../random.ts';
import { CONCEPTS } from './concepts.ts';

/** Changes whenever a drawing or the plan changes, so that an old corpus is drawn anew. */
const CORPUS_VERSION = 1;
const NEAR_COPY_SHARE = 0.02;
const ODD_SHARE = 0.01;
/** Zipf–Mandelbrot, (rank + 2.5)^−1.45: with 10,000 images and 76 concepts 1,552 … 18 images a concept. */
const ZIPF_OFFSET = 2.5;
const ZIPF_EXPONENT = 1.45;

/**
 * What is wrong with an odd file. A decoder is expected to read `cmyk`, `grey`, `exif-rotated`, `png-16-bit`, `png-alpha`
 * and `gif-animated`, and to refuse the others with a reason (`scrambled` may go either way: only its pixels are damaged).
 */
export const ODD_KINDS = [
  'truncated', 'empty', 'html', 'text', 'scrambled', 'huge-header', 'too-small',
  'cmyk', 'grey', 'exif-rotated', 'png-16-bit', 'png-alpha', 'gif-animated',
] as const;
export type OddKind = (typeof ODD_KINDS)[number];

export const NEAR_COPY_CHANGES = ['recompressed', 'resized', 'brightness', 'cropped'] as const;
export type NearCopyChange = (typeof NEAR_COPY_CHANGES)[number];

export const CorpusConfig = z.strictObject({
  images: z.int().min(1).max(1_000_000).default(10_000).describe('Files in all, odd ones included; about 2 ms of one core each'),
  concepts: z.int().min(1).max(CONCEPTS.length).default(CONCEPTS.length).describe('Concepts (folders); fewer make a shorter tail'),
  seed: z.int().default(0).describe('Which corpus: the same seed gives the same bytes of every file'),
});
export type CorpusConfig = z.output<typeof CorpusConfig>;

/** `corpus.json`, the truth about a drawn corpus. Paths are relative to its folder, with forward slashes. */
export const CorpusSummary = z.strictObject({
  format: z.literal('winnow-demo-corpus'),
  version: z.int(),
  seed: z.int(),
  images: z.int(),
  /** Largest first; `count` is the number of files in the folder, near-copies and odd files included. */
  concepts: z.array(z.strictObject({ name: z.string(), count: z.int() })),
  /** In path order. An original is never itself a near-copy or an odd file, and has the same concept. */
  nearCopies: z.array(z.strictObject({ path: z.string(), original: z.string(), change: z.enum(NEAR_COPY_CHANGES) })),
  /** In path order. */
  oddFiles: z.array(z.strictObject({ path: z.string(), kind: z.enum(ODD_KINDS) })),
});
export type CorpusSummary = z.output<typeof CorpusSummary>;

/** One file to be: number `index` of the corpus, a picture of `CONCEPTS[concept]`. */
export interface PlannedFile {
  index: number;
  concept: number;
  /** Relative to the corpus folder. */
  path: string;
  /** Set for an odd file; `ordinal` counts the odd files of all kinds. */
  odd?: { kind: OddKind; ordinal: number };
  /** Set for a near-copy: of which file, and how it differs. */
  copy?: { of: PlannedFile; change: NearCopyChange };
}

export interface CorpusPlan {
  files: PlannedFile[];
  summary: CorpusSummary;
}

/** A pure function of the config. O(images) time and memory, a fraction of a second for 100,000. */
export function planCorpus(config: CorpusConfig): CorpusPlan {
  const { images, concepts, seed } = config;
  if (images < concepts) {
    const message = `Expected at least one image a concept (${concepts}), got images: ${images}`;
    throw new WinnowError('CONFIG_INVALID', message, { details: { images, concepts } });
  }
  // Which concept is frequent and which is rare depends on the seed.
  const ranking = [...keyedOrder(randomStream(seed, 'demo', 'ranking'), CONCEPTS.length)].slice(0, concepts);
  const counts = countZipf(images, concepts);
  const files: PlannedFile[] = [];
  const firsts: number[] = [];
  for (const [rank, concept] of ranking.entries()) {
    const name = CONCEPTS[concept]!.name;
    firsts.push(files.length);
    for (let i = 0; i < counts[rank]!; i++) {
      files.push({ index: files.length, concept, path: `${name}/${name}-${String(i).padStart(5, '0')}.jpg` });
    }
  }
  markSpecial(files, firsts, seed);
  return { files, summary: summarise(config, files, ranking, counts) };
}

/** Counts by rank, each at least 1, in all `images`; leftover units by largest remainder, ties to the larger rank. */
function countZipf(images: number, concepts: number): number[] {
  const weights = Array.from({ length: concepts }, (_, i) => (i + 1 + ZIPF_OFFSET) ** -ZIPF_EXPONENT);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const shares = weights.map((weight) => (weight / total) * (images - concepts));
  const counts = shares.map((share) => 1 + Math.floor(share));
  const byRemainder = shares.map((_, i) => i).sort((a, b) => (shares[b]! % 1) - (shares[a]! % 1) || a - b);
  const left = images - counts.reduce((sum, count) => sum + count, 0);
  for (const i of byRemainder.slice(0, left)) counts[i]!++;
  return counts;
}

/** Turns some files into odd ones and near-copies. The first file of every concept stays what it is. */
function markSpecial(files: PlannedFile[], firsts: readonly number[], seed: number): void {
  const isFirst = new Set(firsts);
  const eligible = files.filter((file) => !isFirst.has(file.index));
  const oddCount = Math.min(eligible.length, Math.round(ODD_SHARE * files.length));
  const copyCount = Math.min(eligible.length - oddCount, Math.round(NEAR_COPY_SHARE * files.length));
  const order = keyedOrder(randomStream(seed, 'demo', 'special'), eligible.length);
  for (let i = 0; i < oddCount; i++) {
    const file = eligible[order[i]!]!;
    const kind = ODD_KINDS[i % ODD_KINDS.length]!;
    file.odd = { kind, ordinal: i };
    if (kind === 'png-alpha') file.path = file.path.replace(/jpg$/, 'png');
    if (kind === 'gif-animated') file.path = file.path.replace(/jpg$/, 'gif');
  }
  const copies = [...order.subarray(oddCount, oddCount + copyCount)].map((position) => eligible[position]!);
  const taken = new Set(copies);
  const originals = new Map<number, PlannedFile[]>();
  for (const file of files) {
    if (file.odd || taken.has(file)) continue;
    const ofConcept = originals.get(file.concept);
    if (ofConcept) ofConcept.push(file);
    else originals.set(file.concept, [file]);
  }
  const stream = randomStream(seed, 'demo', 'original');
  for (const [i, file] of copies.entries()) {
    const choice = originals.get(file.concept)!;
    file.copy = { of: choice[stream.below(file.index, choice.length)]!, change: NEAR_COPY_CHANGES[i % NEAR_COPY_CHANGES.length]! };
  }
}

function summarise(config: CorpusConfig, files: readonly PlannedFile[], ranking: readonly number[], counts: readonly number[]): CorpusSummary {
  const byPath = <T extends { path: string }>(rows: T[]): T[] => rows.sort((a, b) => (a.path < b.path ? -1 : 1));
  return {
    format: 'winnow-demo-corpus',
    version: CORPUS_VERSION,
    seed: config.seed,
    images: config.images,
    concepts: ranking.map((concept, rank) => ({ name: CONCEPTS[concept]!.name, count: counts[rank]! })),
    nearCopies: byPath(files.flatMap(({ path, copy }) => (copy ? [{ path, original: copy.of.path, change: copy.change }] : []))),
    oddFiles: byPath(files.flatMap(({ path, odd }) => (odd ? [{ path, kind: odd.kind }] : []))),
  };
}
