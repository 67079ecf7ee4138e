/**
 * A peer: another program at the same work, in a process of its own that keeps its data between rounds. Peers are scripts
 * of the checkout's `test/bench/`; the product never calls one, and an installed package has none.
 *
 * The talk is one JSON line each way. The script is started with its settings as one JSON argument and says `{"ready":
 * "<name>"}` or `{"missing": "<why>"}`; to each line on its stdin it answers with `{"seconds", "cpuSeconds", "facts"}`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { WinnowError } from '../errors.ts';
import type { Contender, Round } from './contest.ts';

export interface PeerRequest {
  /** File name in the peers' folder: a Python or a TypeScript program. */
  readonly script: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Units of one run, see `Contender`. */
  readonly amount: number;
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Put behind the name the script gives itself. */
  readonly suffix?: string;
}

export interface Peers {
  readonly contenders: Contender[];
  readonly missing: string[];
}

/** The interpreter that Debian's python3-… packages are installed for. */
const PYTHON = '/usr/bin/python3';

/**
 * Starts the peers that are there, one after another.
 *
 * @param folder where the scripts are; null: an installed package, without peers
 */
export async function openPeers(folder: string | null, requests: readonly PeerRequest[]): Promise<Peers> {
  if (folder === null) return { contenders: [], missing: requests.length === 0 ? [] : ['peers are measured from a checkout only: the scripts of test/bench/ are not in the installed package'] };
  const contenders: Contender[] = [];
  const missing: string[] = [];
  try {
    for (const request of requests) {
      const opened = await openPeer(folder, request);
      if (typeof opened === 'string') missing.push(opened);
      else contenders.push(opened);
    }
  } catch (error) {
    for (const one of contenders) await one.close();
    throw error;
  }
  return { contenders, missing };
}

async function openPeer(folder: string, { script, settings, amount, env = {}, suffix = '' }: PeerRequest): Promise<Contender | string> {
  const path = join(folder, script);
  const isPython = script.endsWith('.py');
  if (isPython && !existsSync(PYTHON)) return `${script}: no ${PYTHON} here`;
  const [command, before] = isPython ? [PYTHON, []] : [process.execPath, ['--import', import.meta.resolve('tsx')]];
  const child = spawn(command, [...before, path, JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const talk = openTalk(child, script);
  const said = (await talk.next().catch(async (error: unknown) => {
    await talk.close();
    throw error;
  })) as { ready?: string; missing?: string };
  if (said.ready === undefined) {
    await talk.close();
    return said.missing ?? `${script}: expected it to be ready, it said ${JSON.stringify(said)}`;
  }
  return {
    name: `${said.ready}${suffix}`,
    amount,
    run: async () => {
      child.stdin!.write('run\n');
      return (await talk.next()) as Round;
    },
    close: talk.close,
  };
}

interface Talk {
  /** The next line, parsed. @throws {WinnowError} INPUT_MALFORMED when the peer ends instead */
  next(): Promise<unknown>;
  close(): Promise<void>;
}

function openTalk(child: ChildProcess, script: string): Talk {
  let complaint = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
  child.stdin!.on('error', () => undefined); // it ended; the next answer says so
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const ended = new Promise<void>((resolve) => {
    child.on('close', () => resolve());
    child.on('error', (error) => {
      complaint += error.message;
      resolve();
    });
  });
  return {
    next: async () => {
      const { value, done } = await lines.next();
      if (done !== true) return JSON.parse(value as string) as unknown;
      await ended;
      throw new WinnowError('INPUT_MALFORMED', `The peer ${script} ended early: ${lastWords(complaint)}`);
    },
    close: async () => {
      child.stdin!.end();
      child.kill();
      await ended;
    },
  };
}

/** The line of a trace that says what happened: Python ends with it, Node puts its own version last. */
function lastWords(complaint: string): string {
  const lines = complaint.trim().split('\n').filter((line) => line !== '');
  return lines.findLast((line) => /^\w*(Error|Exception)\b/.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}
