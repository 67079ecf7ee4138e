/**
 * Stands between a store and its S3 server and does to calls what networks and busy servers do: refuses them, tears or slows
 * their bodies, flips a byte. It can also answer as servers with conditional writes do, of which s3rver is none.
 */
import { createHash } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, createServer, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export type Fault =
  | { readonly kind: 'none' }
  | { readonly kind: 'status'; readonly status: number; readonly name: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  | { readonly kind: 'torn' | 'flipped' | 'hung' | 'reset' }
  | { readonly kind: 'slow'; readonly bytesPerSecond: number }
  /** The body on its way to the server. */
  | { readonly kind: 'flipped-upload' };

export interface Call {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** Calls before this one. */
  readonly index: number;
}

export interface S3Proxy {
  readonly endpoint: string;
  /** Decides what happens to each call; may be set again at any time. */
  faultOf: (call: Call) => Fault;
  /** Calls so far, and how many at once at most. */
  readonly calls: { count: number; faults: number; atOnce: number; atOnceMax: number };
  /** Refuses a PUT whose If-None-Match or If-Match does not hold. */
  isConditional: boolean;
  close(): Promise<void>;
}

export async function startS3Proxy(target: string): Promise<S3Proxy> {
  const { hostname, port } = new URL(target);
  const locked = new Map<string, Promise<unknown>>();
  const server = createServer((incoming, outgoing) => void serve(incoming, outgoing).catch(() => outgoing.destroy()));
  const proxy: S3Proxy = { endpoint: '', faultOf: () => ({ kind: 'none' }), calls: { count: 0, faults: 0, atOnce: 0, atOnceMax: 0 }, isConditional: false, close: async () => undefined };

  const forward = (incoming: IncomingMessage, body: Buffer): Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }> =>
    new Promise((resolve, reject) => {
      const headers = { ...incoming.headers };
      delete headers['if-none-match'];
      delete headers['if-match'];
      const onward = request({ hostname, port, method: incoming.method, path: incoming.url, headers }, (answer) => {
        void gather(answer).then((bytes) => resolve({ status: answer.statusCode ?? 500, headers: answer.headers, body: bytes }), reject);
      });
      onward.on('error', reject);
      onward.end(body);
    });

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { calls } = proxy;
    calls.atOnce += 1;
    calls.atOnceMax = Math.max(calls.atOnceMax, calls.atOnce);
    outgoing.on('close', () => (calls.atOnce -= 1));
    const index = calls.count++;
    const fault = proxy.faultOf({ method: incoming.method!, url: incoming.url!, index });
    if (fault.kind !== 'none') calls.faults += 1;
    const body = await gather(incoming);
    if (fault.kind === 'hung') return;
    if (fault.kind === 'reset') return void incoming.socket.destroy();
    if (fault.kind === 'status') return refuse(outgoing, fault.status, fault.name, fault.headers, fault.body);
    const sent = fault.kind === 'flipped-upload' ? flip(body, index) : body;
    if (proxy.isConditional && incoming.method === 'PUT') {
      const key = incoming.url!.split('?')[0]!;
      const before = locked.get(key) ?? Promise.resolve();
      const turn = before.then(async () => ((await holds(incoming)) ? forward(incoming, sent) : null));
      locked.set(key, turn.catch(() => undefined));
      const answer = await turn;
      if (answer === null) return refuse(outgoing, 412, 'PreconditionFailed');
      outgoing.writeHead(answer.status, answer.headers).end(answer.body);
      return;
    }
    const answer = await forward(incoming, sent);
    const bytes = fault.kind === 'flipped' ? flip(answer.body, index) : answer.body;
    const headers = { ...answer.headers };
    delete headers['transfer-encoding'];
    outgoing.writeHead(answer.status, incoming.method === 'HEAD' ? headers : { ...headers, 'content-length': String(bytes.length) });
    if (fault.kind === 'torn') {
      outgoing.write(bytes.subarray(0, bytes.length >> 1), () => outgoing.destroy());
    } else if (fault.kind === 'slow') {
      for (let at = 0; at < bytes.length && !outgoing.destroyed; at += fault.bytesPerSecond / 10) {
        outgoing.write(bytes.subarray(at, at + fault.bytesPerSecond / 10));
        await sleep(100);
      }
      outgoing.end();
    } else outgoing.end(bytes);
  };

  /** Whether a conditional write may go ahead. */
  const holds = async (incoming: IncomingMessage): Promise<boolean> => {
    const { 'if-none-match': none, 'if-match': match } = incoming.headers;
    if (none === undefined && match === undefined) return true;
    // The signature is of a PUT: the stored object is asked for without one.
    const stored = await new Promise<string | null>((resolve, reject) => {
      request({ hostname, port, method: 'HEAD', path: incoming.url!.split('?')[0] }, (answer) => {
        answer.resume().on('end', () => resolve(answer.statusCode === 200 ? (answer.headers.etag ?? '') : null));
      }).on('error', reject).end();
    });
    return none === undefined ? stored === match : stored === null;
  };

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { port: number };
  return Object.assign(proxy, {
    endpoint: `http://127.0.0.1:${address.port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}

/** For each call in turn whether it fails, so that about this share does; the same for the same seed. */
export function someOf(share: number, seed: number): (index: number) => boolean {
  return (index) => createHash('sha256').update(`${seed} ${index}`).digest().readUInt32LE(0) / 2 ** 32 < share;
}

export const SLOW_DOWN: Fault = { kind: 'status', status: 503, name: 'SlowDown' };

function refuse(outgoing: ServerResponse, status: number, name: string, headers: Readonly<Record<string, string>> = {}, body = ''): void {
  outgoing.writeHead(status, { 'content-type': 'application/xml', ...headers });
  outgoing.end(`<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${name}</Code><Message>${name}</Message>${body}</Error>`);
}

/** Another bit for each call. */
function flip(bytes: Buffer, index: number): Buffer {
  const flipped = Buffer.from(bytes);
  if (flipped.length > 0) flipped[(index * 7919) % flipped.length]! ^= 1;
  return flipped;
}

async function gather(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
