/** Draws the demo corpus onto a disk: one folder a concept, `corpus.json` last. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { throwIfAborted, WinnowError } from '../errors.ts';
import { randomStream } from '../random.ts';
import { CONCEPTS } from './concepts.ts';
import type { CorpusPlan, PlannedFile } from './corpus.ts';
import { CorpusConfig, CorpusSummary, planCorpus } from './corpus.ts';
import type { PictureTables } from './draw-picture.ts';
import { drawPicture, drawTables } from './draw-picture.ts';
import { makeOddFile } from './odd-files.ts';
import { encodeJpeg, encodeNearCopy } from './write.ts';

const SUMMARY_FILE = 'corpus.json';
/** What this module may delete: files of its own naming, whole or half-written. */
const OWN_FILE = /^\.?[a-z-]+-\d{5,}\.(jpg|png|gif)(\.part)?$/;

export interface DrawCorpusOptions extends Partial<CorpusConfig> {
  signal?: AbortSignal | undefined;
  /** After every file; `done` grows by one. Not called when the corpus is there already. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Files in the making at a time, at least 1. Changes no byte. */
  concurrency?: number | undefined;
}

/**
 * Draws small labelled JPEGs (the folder is the label) with a long-tailed number of images a concept, 2 % near-copies
 * and 1 % odd files, under `directory`, which is made when missing.
 *
 * The bytes of every file are a function of (seed, images, concepts). A corpus that is there already, by its
 * `corpus.json`, is returned as it is; a half-drawn one, or one of other parameters, is drawn anew and its surplus files
 * are removed. Files that are not the corpus's own are never touched. Memory is O(images) for the plan alone.
 *
 * @throws {WinnowError} CONFIG_INVALID, STORE_DENIED, STORE_FULL, STORE_UNAVAILABLE, ABORTED
 */
export async function drawCorpus(directory: string, options: DrawCorpusOptions = {}): Promise<CorpusSummary> {
  const { signal, onProgress, concurrency = 4, ...config } = options;
  assert(Number.isSafeInteger(concurrency) && concurrency >= 1, `Expected concurrency to be a whole number of at least 1, got ${concurrency}`);
  const parsed = CorpusConfig.safeParse(config);
  if (!parsed.success) {
    const said = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'options'}: ${message}`).join('; ');
    throw new WinnowError('CONFIG_INVALID', `Demo corpus options are wrong: ${said}`, { cause: parsed.error });
  }
  throwIfAborted(signal);
  const plan = planCorpus(parsed.data);
  if (await isDrawn(directory, plan.summary)) return plan.summary;
  try {
    await clearSurplus(directory, plan);
    for (const { name } of plan.summary.concepts) await mkdir(join(directory, name), { recursive: true });
    await drawFiles(directory, plan, concurrency, { signal, onProgress });
    await commit(directory, SUMMARY_FILE, `${JSON.stringify(plan.summary, null, 2)}\n`);
  } catch (error) {
    throw asOperatingError(error, directory);
  }
  return plan.summary;
}

async function isDrawn(directory: string, expected: CorpusSummary): Promise<boolean> {
  const text = await readFile(join(directory, SUMMARY_FILE), 'utf8').catch(() => undefined);
  if (text === undefined) return false;
  try {
    return isDeepStrictEqual(CorpusSummary.parse(JSON.parse(text)), expected);
  } catch {
    // Unreadable means not ours or not whole: it is drawn anew.
    return false;
  }
}

/** Takes back the summary first, so that a run killed here leaves no false promise; then the files of another plan. */
async function clearSurplus(directory: string, plan: CorpusPlan): Promise<void> {
  await rm(join(directory, SUMMARY_FILE), { force: true });
  const planned = new Set(plan.files.map(({ path }) => path));
  for (const { name } of CONCEPTS) {
    const folder = join(directory, name);
    const entries = await readdir(folder).catch(() => undefined);
    if (entries === undefined) continue;
    let kept = 0;
    for (const entry of entries) {
      if (!OWN_FILE.test(entry) || planned.has(`${name}/${entry}`)) kept++;
      else await rm(join(folder, entry));
    }
    if (kept === 0) await rmdir(folder);
  }
}

async function drawFiles(directory: string, plan: CorpusPlan, concurrency: number, watch: Pick<DrawCorpusOptions, 'signal' | 'onProgress'>): Promise<void> {
  const { signal, onProgress } = watch;
  const tables = drawTables(plan.summary.seed);
  const total = plan.files.length;
  let next = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    while (next < total) {
      throwIfAborted(signal);
      const file = plan.files[next++]!;
      await commit(directory, file.path, await makeFile(file, tables));
      onProgress?.(++done, total);
    }
  };
  const lanes = Array.from({ length: concurrency }, () =>
    lane().catch((error: unknown) => {
      next = total; // The other lanes finish the file in hand and stop.
      throw error;
    }),
  );
  // Nothing may still be writing when this returns, so all lanes are awaited before the first error goes on.
  const outcomes = await Promise.allSettled(lanes);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/** The bytes of one file of the plan. */
async function makeFile(file: PlannedFile, tables: PictureTables): Promise<Uint8Array> {
  const stream = randomStream(tables.seed, 'demo', 'file', file.index);
  const source = file.copy?.of ?? file;
  const picture = drawPicture(tables, source.index, CONCEPTS[source.concept]!);
  if (file.odd) return makeOddFile(file.odd.kind, picture, file.odd.ordinal, stream);
  if (!file.copy) return encodeJpeg(picture, stream);
  const original = await encodeJpeg(picture, randomStream(tables.seed, 'demo', 'file', source.index));
  return encodeNearCopy(original, picture, file.copy.change, stream);
}

/** Writes under a temporary name, then renames: a file with its final name is always whole. */
async function commit(directory: string, path: string, bytes: Uint8Array | string): Promise<void> {
  const target = join(directory, path);
  const folder = dirname(target);
  const temporary = join(folder, `.${target.slice(folder.length + 1)}.part`);
  await writeFile(temporary, bytes);
  await rename(temporary, target);
}

function asOperatingError(error: unknown, directory: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (error instanceof WinnowError || typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return error;
  const options = { details: { directory, code }, cause: error };
  if (code === 'ENOSPC' || code === 'EDQUOT') return new WinnowError('STORE_FULL', `No space left for the demo corpus in ${directory}`, options);
  if (/^(EACCES|EPERM|EROFS|ENOTDIR|EEXIST)$/.test(code)) {
    return new WinnowError('STORE_DENIED', `Expected a folder for the demo corpus that can be written, got ${code} in ${directory}`, options);
  }
  return new WinnowError('STORE_UNAVAILABLE', `Could not write the demo corpus to ${directory}: ${code}`, options);
}
