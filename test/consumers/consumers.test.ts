/** The consumers that users copy, against a real server and a real dataset of drawn pictures. */
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openBatchFeed } from '../../pipelines/9-batch.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import type { Feed } from '../../src/batch/feed.ts';
import { type FeedServer, serveFeed } from '../../src/batch/serve.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { NEVER, collect, readStream } from '../batch/toy-feed.ts';
import { drawSmallRun } from '../helpers/small-run.ts';
import { feed as readFeed } from './winnow-feed.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PYTHONS = ['python3', '/usr/bin/python3'];
const pythonWith = (modules: string): string | null => PYTHONS.find((python) => spawnSync(python, ['-c', `import ${modules}`]).status === 0) ?? null;

let folder: string;
let store: string;
let feed: Feed;
let server: FeedServer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'winnow-consumers-'));
  const { recipePath } = await drawSmallRun(folder, 200, { shard: { rows: 64, withBytes: true }, embed: { batchSize: 16, maxDropRatio: 0.5 } });
  store = join(folder, 'store');
  await run({ loaded: await loadRecipe(recipePath), store, until: 'shard', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: NEVER });
  feed = await openBatchFeed(await openFsStore(store), {});
  server = await serveFeed(feed, { host: '127.0.0.1', port: 0, log: SILENT, memoryBytes: 2 ** 30, streamsMax: 64, stallMs: 60_000, batchesHeld: 4 });
});
afterAll(async () => {
  await server?.close();
  await feed?.close();
  await rm(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: HERE, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, OMP_NUM_THREADS: '1', PYTHONDONTWRITEBYTECODE: '1' }, ...options });
    let [stdout, stderr] = ['', ''];
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

async function python(executable: string, code: string, ...args: string[]): Promise<unknown> {
  const { code: status, stdout, stderr } = await start(executable, ['-c', code, ...args]);
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** Ids of each step as the feed gives them to a rank, read by Arrow's own reader. */
async function expectedIds(request: { steps: number } & Record<string, unknown>): Promise<string[][]> {
  return readStream(await collect(feed.stream(feed.resolve(request), NEVER))).map(({ rows }) => rows.map(({ id }) => String(id)));
}

/** A proxy that cuts each connection after some bytes, the first `cuts` times. */
async function cuttingProxy(cuts: number, afterBytes: number): Promise<{ url: string; cut: () => number }> {
  const to = new URL(server.url);
  let done = 0;
  const proxy = createTcpServer((client) => {
    const upstream = connect(Number(to.port), to.hostname);
    let bytes = 0;
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      client.write(chunk);
      if (bytes < afterBytes || done >= cuts) return;
      done++;
      client.destroy();
      upstream.destroy();
    });
    upstream.on('end', () => client.end());
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void proxy.close());
  return { url: `http://127.0.0.1:${(proxy.address() as { port: number }).port}`, cut: () => done };
}

describe('the TypeScript consumer', () => {
  it('reads batches, and goes on where a lost connection left off', async () => {
    const proxy = await cuttingProxy(2, 60_000);
    const ids: string[][] = [];
    for await (const { metadata, batch } of readFeed(proxy.url, { step: 4, steps: 30, every: 2, rank: 1, worldSize: 2, images: 1 })) {
      expect(metadata['step']).toBe(String(4 + 2 * ids.length));
      const rows = batch.toArray() as unknown as { id: string; image: Uint8Array }[];
      for (const { id, image } of rows) expect(createHash('sha256').update(image).digest('hex')).toMatch(new RegExp(`^${id}`));
      ids.push(rows.map(({ id }) => id));
    }
    expect(proxy.cut()).toBe(2);
    expect(ids).toEqual(await expectedIds({ fromStep: 4, steps: 30, every: 2, rank: 1, worldSize: 2 }));
  });

  it('says what the server says of a bad request, and gives up on a server that never answers', async () => {
    const first = (url: string, query: object) => readFeed(url, { steps: 1, ...query }, 2).next();
    await expect(first(server.url, { rank: 7 })).rejects.toThrow(/rank to be an integer from 0 to 0/);
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    await expect(first(`http://127.0.0.1:${port}`, {})).rejects.toThrow(/expected 1 batches .* got 0/);
  });
});

