import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeTable, encodeTable } from '../../src/arrow/ipc.ts';
import { components } from '../../src/dedup/components.ts';
import { ingestImages } from '../../pipelines/1-ingest.ts';
import { embedImages } from '../../pipelines/2-embed.ts';
import { readPairs } from '../../src/dedup/duplicates.ts';
import { findPerceptual } from '../../src/dedup/find-perceptual.ts';
import { createHammingIndex } from '../../src/dedup/hamming-index.ts';
import { findHashPairs, planHashPairs } from '../../src/dedup/hash-pairs.ts';
import { type HashesManifest, PerceptualConfig, hammingDistance, hashPixels, hashSpec, readHashes, variantsOf } from '../../src/dedup/perceptual-hash.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import { decodeImage } from '../../src/embed/decode.ts';
import { DEFAULT_DECODE_LIMITS } from '../../src/embed/embedding.ts';
import { MANIFEST_FORMAT, MANIFEST_VERSION, type Part, type StoredManifest, writeManifest, writePart } from '../../src/run/manifest.ts';
import type { TaskEnv } from '../../src/run/stage.ts';
import { SourceConfig } from '../../src/ingest/image.ts';
import { resolveSources } from '../../src/ingest/ingest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import type { Store } from '../../src/store/store.ts';
import { localContext } from '../helpers/local-context.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const dhash = { hash: 'dhash', flips: false } as const;
const phash = { hash: 'phash', flips: false } as const;

/** A picture with structure at several scales, from a number. */
function picture(seed: number, width = 120, height = 90): Buffer {
  const pixels = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const wave = Math.sin((x / width) * (3 + (seed % 5)) + seed) * Math.cos((y / height) * (4 + (seed % 3)) + c) + 0.6 * Math.sin((x / width) * 11 - (y / height) * 7 + seed * 1.7);
        pixels[(y * width + x) * 3 + c] = 128 + Math.round(70 * wave);
      }
    }
  }
  return pixels;
}

const encode = (seed: number) => sharp(picture(seed), { raw: { width: 120, height: 90, channels: 3 } });

async function hashOf(bytes: Buffer, config: Pick<PerceptualConfig, 'hash' | 'flips'>): Promise<Uint32Array | null> {
  const decoded = await decodeImage(bytes, hashSpec(config), DEFAULT_DECODE_LIMITS);
  if (decoded.status !== 'ok') throw new Error(decoded.status);
  const out = new Uint32Array(variantsOf(config) * 2);
  return hashPixels(decoded.pixels, config, out) ? out : null;
}

const distance = (a: Uint32Array, b: Uint32Array, at = 0): number => hammingDistance(a[0]!, a[1]!, b[at]!, b[at + 1]!);

describe('hashPixels', () => {
  it('gives a ramp to the right all ones, to the left all zeros', () => {
    const ramp = (up: boolean): Uint8Array => Uint8Array.from({ length: 72 * 72 * 3 }, (_, i) => (up ? 1 : -1) * (Math.floor(i / 3) % 72) + (up ? 0 : 200));
    const out = new Uint32Array(2);
    expect(hashPixels(ramp(true), dhash, out)).toBe(true);
    expect([...out]).toEqual([0xffffffff, 0xffffffff]);
    expect(hashPixels(ramp(false), dhash, out)).toBe(true);
    expect([...out]).toEqual([0, 0]);
  });

  it('has one bit for each of the 63 lowest frequencies, half of them set', () => {
    const pixels = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (Math.imul(Math.floor(i / 3), 2654435761) >>> 24) & 0xff);
    const out = new Uint32Array(2);
    hashPixels(pixels, phash, out);
    expect(hammingDistance(out[0]!, out[1]!, 0, 0)).toBe(31);
    expect(out[0]! & 1).toBe(0);
    // The picture of one frequency: its bit alone is above the median for sure.
    const wave = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => Math.round(128 + 100 * Math.cos((Math.PI * 3 * (2 * (Math.floor(i / 3) % 32) + 1)) / 64)));
    hashPixels(wave, phash, out);
    expect((out[0]! >>> 3) & 1).toBe(1);
  });

  it.each([dhash, phash])('$hash: sees through codec, size and brightness, and tells pictures apart', async (config) => {
    for (const seed of [1, 2, 3, 4]) {
      const own = (await hashOf(await encode(seed).png().toBuffer(), config))!;
      for (const copy of [encode(seed).jpeg({ quality: 30 }), encode(seed).resize(60, 45).png(), encode(seed).modulate({ brightness: 1.15 }).jpeg()]) {
        expect(distance(own, (await hashOf(await copy.toBuffer(), config))!)).toBeLessThanOrEqual(6);
      }
      expect(distance(own, (await hashOf(await encode(seed + 10).png().toBuffer(), config))!)).toBeGreaterThan(12);
    }
  });

  it.each(['dhash', 'phash'] as const)('%s with flips: one of the eight hashes of a turned copy is that of the original', async (hash) => {
    const config = { hash, flips: true };
    const own = (await hashOf(await encode(5).png().toBuffer(), config))!;
    for (const copy of [encode(5).flop(), encode(5).flip(), encode(5).rotate(90), encode(5).rotate(180), encode(5).rotate(270)]) {
      const turned = (await hashOf(await copy.png().toBuffer(), config))!;
      const distances = Array.from({ length: 8 }, (_, v) => distance(own, turned, v * 2));
      expect(Math.min(...distances)).toBeLessThanOrEqual(2);
      expect(distances[0]).toBeGreaterThan(12);
    }
  });

  it('gives a blank page no hash, however noisy', async () => {
    const noisy = Buffer.from(Uint8Array.from({ length: 120 * 90 * 3 }, (_, i) => 200 + ((Math.imul(i, 2654435761) >>> 28) & 7)));
    for (const config of [dhash, phash]) expect(await hashOf(await sharp(noisy, { raw: { width: 120, height: 90, channels: 3 } }).png().toBuffer(), config)).toBeNull();
  });
});

