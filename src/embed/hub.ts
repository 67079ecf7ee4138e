/**
 * Fetches a model's files from the Hugging Face hub into a cache: `<cache>/models/<owner>--<name>/<commit>/<path>`. A
 * file appears under its name only after its hash was checked, so what is there is whole. `refs/<revision>` beside the
 * commits remembers where a branch pointed when the hub was last reached; a revision that is a commit needs no network.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { downloadFile, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { WinnowError } from '../errors.ts';

export interface HubModel {
  /** `owner/name`. */
  readonly repository: string;
  /** Branch, tag or commit. */
  readonly revision: string;
}

export interface HubOptions {
  /** Default: WINNOW_CACHE, else `winnow` in the system's cache folder. */
  readonly cacheFolder?: string;
  /** Default: HF_ENDPOINT, else https://huggingface.co. */
  readonly hubUrl?: string;
  /** For private and gated models. Default: HF_TOKEN. */
  readonly accessToken?: string;
}

export interface HubFolder {
  /** Where the files are, under their names in the repository. */
  readonly folder: string;
  /** 40 hex digits. */
  readonly commit: string;
}

/** One file of a commit, as the hub lists it: big files carry a SHA-256, small ones a git blob's SHA-1. */
interface HubFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly algorithm: 'sha256' | 'git-sha1';
  readonly hash: string;
}

/**
 * @param choose the files wanted, from the names of all files of the commit
 * @throws {WinnowError} MODEL_UNAVAILABLE when the hub cannot be reached, refuses, or breaks off; CHECKSUM_MISMATCH when
 *   a file came otherwise than listed
 */
export async function fetchFromHub(model: HubModel, choose: (paths: readonly string[]) => readonly string[], options: HubOptions = {}): Promise<HubFolder> {
  const hub = new Hub(model, options);
  const commit = await hub.commit();
  const folder = join(hub.folder, commit);
  const files = await hub.files(commit, folder);
  for (const path of choose(files.map((file) => file.path))) {
    const file = files.find((one) => one.path === path);
    if (file !== undefined && !existsSync(join(folder, path))) await hub.download(file, commit, folder);
  }
  return { folder, commit };
}

const METADATA_TIMEOUT_MS = 60_000;

class Hub {
  readonly folder: string;
  readonly #model: HubModel;
  readonly #hubUrl: string;
  readonly #credentials: { accessToken?: string };

  constructor(model: HubModel, options: HubOptions) {
    this.#model = model;
    this.#hubUrl = (options.hubUrl ?? process.env.HF_ENDPOINT ?? 'https://huggingface.co').replace(/\/+$/, '');
    const accessToken = options.accessToken ?? process.env.HF_TOKEN;
    this.#credentials = accessToken ? { accessToken } : {};
    this.folder = join(options.cacheFolder ?? defaultCacheFolder(), 'models', model.repository.replace('/', '--'));
  }

  /** The commit that the revision names now or, when the hub cannot be reached, named last. */
  async commit(): Promise<string> {
    const { repository: name, revision } = this.#model;
    if (/^[0-9a-f]{40}$/.test(revision)) return revision;
    const memory = join(this.folder, 'refs', encodeURIComponent(revision));
    try {
      const { sha } = await modelInfo({ name, revision, additionalFields: ['sha'], ...this.#request() });
      await writeWhole(memory, sha);
      return sha;
    } catch (error) {
      if (!(error instanceof HubApiError) && existsSync(memory)) return readFile(memory, 'utf8');
      throw this.#unavailable(error);
    }
  }

  /** All files of a commit. The list is kept, since a commit never changes. */
  async files(commit: string, folder: string): Promise<readonly HubFile[]> {
    const memory = join(folder, '.files.json');
    if (existsSync(memory)) return JSON.parse(await readFile(memory, 'utf8')) as HubFile[];
    try {
      const files: HubFile[] = [];
      for await (const { type, path, size, oid, lfs } of listFiles({ repo: this.#model.repository, revision: commit, recursive: true, ...this.#request() })) {
        if (type === 'file' && !path.split('/').includes('..')) files.push({ path, sizeBytes: lfs?.size ?? size, ...(lfs ? { algorithm: 'sha256', hash: lfs.oid } : { algorithm: 'git-sha1', hash: oid ?? '' }) });
      }
      await writeWhole(memory, JSON.stringify(files, null, 1));
      return files;
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  async download(file: HubFile, commit: string, folder: string): Promise<void> {
    const target = join(folder, ...file.path.split('/'));
    const temporary = `${target}.${randomUUID()}.part`;
    await mkdir(dirname(target), { recursive: true });
    try {
      const got = await this.#stream(file, commit, temporary);
      if (got !== file.hash) {
        throw new WinnowError('CHECKSUM_MISMATCH', `Expected ${file.path} of hf:${this.#model.repository} to have the ${file.algorithm} ${file.hash}, got ${got}; nothing was kept, try again`, {
          details: { path: file.path, expected: file.hash, got },
        });
      }
      await rename(temporary, target);
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** @returns the hash of what came, hex */
  async #stream(file: HubFile, commit: string, temporary: string): Promise<string> {
    const hash = file.algorithm === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${file.sizeBytes}\0`);
    const counter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        hash.update(chunk);
        done(null, chunk);
      },
    });
    try {
      // Plain HTTP instead of the hub's chunk protocol: mirrors and proxies understand it.
      const blob = await downloadFile({ repo: this.#model.repository, revision: commit, path: file.path, hubUrl: this.#hubUrl, xet: false, ...this.#credentials });
      if (blob === null) throw new Error(`the hub lists ${file.path} but does not have it`);
      await pipeline(Readable.fromWeb(blob.stream() as ReadableStream), counter, createWriteStream(temporary));
    } catch (error) {
      throw this.#unavailable(error);
    }
    return hash.digest('hex');
  }

  #request(): { hubUrl: string; fetch: typeof fetch; accessToken?: string } {
    const timed: typeof fetch = (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(METADATA_TIMEOUT_MS) });
    return { hubUrl: this.#hubUrl, fetch: timed, ...this.#credentials };
  }

  #unavailable(error: unknown): WinnowError {
    const { repository, revision } = this.#model;
    const model = `hf:${repository}${revision === 'main' ? '' : `@${revision}`}`;
    const status = error instanceof HubApiError ? error.statusCode : undefined;
    const advice = 'with the files in a folder of your own, give its path instead';
    const sentence =
      status === 401 || status === 403 || status === 404
        ? `${this.#hubUrl} has no public model ${model} (status ${status}): check the name and revision; for a private or gated model accept its terms at ${this.#hubUrl}/${repository} and set HF_TOKEN`
        : `Cannot fetch ${model} from ${this.#hubUrl} (${reasonOf(error)}); ${advice}`;
    return new WinnowError('MODEL_UNAVAILABLE', sentence, { details: { repository, revision, status: status ?? null }, cause: error });
  }
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : (error.cause as { code?: string } | undefined)?.code ?? error.message;
}

function defaultCacheFolder(): string {
  if (process.env.WINNOW_CACHE) return process.env.WINNOW_CACHE;
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'winnow');
  if (process.platform === 'win32') return join(process.env.LOCALAPPDATA ?? join(homedir(), 'AppData', 'Local'), 'winnow');
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'winnow');
}

async function writeWhole(path: string, content: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}.part`;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(temporary, content);
  await rename(temporary, path);
}