describe('the plain Python consumer', () => {
  const READ = `
import hashlib, json, sys
from winnow_plain import batches
seen = []
for batch in batches(sys.argv[1], steps=30, step=3, rank=1, worldSize=2, images=1):
    assert all(hashlib.sha256(image).hexdigest().startswith(own) for own, image in zip(batch["id"], batch["image"]))
    assert len(batch["part"]) == len(batch["index"]) == len(batch["offset"]) == len(batch["id"])
    seen.append([batch["step"], batch["kind"], batch["part"], batch["index"], batch["offset"], batch["id"]])
print(json.dumps(seen))`;

  it('reads every column as Arrow does, and goes on where a lost connection left off', async (context) => {
    const executable = pythonWith('urllib.request');
    if (executable === null) return context.skip('no python3 here');
    const proxy = await cuttingProxy(2, 60_000);
    const expected = readStream(await collect(feed.stream(feed.resolve({ fromStep: 3, steps: 30, rank: 1, worldSize: 2, images: true }), NEVER)));
    const columns = expected.map(({ metadata, rows }) => [Number(metadata['step']), metadata['kind'], ...['part', 'index', 'offset', 'id'].map((name) => rows.map((row) => row[name]))]);
    expect(await python(executable, READ, proxy.url)).toEqual(columns);
    expect(proxy.cut()).toBe(2);
  });

  it('reads the stdout of a command', async (context) => {
    const executable = pythonWith('urllib.request');
    if (executable === null) return context.skip('no python3 here');
    const command = [process.execPath, '--import', import.meta.resolve('tsx'), join(ROOT, 'src/cli.ts'), 'batches', store, '--steps', '5', '--from-step', '2'];
    const read = `import json, sys\nfrom winnow_plain import batches_of_command\nprint(json.dumps([batch["id"] for batch in batches_of_command(sys.argv[1:])]))`;
    expect(await python(executable, read, ...command)).toEqual(await expectedIds({ fromStep: 2, steps: 5 }));
  });
});

describe('pyarrow', () => {
  const COMMAND = (...args: string[]): string[] => [process.execPath, '--import', import.meta.resolve('tsx'), join(ROOT, 'src/cli.ts'), ...args];

  it('reads the stdout of a command, images and metadata included', async (context) => {
    const executable = pythonWith('pyarrow');
    if (executable === null) return context.skip('no python3 with pyarrow here');
    const read = `
import hashlib, json, subprocess, sys
import pyarrow.ipc
seen = []
with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE) as process:
    stream = pyarrow.ipc.open_stream(process.stdout)
    for _ in range(7):
        batch, metadata = stream.read_next_batch_with_custom_metadata()
        batch.validate(full=True)
        assert all(hashlib.sha256(image).hexdigest().startswith(own) for own, image in zip(batch.column("id").to_pylist(), batch.column("image").to_pylist()))
        seen.append([int(metadata[b"step"]), batch.column("id").to_pylist()])
    try:
        stream.read_next_batch()
        raise AssertionError("more batches than asked for")
    except StopIteration:
        pass
assert process.returncode == 0
print(json.dumps(seen))`;
    const command = COMMAND('batches', store, '--steps', '7', '--from-step', '3', '--world-size', '2', '--with-images');
    expect(await python(executable, read, ...command)).toEqual((await expectedIds({ fromStep: 3, steps: 7, worldSize: 2 })).map((ids, i) => [3 + i, ids]));
  });

  it('reads an export to Parquet, with the digests that were taken on the way in', async (context) => {
    const executable = pythonWith('pyarrow.parquet');
    if (executable === null) return context.skip('no python3 with pyarrow here');
    const into = join(folder, 'parquet');
    const [command, ...args] = COMMAND('export', store, '--to', 'parquet', '--with-images', '--out', into);
    const exported = await start(command!, args);
    expect(exported.code, exported.stderr).toBe(0);
    const read = `
import glob, hashlib, json, sys
import pyarrow.parquet as parquet
ids = []
for path in sorted(glob.glob(sys.argv[1] + "/**/*.parquet", recursive=True)):
    for row in parquet.read_table(path).to_pylist():
        assert hashlib.sha256(row["image"]).hexdigest().startswith(row["id"])
        ids.append(row["id"])
print(json.dumps(sorted(ids)))`;
    const shards = feed.manifest.parts.flatMap((part) => part.shards);
    const opened = await openFsStore(store);
    const ids = (await Promise.all(shards.map(async ({ path }) => decodeTable(await opened.read(path), path).strings('id')))).flat();
    expect(ids.length).toBeGreaterThan(20);
    expect(await python(executable, read, into)).toEqual(ids.toSorted());
  });
});