/** Hashes with many near ones: a few centres with up to `spread` bits changed. */
const hashes = (n: number, spread: number, seed: number): Uint32Array => {
  let state = seed >>> 0;
  const next = (): number => (state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0);
  const centres = Array.from({ length: 7 }, () => [next(), next()] as const);
  const words = new Uint32Array(n * 2);
  for (let i = 0; i < n; i++) {
    const [low, high] = centres[next() % 7]!;
    words[i * 2] = low;
    words[i * 2 + 1] = high;
    for (let flips = next() % (spread + 1); flips > 0; flips--) words[i * 2 + (next() & 1)]! ^= 1 << (next() & 31);
  }
  return words;
};

describe('createHammingIndex', () => {
  it('finds what brute force finds, each entry once, at any radius', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 16 }), fc.integer({ min: 1, max: 300 }), fc.integer(), (radius, n, seed) => {
        const words = hashes(n, 20, seed);
        const index = createHammingIndex(words, radius);
        for (let q = 0; q < Math.min(n, 20); q++) {
          const found: string[] = [];
          index.within(words[q * 2]!, words[q * 2 + 1]!, (entry, bits) => found.push(`${entry} ${bits}`));
          const expected = Array.from({ length: n }, (_, i) => [i, hammingDistance(words[q * 2]!, words[q * 2 + 1]!, words[i * 2]!, words[i * 2 + 1]!)] as const).filter(([, bits]) => bits <= radius);
          expect(found.sort()).toEqual(expected.map(([i, bits]) => `${i} ${bits}`).sort());
        }
      }),
      { numRuns: 60 },
    );
  });
});

async function writeHashes(store: Store, words: Uint32Array, valid: Uint8Array, variants: number, partRows: number): Promise<StoredManifest<HashesManifest>> {
  const parts: Part[] = [];
  const d = variants * 2;
  for (let row = 0; row < valid.length; row += partRows) {
    const rows = Math.min(partRows, valid.length - row);
    parts.push(await writePart(store, 'hashes', parts, rows, encodeTable({ hash: { type: 'vector', element: 'uint32', d, values: words.slice(row * d, (row + rows) * d), valid: valid.slice(row, row + rows) } })));
  }
  return writeManifest(store, 'hashes', { format: MANIFEST_FORMAT, version: MANIFEST_VERSION, stage: 'dedup', inputs: [], config: {}, configHash: '', seed: 0, parts, stats: {}, createdBy: 'test', variants });
}

interface Edge {
  readonly a: number;
  readonly b: number;
  readonly similarity: number;
}

async function pairsOf(store: Store, hashes: StoredManifest<HashesManifest>, options: { radius: number; windowRows: number }): Promise<Edge[]> {
  const edges: Edge[] = [];
  const env = { store, signal: new AbortController().signal, advance: () => undefined } as unknown as TaskEnv;
  for (const payload of planHashPairs(hashes, { ...options, out: `work/pairs-${options.windowRows}` })) {
    for (const part of (await findHashPairs.run(payload, env)).pairs) {
      const view = decodeTable(await store.read(part.path), part.path);
      const [a, b, similarity] = [view.numbers('a'), view.numbers('b'), view.numbers('similarity')];
      for (let i = 0; i < view.rowCount; i++) edges.push({ a: a[i]!, b: b[i]!, similarity: similarity[i]! });
    }
  }
  return edges;
}

async function groupsOf(edges: readonly Edge[], n: number): Promise<number[]> {
  const block = { a: edges.map(({ a }) => a), b: edges.map(({ b }) => b) };
  const smallest: number[] = [];
  for await (const found of components((async function* () { yield block; })(), n)) smallest.push(...found.smallest);
  return smallest;
}

