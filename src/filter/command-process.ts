/** One run of an external program: bytes in, bytes out, with limits on time and output. Its whole process group ends with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { WinnowError, throwIfAborted } from '../errors.ts';

export interface ProcessLimits {
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly outputBytesMax: number;
  readonly signal: AbortSignal;
}

/** Between asking a program to end and ending it. */
const GRACE_MS = 2_000;
const STDERR_KEPT = 8_192;

/**
 * Starts a program without a shell, feeds it, and waits for its end. A program may stop reading early.
 *
 * @returns all of stdout, when the program ended with 0
 * @throws {WinnowError} COMMAND_FAILED: could not start, exit code, signal, too slow, too much output; ABORTED; whatever `input` fails with
 */
export async function runProcess([program, ...args]: readonly string[], input: AsyncIterable<Uint8Array>, limits: ProcessLimits): Promise<Uint8Array> {
  throwIfAborted(limits.signal);
  // A group of its own, so that what the program started ends with it.
  const child = spawn(program!, args, { cwd: limits.cwd, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const stopping = createStop(child);
  const output = collectOutput(child, limits.outputBytesMax, stopping.stop);
  const timer = setTimeout(() => stopping.stop(`took longer than ${limits.timeoutMs / 1000} s`), limits.timeoutMs);
  const onAbort = (): void => stopping.stop('was stopped');
  limits.signal.addEventListener('abort', onAbort, { once: true });
  const ended = new Promise<string | null>((resolve) => {
    child.on('error', (error: NodeJS.ErrnoException) => resolve(`could not be started: ${error.code ?? error.message}`));
    child.on('close', (code, signal) => resolve(code === 0 ? null : signal !== null ? `was ended by ${signal}` : `ended with exit code ${code}`));
  });
  try {
    const fed = feed(child, input, ended).catch((error: unknown) => {
      stopping.stop('lost its input');
      throw error;
    });
    fed.catch(() => undefined); // heard below
    const fault = await ended;
    await fed;
    throwIfAborted(limits.signal);
    const why = stopping.why() ?? fault;
    if (why !== null) throw new WinnowError('COMMAND_FAILED', `${why}${lastLine(output.stderr())}`);
    return output.stdout();
  } finally {
    clearTimeout(timer);
    stopping.settle();
    limits.signal.removeEventListener('abort', onAbort);
  }
}

interface Stop {
  /** Ends the program's group; the first reason counts. */
  stop(why: string): void;
  why(): string | null;
  /** The program has ended. */
  settle(): void;
}

function createStop(child: ChildProcess): Stop {
  let reason: string | null = null;
  let timer: NodeJS.Timeout | null = null;
  const kill = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // The group has ended.
    }
  };
  return {
    stop: (why) => {
      if (reason !== null) return;
      reason = why;
      kill('SIGTERM');
      timer = setTimeout(() => {
        kill('SIGKILL');
        // Whoever left the group may still hold the pipes open.
        for (const stream of child.stdio) stream?.destroy();
      }, GRACE_MS);
    },
    why: () => reason,
    settle: () => {
      if (timer !== null) clearTimeout(timer);
      if (reason !== null) kill('SIGKILL');
    },
  };
}

function collectOutput(child: ChildProcess, outputBytesMax: number, stop: (why: string) => void): { stdout(): Uint8Array; stderr(): string } {
  const chunks: Buffer[] = [];
  let [sizeBytes, said] = [0, ''];
  child.stdout!.on('data', (chunk: Buffer) => {
    sizeBytes += chunk.length;
    if (sizeBytes > outputBytesMax) stop(`wrote more than ${outputBytesMax} bytes`);
    else chunks.push(chunk);
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-STDERR_KEPT)));
  for (const stream of [child.stdin!, child.stdout!, child.stderr!]) stream.on('error', () => undefined); // a pipe that closes early
  return { stdout: () => new Uint8Array(Buffer.concat(chunks)), stderr: () => said };
}

/** What a program that ended well did not read is read for it: making the input may say something of the rows as well. */
async function feed({ stdin }: ChildProcess, input: AsyncIterable<Uint8Array>, ended: Promise<string | null>): Promise<void> {
  let isOver = false;
  void ended.then(() => (isOver = true));
  for await (const chunk of input) {
    if (isOver && (await ended) !== null) return;
    if (isOver || stdin!.destroyed) continue;
    if (!stdin!.write(chunk)) await Promise.race([once(stdin!, 'drain').catch(() => undefined), once(stdin!, 'close').catch(() => undefined), ended]);
  }
  stdin!.end();
}

function lastLine(stderr: string): string {
  const line = stderr.trim().split('\n').at(-1)?.replaceAll(/\p{Cc}+/gu, ' ').trim() ?? '';
  return line === '' ? '' : `; it said: ${line.slice(0, 300)}`;
}
