/** Web servers of the test's own, on every loopback address: one that behaves, one that does not, each asked by its path. */
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { type AddressInfo, type Server, type Socket, createServer as createTcpServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { onTestFinished } from 'vitest';

export interface WebServer {
  readonly port: number;
  /** Times each path was asked for, as `host path`. */
  readonly asked: Map<string, number>;
  /** Most requests that one host had open at once. */
  readonly open: Map<string, number>;
  /** When each host was asked, in milliseconds. */
  readonly times: Map<string, number[]>;
  url(path: string, host?: string): string;
  /** Times a path was asked for, on any host. */
  count(path: string): number;
  close(): Promise<void>;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, nth: number) => void;

/** JPEG bytes that differ by number. */
export async function picture(n: number, size = 24): Promise<Buffer> {
  return sharp({ create: { width: size, height: size, channels: 3, background: { r: n % 256, g: (n * 7) % 256, b: (n >> 3) % 256 } } }).jpeg().toBuffer();
}

/** @param handle answers whatever is not robots.txt; `nth` counts the times that path was asked, from 1 */
export async function startWebServer(handle: Handler, robots: string | null = null): Promise<WebServer> {
  const asked = new Map<string, number>();
  const open = new Map<string, number>();
  const times = new Map<string, number[]>();
  const active = new Map<string, number>();
  const server = createServer((request, response) => {
    const host = request.headers.host!.split(':')[0]!;
    const key = `${host} ${request.url}`;
    asked.set(key, (asked.get(key) ?? 0) + 1);
    times.set(host, [...(times.get(host) ?? []), performance.now()]);
    active.set(host, (active.get(host) ?? 0) + 1);
    open.set(host, Math.max(open.get(host) ?? 0, active.get(host)!));
    response.once('close', () => active.set(host, active.get(host)! - 1));
    if (request.url === '/robots.txt') {
      if (robots === null) response.writeHead(404).end();
      else response.end(robots);
      return;
    }
    handle(request, response, asked.get(key)!);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
  });
  const port = await listen(server);
  let closed = false;
  const close = async (): Promise<void> => {
    if (closed) return;
    closed = true;
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  onTestFinished(close);
  const count = (path: string): number => [...asked].reduce((sum, [key, times]) => sum + (key.endsWith(` ${path}`) ? times : 0), 0);
  return { port, asked, open, times, url: (path, host = '127.0.0.2') => `http://${host}:${port}${path}`, count, close };
}

/** A TCP server that says what it is told to. */
export async function startTcpServer(onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    onSocket(socket);
  });
  const port = await listen(server);
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return port;
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => server.listen(0, '0.0.0.0', () => resolve((server.address() as AddressInfo).port)));
}

/** Zeros that are a few kilobytes when packed. */
export function gzipBomb(sizeBytes: number): Buffer {
  return gzipSync(Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.alloc(sizeBytes)]), { level: 9 });
}
