/**
 * `hashes/`: the perceptual hashes of a pool, a table by row whose parts hold the rows of those of `embeddings/`. Each image is
 * read and decoded a second time for it; an image that has changed since it was embedded gets no hash. `fault` says why a row
 * that was in the pool has none.
 */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import { decodeImage } from '../embed/decode.ts';
import { type DecodeLimits, type EmbeddingPart, type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { type ImageAgain, readAgain } from '../embed/second-read.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type Part, type StoredManifest, readPart, rowCountOf } from '../run/manifest.ts';
import { type RunContext, type TaskEnv, type TaskKind, runStage } from '../run/stage.ts';
import type { Store } from '../store/store.ts';
import { type HashesManifest, type PerceptualConfig, hashPixels, hashSpec, variantsOf } from './perceptual-hash.ts';
import { readTaken, verdictParts } from './taken-rows.ts';

export interface HashRequest {
  readonly embeddings: StoredManifest<EmbeddingsManifest>;
  readonly images: StoredManifest<ImagesManifest>;
  /** Tables of steps that took rows out before. */
  readonly verdicts: readonly StoredManifest[];
  readonly config: Pick<PerceptualConfig, 'hash' | 'flips'>;
  readonly limits: DecodeLimits;
}

/** Key prefix of the table. */
export const HASHES = 'hashes';

/** Hashes every image that is still in the pool, one task a part. 8 bytes a row on disk and bit of its own, 64 with flips. */
export function hashImages(context: RunContext, { embeddings, images, verdicts, config, limits }: HashRequest): Promise<StoredManifest<HashesManifest>> {
  const settings = { hash: config.hash, flips: config.flips };
  return runStage<HashesManifest>(context, {
    path: HASHES,
    stage: 'dedup',
    config: { ...settings, limits },
    inputs: [images, embeddings, ...verdicts],
    seeded: false,
    make: async () => {
      const { parts } = embeddings.manifest;
      const judged = verdictParts(parts, verdicts);
      context.progress.begin(HASHES, rowCountOf(parts), 'images');
      const payloads = parts.map((part, p): HashPayload => ({
        embeddings: part,
        images: images.manifest.parts.find(({ firstRow, rowCount }) => firstRow <= part.firstRow && part.firstRow < firstRow + rowCount)!,
        verdicts: judged[p]!,
        config: settings,
        limits,
        out: `${HASHES}/part-${String(p).padStart(5, '0')}.arrow`,
      }));
      const results = await context.executor.map(hashPart, payloads, HASHES);
      const faults: Record<string, number> = {};
      for (const result of results) for (const [fault, count] of Object.entries(result.faults)) faults[fault] = (faults[fault] ?? 0) + count;
      const hashed = results.reduce((sum, result) => sum + result.hashed, 0);
      context.progress.end(`${hashed} images hashed`);
      return { parts: results.map(({ part }) => part), stats: { hashed, faults }, variants: variantsOf(settings) };
    },
  });
}

export interface HashPayload {
  readonly embeddings: EmbeddingPart;
  readonly images: Part;
  readonly verdicts: readonly Part[];
  readonly config: HashRequest['config'];
  readonly limits: DecodeLimits;
  readonly out: string;
}

export interface HashResult {
  readonly part: Part;
  readonly hashed: number;
  readonly faults: Readonly<Record<string, number>>;
}

/** One part. `flat`: too little contrast for a hash; the others are what the second read, or decoding again, said. */
export const hashPart: TaskKind<HashPayload, HashResult> = {
  name: 'dedup-hash',
  version: 1,
  run: async (payload, env) => {
    const { config, limits, out, embeddings } = payload;
    const { firstRow, rowCount } = embeddings;
    const { positions, again } = await listImages(env.store, payload);
    const spec = hashSpec(config);
    const d = variantsOf(config) * 2;
    const words = new Uint32Array(rowCount * d);
    const valid = new Uint8Array(rowCount);
    const fault = new Array<string | null>(rowCount).fill(null);
    const look = async (bytes: Uint8Array, i: number): Promise<string | null> => {
      const at = positions[i]!;
      const decoded = await decodeImage(bytes, spec, limits);
      if (decoded.status !== 'ok') return decoded.status;
      return hashPixels(decoded.pixels, config, words.subarray(at * d, (at + 1) * d)) ? null : 'flat';
    };
    env.advance(rowCount - positions.length);
    await collect(readAgain(again, limits.sizeBytesMax, env, look), positions, fault, valid, env);
    const bytes = encodeTable({ hash: { type: 'vector', element: 'uint32', d, values: words, valid }, fault: { type: 'dictionary', values: fault } });
    const { sizeBytes, sha256 } = await env.store.write(out, bytes);
    const faults: Record<string, number> = {};
    for (const one of fault) if (one !== null) faults[one] = (faults[one] ?? 0) + 1;
    return { part: { path: out, firstRow, rowCount, bytes: sizeBytes, sha256 }, hashed: valid.reduce((sum, one) => sum + one, 0), faults };
  },
};

async function collect(reads: ReturnType<typeof readAgain<string | null>>, positions: readonly number[], fault: (string | null)[], valid: Uint8Array, env: TaskEnv): Promise<void> {
  let i = 0;
  for await (const read of reads) {
    const at = positions[i++]!;
    fault[at] = read.status === 'ok' ? read.value : read.status;
    valid[at] = fault[at] === null ? 1 : 0;
    env.advance(1);
  }
}

/** The rows of the part that are still in the pool, and where their bytes lie. */
async function listImages(store: Store, { embeddings, images, verdicts }: HashPayload): Promise<{ positions: number[]; again: ImageAgain[] }> {
  const { id, status } = await readEmbeddingFacts(store, embeddings);
  const taken = await readTaken(store, verdicts, embeddings.rowCount);
  const view = decodeTable(await readPart(store, images), images.path);
  const [source, path, offset, length, size] = [view.strings('source'), view.strings('path'), view.numbers('offset'), view.numbers('length'), view.numbers('size')];
  const [inTar, sized] = [view.validity('offset'), view.validity('size')];
  const positions: number[] = [];
  const again: ImageAgain[] = [];
  for (let i = 0; i < embeddings.rowCount; i++) {
    if (status[i] !== 'ok' || taken[i] === 1) continue;
    const at = embeddings.firstRow + i - images.firstRow;
    const isWhole = inTar?.[at] === 0;
    positions.push(i);
    again.push({ place: { source: source[at]!, path: path[at]!, offset: isWhole ? -1 : offset[at]!, length: isWhole ? -1 : length[at]! }, id: id[i]!, sizeBytes: sized?.[at] === 0 ? -1 : size[at]! });
  }
  return { positions, again };
}