/** For each row its largest similarity. */
function strongest(edges: readonly Edge[], n: number): number[] {
  const best = new Array<number>(n).fill(0);
  for (const { a, b, similarity } of edges) for (const row of [a, b]) best[row] = Math.max(best[row]!, similarity);
  return best;
}

describe('findHashPairs', () => {
  it.each([1, 8])('%i variants: connects and ranks as all pairs would, whatever the window', async (variants) => {
    const store = await openFsStore(await temporaryFolder());
    const n = 400;
    for (const [radius, seed] of [[0, 1], [3, 2], [6, 3], [10, 4]] as const) {
      const words = variants === 1 ? hashes(n, 14, seed) : hashes(n * variants, 24, seed);
      const valid = Uint8Array.from({ length: n }, (_, i) => (i % 17 === 5 ? 0 : 1));
      const written = await writeHashes(store, words, valid, variants, 64);
      const all: Edge[] = [];
      for (let b = 0; b < n; b++) {
        for (let a = 0; a < b; a++) {
          if (valid[a] === 0 || valid[b] === 0) continue;
          let bits = 64;
          for (let v = 0; v < variants; v++) bits = Math.min(bits, hammingDistance(words[a * variants * 2]!, words[a * variants * 2 + 1]!, words[(b * variants + v) * 2]!, words[(b * variants + v) * 2 + 1]!));
          if (bits <= radius) all.push({ a, b, similarity: 1 - bits / 64 });
        }
      }
      expect(all.length).toBeGreaterThan(0);
      const known = new Map(all.map(({ a, b, similarity }) => [`${a} ${b}`, similarity]));
      for (const windowRows of [64, 150, 1000]) {
        const edges = await pairsOf(store, written, { radius, windowRows });
        for (const { a, b, similarity } of edges) expect(similarity).toBe(known.get(`${a} ${b}`));
        expect(await groupsOf(edges, n)).toEqual(await groupsOf(all, n));
        expect(strongest(edges, n)).toEqual(strongest(all, n));
        if (windowRows === 1000) expect(edges.length).toBeLessThanOrEqual(3 * n);
      }
    }
  });
});

describe('findPerceptual', () => {
  it('hashes what is still in the pool and still there, counts the rest, and pairs a copy with its original', async () => {
    const folder = await temporaryFolder();
    const images = join(folder, 'images');
    await mkdir(images);
    for (let seed = 0; seed < 6; seed++) await encode(seed).png().toFile(join(images, `${seed}.png`));
    await encode(2).jpeg({ quality: 40 }).toFile(join(images, '6-copy.jpg'));
    await encode(3).flop().jpeg().toFile(join(images, '7-mirrored.jpg'));
    await sharp({ create: { width: 50, height: 50, channels: 3, background: 'white' } }).png().toFile(join(images, '8-blank.png'));
    await writeFile(join(images, '9-broken.png'), 'no picture');
    const store = await openFsStore(join(folder, 'store'));
    const { context, close } = localContext(store, { images });
    const listed = await ingestImages(context, 'images', resolveSources([SourceConfig.parse({ folder: images })], '/'));
    const embeddings = await embedImages(context, 'embeddings', listed, EmbedConfig.parse({ maxDropRatio: 0.5 }), 'descriptor');
    await encode(9).png().toFile(join(images, '4.png'));
    await rm(join(images, '5.png'));
    const filters = await writeManifest(store, 'filters', { ...embeddings.manifest, stage: 'filter', parts: [await writePart(store, 'filters', [], 10, encodeTable({ reason: { type: 'dictionary', values: Array.from({ length: 10 }, (_, i) => (i === 0 ? 'filter:mine' : null)) } }))] });
    for (const [flips, expected] of [[false, ['2 6']], [true, ['2 6', '3 7']]] as const) {
      const config = PerceptualConfig.parse({ flips });
      const { hashes, pairs } = await findPerceptual(context, { images: listed, embeddings, verdicts: [filters], config, limits: DEFAULT_DECODE_LIMITS });
      expect(hashes.manifest.stats).toEqual({ hashed: 5, faults: { changed: 1, unreadable: 1, flat: 1 } });
      const { valid } = await readHashes(store, hashes.manifest.parts[0]!);
      expect([...valid]).toEqual([0, 1, 1, 1, 0, 0, 1, 1, 0, 0]);
      const found = new Set<string>();
      for (const part of pairs.manifest.parts) {
        const { a, b } = await readPairs(store, part);
        a.forEach((row, i) => found.add(`${row} ${b[i]}`));
      }
      expect([...found].sort()).toEqual(expected);
    }
    await close();
  });
});
