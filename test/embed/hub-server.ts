/** A local stand-in for the Hugging Face hub: the three endpoints that fetching a model uses, with its redirects and hashes. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface HubServer {
  readonly url: string;
  /** Paths asked for since the start, without queries. */
  readonly requests: string[];
  /** What the file's bytes become on the way; the listed hash stays. */
  tamper: ((path: string, bytes: Uint8Array) => Uint8Array | 'break off') | null;
  commit: string;
  stop(): Promise<void>;
}

export const COMMIT = 'a'.repeat(40);

/** Files from 1,000 bytes on are kept in LFS: listed with a SHA-256 and served from another path. */
const LFS_BYTES = 1000;

/** @param files path → content of the one repository, `owner/name` */
export async function startHub(files: Readonly<Record<string, Uint8Array>>): Promise<HubServer> {
  const server = createServer((request, response) => answer(request, response, files, hub));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const hub: HubServer = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests: [], tamper: null, commit: COMMIT, stop };
  onTestFinished(stop);
  return hub;
}

function answer(request: IncomingMessage, response: ServerResponse, files: Readonly<Record<string, Uint8Array>>, hub: HubServer): unknown {
  const { pathname } = new URL(request.url ?? '', hub.url);
  hub.requests.push(pathname);
  const json = (value: unknown, status = 200): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  if (!pathname.includes('/owner/name')) return json({ error: 'Repository not found' }, 401);
  if (/^\/api\/models\/owner\/name\/revision\/(main|v1)$/.test(pathname)) {
    return json({ _id: '1', id: 'owner/name', private: false, gated: false, downloads: 0, likes: 0, lastModified: '2026-01-01T00:00:00Z', sha: hub.commit });
  }
  if (pathname === `/api/models/owner/name/tree/${hub.commit}`) return json(Object.entries(files).map(([path, bytes]) => entry(path, bytes)));
  const [, kind, path = ''] = /^\/(?:(cdn)\/)?owner\/name\/(?:resolve\/[^/]+\/)?(.+)$/.exec(pathname) ?? [];
  const bytes = files[path];
  if (bytes === undefined) return json({ error: 'Not found' }, 404);
  if (kind !== 'cdn' && bytes.length >= LFS_BYTES) {
    response.writeHead(302, { location: `${hub.url}/cdn/owner/name/${path}`, 'x-linked-etag': `"${sha256(bytes)}"`, 'x-linked-size': bytes.length }).end();
    return;
  }
  const sent = hub.tamper?.(path, bytes) ?? bytes;
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  if (range !== null) {
    response.writeHead(206, { etag: '"x"', 'content-range': `bytes ${range[1]}-${range[2]}/${bytes.length}` }).end(bytes.subarray(Number(range[1]), Number(range[2]) + 1));
  } else if (sent === 'break off') {
    response.writeHead(200, { 'content-length': bytes.length }).write(bytes.subarray(0, 10), () => response.destroy());
  } else {
    response.writeHead(200, { 'content-length': sent.length }).end(sent);
  }
}

function entry(path: string, bytes: Uint8Array): Record<string, unknown> {
  const oid = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
  if (bytes.length < LFS_BYTES) return { type: 'file', path, size: bytes.length, oid };
  return { type: 'file', path, size: bytes.length, oid: 'of the pointer', lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } };
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
