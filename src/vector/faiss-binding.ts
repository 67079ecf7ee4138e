/**
 * The one door to faiss-node 0.5, an optional dependency: loads it, and hands it matrices.
 *
 * Matrices go in as index files. `add` takes plain arrays only, and `fromBuffer` never frees the bytes it was given (it
 * makes its reader with `new` and leaves it). An index has no way to be closed either: it goes with the garbage, whose
 * collector does not know its size. So what is let go of is counted, and collected every 256 MB.
 */
import { createRequire } from 'node:module';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { WinnowError } from '../errors.ts';
import { type FlatIndexFacts, flatIndexHeader } from './faiss-index.ts';

/** What is used of an index. Blocks while it searches. */
export interface FaissIndex {
  /** The k nearest (or largest) of each row, best first: `labels` −1 where there is none. x: rows × d. */
  search(x: number[], k: number): { readonly distances: number[]; readonly labels: number[] };
}

export interface FaissBinding {
  /** Of faiss-node. */
  readonly version: string;
  /** @param matrix n × d, row-major; not kept */
  open(matrix: Float32Array, facts: FlatIndexFacts): Promise<FaissIndex>;
  /** Says that nothing refers to an index of n × d floats any more. */
  forget(n: number, d: number): Promise<void>;
  close(): Promise<void>;
}

interface FaissNode {
  readonly Index: { read(path: string): FaissIndex };
}

/** Bytes of forgotten indexes at which the garbage is collected. */
const FORGOTTEN_BYTES = 2 ** 28;

/**
 * Loads faiss-node.
 *
 * @param options.module package name, or folder of a package built elsewhere
 * @param options.threads of faiss and its BLAS; heard by the first load of a process only, and only where OMP_NUM_THREADS is not set
 * @throws {WinnowError} PROVIDER_UNAVAILABLE when there is none that loads here
 */
export async function loadFaiss({ module = 'faiss-node', threads }: { readonly module?: string; readonly threads?: number }): Promise<FaissBinding> {
  const { faiss, version } = load(module, threads);
  let folder: Promise<string> | null = null;
  let files = 0;
  let forgotten = 0;
  return {
    version,
    open: async (matrix, facts) => {
      folder ??= temporaryFolder();
      const path = join(await folder, `${files++}.index`);
      try {
        await writeFile(path, [flatIndexHeader(facts), new Uint8Array(matrix.buffer, matrix.byteOffset, facts.n * facts.d * 4)]).catch(failTemporary);
        return faiss.Index.read(path);
      } finally {
        await rm(path, { force: true });
      }
    },
    forget: async (n, d) => {
      forgotten += n * d * 4;
      if (forgotten < FORGOTTEN_BYTES) return;
      forgotten = 0;
      await collectGarbage();
    },
    close: async () => {
      const made = await folder?.catch(() => null);
      folder = null;
      if (made) await rm(made, { recursive: true, force: true });
      if (forgotten > 0) await collectGarbage();
    },
  };
}

function load(module: string, threads: number | undefined): { faiss: FaissNode; version: string } {
  // Threads that wait by spinning take the cores from those that work: 20 times slower on a machine with other load.
  const restore = setWhereAbsent({ OMP_WAIT_POLICY: 'PASSIVE', ...(threads && { OMP_NUM_THREADS: String(threads) }) });
  try {
    const require = createRequire(import.meta.url);
    const faiss = require(module) as FaissNode;
    const { version } = require(`${module}/package.json`) as { version: string };
    return { faiss, version };
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0];
    throw new WinnowError('PROVIDER_UNAVAILABLE', `Expected ${module}, which \`engine: faiss\` needs, and could not load it (${reason}): run infra/faiss/build.sh, or leave the engine at onnxruntime`, { cause });
  } finally {
    restore();
  }
}

/** Sets environment variables, which OpenMP and BLAS read as they are loaded, and returns what takes them back. */
function setWhereAbsent(values: Readonly<Record<string, string>>): () => void {
  const names = Object.keys(values).filter((name) => process.env[name] === undefined);
  for (const name of names) process.env[name] = values[name];
  return () => {
    for (const name of names) delete process.env[name];
  };
}

function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'winnow-faiss-')).catch(failTemporary);
}

function failTemporary(cause: NodeJS.ErrnoException): never {
  const code = cause.code === 'ENOSPC' || cause.code === 'EDQUOT' ? 'STORE_FULL' : 'STORE_DENIED';
  throw new WinnowError(code, `Expected to write a matrix for faiss under ${tmpdir()}: ${cause.message}; set TMPDIR to a folder with room`, { cause });
}

/** A full collection; the binding's finalisers, which free the indexes, run a turn later. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  collect();
  await setImmediate();
}