describe('the PyTorch consumer', () => {
  const WORKERS = `
import json, sys
from torch.utils.data import DataLoader
from winnow_torch import WinnowFeed
feed = WinnowFeed(sys.argv[1], rank=0, world_size=2, steps=23)
seen = []
for batch in DataLoader(feed, batch_size=None, num_workers=int(sys.argv[2])):
    seen.append([batch["step"], batch["id"]])
    feed.done(batch)
    if batch["step"] == 9:
        break
state = json.loads(json.dumps(feed.state_dict()))
feed = WinnowFeed(sys.argv[1], rank=0, world_size=2, steps=23)
feed.load_state_dict(state)
seen += [[batch["step"], batch["id"]] for batch in DataLoader(feed, batch_size=None, num_workers=3)]
print(json.dumps(seen))`;

  it('splits steps over workers with no overlap, in order, and resumes with another number of them', async (context) => {
    const executable = pythonWith('torch');
    if (executable === null) return context.skip('no python3 with torch here (Debian: python3-torch)');
    const expected = (await expectedIds({ steps: 23, worldSize: 2 })).map((ids, step) => [step, ids]);
    for (const workers of ['0', '4']) expect(await python(executable, WORKERS, server.url, workers), `${workers} workers`).toEqual(expected);
  });

  it('goes on where a lost connection left off', async (context) => {
    const executable = pythonWith('torch');
    if (executable === null) return context.skip('no python3 with torch here (Debian: python3-torch)');
    const proxy = await cuttingProxy(2, 60_000);
    const expected = (await expectedIds({ steps: 23, worldSize: 2 })).map((ids, step) => [step, ids]);
    expect(await python(executable, WORKERS, proxy.url, '0')).toEqual(expected);
    expect(proxy.cut()).toBe(2);
  });

  it('trains a small ViT at two world sizes, killed at step 90 and resumed: the ids each rank saw are those of the unbroken run', async (context) => {
    const executable = pythonWith('torch, PIL, numpy');
    if (executable === null) return context.skip('no python3 with torch, numpy and PIL here (Debian: python3-torch python3-pil)');
    const STEPS = 200;
    const train = async (name: string, worldSize: number, dieAt: number | null): Promise<Ended[]> => {
      const into = join(folder, name);
      spawnSync('mkdir', ['-p', into]);
      const rendezvous = join(into, `rendezvous-${dieAt ?? 'whole'}`);
      return Promise.all(Array.from({ length: worldSize }, (_, rank) => start(executable, [join(HERE, 'train.py'), server.url, String(rank), String(worldSize), rendezvous, String(STEPS), into, ...(dieAt === null ? [] : [String(dieAt)])])));
    };
    const seenBy = async (name: string, rank: number): Promise<string[][]> => {
      const lines = (await readFile(join(folder, name, `seen-${rank}.txt`), 'utf8')).trimEnd().split('\n').map((line) => line.split(' '));
      const steps = new Map<number, string[]>();
      for (const [step, ...ids] of lines) {
        // What was trained again after the checkpoint must be what it was before.
        if (steps.has(Number(step))) expect(ids).toEqual(steps.get(Number(step)));
        steps.set(Number(step), ids);
      }
      return Array.from({ length: STEPS }, (_, step) => steps.get(step)!);
    };
    for (const worldSize of [1, 2]) {
      for (const ended of await train(`whole-${worldSize}`, worldSize, null)) expect(ended.code, ended.stderr).toBe(0);
      const killed = await train(`broken-${worldSize}`, worldSize, 90);
      expect(killed.some(({ signal }) => signal === 'SIGKILL')).toBe(true);
      expect(killed.every(({ code }) => code !== 0)).toBe(true);
      const resumed = await train(`broken-${worldSize}`, worldSize, null);
      for (const ended of resumed) expect(ended.code, ended.stderr).toBe(0);
      for (let rank = 0; rank < worldSize; rank++) {
        const unbroken = await seenBy(`whole-${worldSize}`, rank);
        expect(await seenBy(`broken-${worldSize}`, rank)).toEqual(unbroken);
        expect(unbroken).toEqual(await expectedIds({ steps: STEPS, rank, worldSize }));
      }
    }
  });
});
