/**
 * Finds the files of a model: the ONNX file, weights kept beside it, `preprocessor_config.json` and `config.json`. Folders
 * are laid out as Hugging Face repositories are: ONNX files at the top or in `onnx/`, configurations at the top.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { WinnowError } from '../errors.ts';
import { fetchFromHub, type HubOptions } from './hub.ts';

export interface ModelFiles {
  /** Path of the ONNX file on this machine. */
  readonly path: string;
  /** ONNX file and external weights together. */
  readonly sizeBytes: number;
  /** Parsed `preprocessor_config.json` or `processor_config.json`; null without one. */
  readonly preprocessor: unknown;
  /** Parsed `config.json`; null without one. */
  readonly config: unknown;
  /** What the manifest records: file name and SHA-256, external weights, repository and commit. No machine path. */
  readonly provenance: Readonly<Record<string, unknown>>;
}

/** In the order they are looked for. Of a two-tower model (CLIP, SigLIP) the vision tower alone takes images. */
const MODEL_PATHS = ['onnx/vision_model.onnx', 'vision_model.onnx', 'model.onnx', 'onnx/model.onnx'];
const PREPROCESSORS = ['preprocessor_config.json', 'processor_config.json'];

/**
 * @param reference path of an ONNX file or of a folder with one, the same as a `file:` URL, or
 *   `hf:owner/name[@revision][/path/to.onnx]`
 * @throws {WinnowError} MODEL_UNAVAILABLE when it is not there; MODEL_INVALID when it is not clear which file is meant
 *   or a configuration is no JSON; CHECKSUM_MISMATCH
 */
export async function resolveModel(reference: string, options: HubOptions = {}): Promise<ModelFiles> {
  return reference.startsWith('hf:') ? resolveHub(reference, options) : resolveLocal(reference);
}

async function resolveHub(reference: string, options: HubOptions): Promise<ModelFiles> {
  const match = /^hf:([\w.-]+\/[\w.-]+)(?:@([^/]+))?(?:\/(.+))?$/.exec(reference);
  if (match === null) throw invalid(`Expected a model as hf:owner/name[@revision][/path/to.onnx], got ${reference}`);
  const [, repository = '', revision = 'main', wanted] = match;
  let chosen = '';
  const { folder, commit } = await fetchFromHub(
    { repository, revision: decodeURIComponent(revision) },
    (paths) => {
      chosen = chooseModel(paths, wanted, `hf:${repository}`);
      // The ONNX file comes last: where it is, everything it needs is.
      return [...paths.filter((path) => isWeightsOf(path, chosen)), ...sidecars(paths), chosen];
    },
    options,
  );
  return readFiles(folder, chosen, { repository, revision: commit, file: chosen });
}

async function resolveLocal(reference: string): Promise<ModelFiles> {
  const path = reference.startsWith('file:') ? fileURLToPath(reference) : reference;
  const facts = await stat(path).catch(() => null);
  if (facts === null) throw new WinnowError('MODEL_UNAVAILABLE', `Expected an ONNX file or a folder with one at ${path}, found nothing`, { details: { path } });
  const top = facts.isDirectory() ? path : basename(dirname(path)) === 'onnx' ? dirname(dirname(path)) : dirname(path);
  const chosen = facts.isDirectory() ? chooseModel(await listFolder(path), undefined, path) : path.slice(top.length).replace(/^[\\/]/, '');
  return readFiles(top, chosen, { file: basename(chosen) });
}

/** Files at the top and in `onnx/`, as names in a repository. */
async function listFolder(folder: string): Promise<string[]> {
  const names = async (path: string): Promise<string[]> => (await readdir(path, { withFileTypes: true }).catch(() => [])).filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  return [...(await names(folder)), ...(await names(join(folder, 'onnx'))).map((name) => `onnx/${name}`)].sort();
}

function chooseModel(paths: readonly string[], wanted: string | undefined, where: string): string {
  const models = paths.filter((path) => path.endsWith('.onnx'));
  const found = wanted === undefined ? (MODEL_PATHS.find((path) => models.includes(path)) ?? (models.length === 1 ? models[0] : undefined)) : models.find((path) => path === wanted);
  if (found !== undefined) return found;
  const there = models.length === 0 ? 'there is no ONNX file' : `there are ${models.slice(0, 12).join(', ')}`;
  throw invalid(`Expected ${wanted ?? MODEL_PATHS.join(' or ')} in ${where}; ${there}`, { models });
}

/** Weights above 2 GB lie beside the ONNX file as `model.onnx_data`, `model.onnx_data_1` … or `model.onnx.data`. */
function isWeightsOf(path: string, model: string): boolean {
  return path.startsWith(`${model}_data`) || path === `${model}.data`;
}

function sidecars(paths: readonly string[]): string[] {
  return [...PREPROCESSORS, 'config.json'].filter((path) => paths.includes(path));
}

async function readFiles(folder: string, model: string, source: Readonly<Record<string, unknown>>): Promise<ModelFiles> {
  const path = join(folder, model);
  const beside = (await readdir(dirname(path))).filter((name) => isWeightsOf(name, basename(path))).sort();
  const weights: { file: string; sha256: string }[] = [];
  let { size: sizeBytes } = await stat(path);
  for (const name of beside) {
    const file = join(dirname(path), name);
    sizeBytes += (await stat(file)).size;
    weights.push({ file: name, sha256: await sha256Of(file) });
  }
  const preprocessor = (await readJson(folder, PREPROCESSORS[0] ?? '')) ?? (await readJson(folder, PREPROCESSORS[1] ?? ''));
  return {
    path,
    sizeBytes,
    preprocessor,
    config: await readJson(folder, 'config.json'),
    provenance: { ...source, sha256: await sha256Of(path), ...(weights.length > 0 && { weights }) },
  };
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  return hash.digest('hex');
}

async function readJson(folder: string, name: string): Promise<unknown> {
  const text = await readFile(join(folder, name), 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(`Expected JSON in ${join(folder, name)}: ${(error as Error).message}`);
  }
}

function invalid(message: string, details: Record<string, unknown> = {}): WinnowError {
  return new WinnowError('MODEL_INVALID', message, { details });
}
