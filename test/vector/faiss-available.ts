/** Whether faiss-node, and Python's faiss, can be tested on this machine. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { WinnowError } from '../../src/errors.ts';
import { createFaissEngine } from '../../src/vector/faiss.ts';

/** Debian's Python sees what apt installed; another one on the PATH need not. */
const PYTHON = '/usr/bin/python3';

/** Why tests of the faiss engine are skipped; null where it opens. */
export async function withoutFaiss(): Promise<string | null> {
  try {
    await (await createFaissEngine()).close();
    return null;
  } catch (error) {
    if (error instanceof WinnowError && error.code === 'PROVIDER_UNAVAILABLE') return `no faiss-node here: skipped (${error.message})`;
    throw error;
  }
}

/** Why tests against Python's faiss are skipped; null where it imports. */
export async function withoutPythonFaiss(): Promise<string | null> {
  try {
    await python('import faiss, numpy');
    return null;
  } catch {
    return `no faiss for ${PYTHON} here (apt-get install python3-faiss): skipped`;
  }
}

/** Runs a script; its arguments are `sys.argv[1:]`. @returns what it printed */
export async function python(script: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(PYTHON, ['-c', script, ...args], { maxBuffer: 2 ** 26, env: { ...process.env, OMP_WAIT_POLICY: 'PASSIVE' } });
  return stdout;
}
