/**
 * Lists 100,000 keys of a bucket as a source of images, page after page and with pages fetched ahead, with the given
 * milliseconds of delay before each answer: seconds, calls and memory, and whether both give the same rows in the same order.
 * Then `ingest` lists them into a store, unbroken, and killed after its first part and taken up: whether `images/` is the same.
 *
 *   npx tsx test/bench/s3-list.ts [keys=100000] [folders=100] [delay=30]
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { IMAGES_PART_ROWS, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, listSource, resolveSources } from '../../src/ingest/ingest.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { openS3Bucket } from '../../src/store/s3-bucket.ts';
import { listKeys } from '../../src/store/s3-list.ts';
import { localContext } from '../helpers/local-context.ts';
import { startS3Proxy } from '../helpers/s3-proxy.ts';
import { startS3Server } from '../helpers/s3-server.ts';

const POOL = { name: 'pool', folder: 's3://images/pool' };
const peakMb = (pid: number | 'self'): number => Number(/^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

if (process.argv[2] === 'ingest') {
  // A process of its own, so that it can be killed.
  const [endpoint = '', root = ''] = process.argv.slice(3);
  const { context, close } = localContext(await openFsStore(root));
  const started = performance.now();
  await ingest(context, { path: 'images', sources: resolveSources([SourceConfig.parse(POOL)], '/', { endpoint, region: 'us-east-1', pathStyle: true }) });
  process.stdout.write(`${((performance.now() - started) / 1000).toFixed(1)} s, peak ${peakMb('self').toFixed(0)} MB`);
  await close();
  process.exit();
}

/** @param killed whether it is killed once it has left a record of its first part */
async function ingestInChild(endpoint: string, root: string, killed: boolean): Promise<string> {
  const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(import.meta.url), 'ingest', endpoint, root], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  let said = '';
  child.stdout.on('data', (text: Buffer) => (said += text.toString()));
  if (killed) {
    while (!existsSync(join(root, 'work/images/listing/part-00000.json')) && child.exitCode === null) await sleep(5);
    if (child.exitCode !== null) throw new Error('Expected a listing that can be killed, it had ended');
    said = `peak ${peakMb(child.pid!).toFixed(0)} MB`;
    child.kill('SIGKILL');
    await ended;
  } else if ((await ended) !== 0) throw new Error('Expected the listing to end well');
  return said;
}

function hashOfImages(root: string): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(join(root, 'images')).sort()) hash.update(`${name}\n`).update(readFileSync(join(root, 'images', name)));
  return hash.digest('hex').slice(0, 12);
}

const [keys = 100_000, folders = 100, delayMs = 30] = process.argv.slice(2).map(Number);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const server = await startS3Server();
const proxy = await startS3Proxy(server.s3.endpoint);
try {
  if (server.folder === null) throw new Error('Expected s3rver, whose objects are files that can be made here');
  const rows = Math.ceil(keys / folders);
  for (let f = 0; f < folders; f++) {
    const folder = join(server.folder, 'images', 'pool', `class-${String(f).padStart(4, '0')}`);
    await mkdir(folder, { recursive: true });
    for (let from = 0; from < rows; from += 200) {
      await Promise.all(Array.from({ length: Math.min(200, rows - from) }, async (_, i) => {
        const path = join(folder, `${String(from + i).padStart(7, '0')}.jpg._S3rver_object`);
        await Promise.all([writeFile(path, 'x'), writeFile(`${path}.md5`, '9dd4e461268c8034f5c8564e155c67a6')]);
      }));
    }
  }
  const s3 = { ...server.s3, endpoint: proxy.endpoint };
  const bucket = await openS3Bucket('images', { s3 });
  await bucket.probe('pool/'); // s3rver walks its folders once
  const baseMb = process.memoryUsage().rss / 2 ** 20;
  let highestMb = 0;
  const timer = setInterval(() => (highestMb = Math.max(highestMb, process.memoryUsage().rss / 2 ** 20)), 20);
  const measure = async (name: string, batches: AsyncIterable<readonly string[]>): Promise<void> => {
    highestMb = 0;
    const calls = proxy.calls.count;
    const started = performance.now();
    const hash = createHash('sha256');
    let count = 0;
    for await (const names of batches) {
      count += names.length;
      for (const name of names) hash.update(`${name}\n`);
    }
    const seconds = (performance.now() - started) / 1000;
    say(`${name}: ${count} keys, ${seconds.toFixed(1)} s, ${proxy.calls.count - calls} calls, RSS ${highestMb.toFixed(0)} MB at most (${baseMb.toFixed(0)} before), rows ${hash.digest('hex').slice(0, 12)}`);
  };
  const pagesOf = async function* (ahead: number): AsyncGenerator<string[]> {
    const { sdk, client } = bucket.connection;
    const pages = listKeys(async ({ prefix, folded, startAfter, token }) => {
      await sleep(delayMs);
      const answer = await client.send(new sdk.ListObjectsV2Command({ Bucket: 'images', Prefix: prefix, ...(folded === true && { Delimiter: '/' }), StartAfter: startAfter, ContinuationToken: token }));
      return { entries: (answer.Contents ?? []).map(({ Key, Size }) => ({ key: Key!, sizeBytes: Size! })), prefixes: (answer.CommonPrefixes ?? []).map(({ Prefix }) => Prefix!), token: answer.NextContinuationToken ?? null };
    }, 'pool/', ahead);
    for await (const entries of pages) yield entries.map(({ key }) => key.slice('pool/'.length));
  };
  const sourceOf = async function* (): AsyncGenerator<readonly string[]> {
    const source = resolveSources([SourceConfig.parse(POOL)], '/', s3)[0]!;
    for await (const batch of listSource(source, { signal: undefined, count: () => undefined })) yield batch.path;
  };
  await measure(`one page after another, ${delayMs} ms a call`, pagesOf(0));
  await measure(`16 pages ahead, ${delayMs} ms a call`, pagesOf(16));
  await measure('as a source of images', sourceOf());
  clearInterval(timer);
  const base = await mkdtemp(join(tmpdir(), 'winnow-s3-list-'));
  try {
    const [whole, broken] = [join(base, 'whole'), join(base, 'broken')];
    const calls = (): number => proxy.calls.count;
    const listed = async (name: string, root: string, killed = false): Promise<void> => {
      const before = calls();
      const said = await ingestInChild(proxy.endpoint, root, killed);
      say(`${name}: ${said}, ${calls() - before} calls${killed ? '' : `, images/ ${hashOfImages(root)}`}`);
    };
    await listed('ingest, unbroken', whole);
    if (keys > IMAGES_PART_ROWS) {
      await listed('ingest, killed after part 1', broken, true);
      await listed('ingest, going on', broken);
      if (hashOfImages(broken) !== hashOfImages(whole)) throw new Error('Expected the same bytes from a listing that was broken off');
    }
  } finally {
    await rm(base, { recursive: true, force: true });
  }
} finally {
  await proxy.close();
  await server.close();
}
