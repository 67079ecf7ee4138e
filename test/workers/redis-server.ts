/** A Redis of the test's own: Debian's redis-server on a free port, in a folder that vanishes with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

const PROGRAM = '/usr/bin/redis-server';

/** False, with the reason printed, where there is no redis-server. */
export function withoutRedis(): boolean {
  const absent = !existsSync(PROGRAM);
  if (absent) process.stderr.write(`skipped: no ${PROGRAM}; on Debian \`apt-get install redis-server\`\n`);
  return absent;
}

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  /** Kills it and starts it again on the same port, without its data; or with them, as they were a moment before. */
  restart(data?: 'lost' | 'kept'): Promise<void>;
  /** SIGSTOP: connections stay and nothing answers. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

/** @param tls then it listens for TLS alone, with the certificate that `options` name */
export async function startRedis(options: readonly string[] = [], password?: string, tls?: { readonly ca: string }): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-redis-'));
  const port = await freePort();
  const url = `${tls === undefined ? 'redis' : 'rediss'}://${password === undefined ? '' : `:${password}@`}127.0.0.1:${port}`;
  const args = [...(tls === undefined ? ['--port', String(port)] : ['--port', '0', '--tls-port', String(port)]), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder, '--maxmemory-policy', 'noeviction', '--loglevel', 'warning', ...(password === undefined ? [] : ['--requirepass', password]), ...options];
  let child: ChildProcess;
  const start = async (): Promise<void> => {
    child = spawn(PROGRAM, args, { stdio: 'ignore' });
    await answers(url, tls);
  };
  const end = (): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once('exit', () => resolve());
      child.kill('SIGKILL');
    });
  await start();
  return {
    port,
    url,
    restart: async (data = 'lost') => {
      if (data === 'kept') await save(url, tls);
      await end();
      if (data === 'lost') await rm(join(folder, 'dump.rdb'), { force: true });
      await start();
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    stop: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answers(url: string, tls?: { readonly ca: string }): Promise<void> {
  const redis = new Redis(url, { ...(tls !== undefined && { tls }), retryStrategy: () => 20, maxRetriesPerRequest: null });
  redis.on('error', () => undefined);
  await redis.ping();
  redis.disconnect();
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

async function save(url: string, tls?: { readonly ca: string }): Promise<void> {
  const redis = new Redis(url, tls === undefined ? {} : { tls });
  await redis.save();
  redis.disconnect();
}
