/** The command line as a stranger uses it: a process of its own. And what must hold of any store a command leaves behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TSX = import.meta.resolve('tsx');

export interface Ended {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Waits until stderr contains the text; rejects when the process ends first. */
  saw(text: string): Promise<void>;
}

export interface StartOptions {
  readonly cwd?: string;
  readonly killAfterMs?: number;
  /** User to run as; only root may choose. */
  readonly uid?: number;
  /** Beside this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export function startWinnow(args: readonly string[], { cwd = ROOT, killAfterMs, uid, env = {} }: StartOptions = {}): Running {
  const started = performance.now();
  const child = spawn(process.execPath, ['--import', TSX, join(ROOT, 'src/cli.ts'), ...args], { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], ...(uid !== undefined && { uid, gid: uid }) });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const timer = killAfterMs === undefined ? null : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (timer !== null) clearTimeout(timer);
      resolve({ code, stdout, stderr, ms: performance.now() - started });
    });
  });
  const saw = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => void (stderr.includes(text) && resolve());
      child.stderr.on('data', look);
      look();
      void ended.then((end) => reject(new Error(`ended before it said "${text}": ${end.stderr}`)), reject);
    });
  return { child, ended, saw };
}

/** Runs one command to its end. */
export function winnow(args: readonly string[], options: StartOptions = {}): Promise<Ended> {
  return startWinnow(args, options).ended;
}

/** A failure as a user should meet it: this exit code, nothing on stdout, and one line on stderr (after warnings), which is no stack trace. */
export function expectOneSentence(ended: Ended, code: number, sentence: RegExp): void {
  const said = withoutWarnings(ended.stderr);
  expect(said).toMatch(sentence);
  expect(said.trimEnd().split('\n'), said).toHaveLength(1);
  expect(said).not.toMatch(/\bat .+:\d+:\d+|node_modules|undefined|\[object/);
  expect(ended.stdout).toBe('');
  expect(ended.code).toBe(code);
}

/** A quiet run that did what it was asked to; it may warn, of a tree that is no good for instance. */
export function expectDone({ code, stderr }: Ended): void {
  expect(withoutWarnings(stderr)).toBe('');
  expect(code).toBe(0);
}

function withoutWarnings(stderr: string): string {
  return stderr.replaceAll(/^warning: .+\n/gm, '');
}

/** Every manifest has its parts, whole, and nothing unfinished lies about. */
export async function expectNothingHalfWritten(store: string): Promise<void> {
  const entries = await readdir(store, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  expect(files.filter((path) => path.startsWith(join(store, '.tmp')))).toEqual([]);
  for (const path of files.filter((name) => name.endsWith('/manifest.json'))) {
    const { parts } = JSON.parse(await readFile(path, 'utf8')) as { parts: (Listed & { shards?: Listed[] })[] };
    for (const part of parts.flatMap((one) => one.shards ?? [one])) {
      const bytes = await readFile(join(store, part.path));
      expect(createHash('sha256').update(bytes).digest('hex'), part.path).toBe(part.sha256);
    }
  }
}

interface Listed {
  readonly path: string;
  readonly sha256: string;
}
