/** Where the rounds of a fault keep their stores and images: a folder, a small disk of its own, or buckets behind a proxy. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { openS3Bucket } from '../../../src/store/s3-bucket.ts';
import { openStore } from '../../../src/store/open.ts';
import { formatS3Uri } from '../../../src/store/s3-uri.ts';
import { colourModel } from '../../helpers/colour-model.ts';
import { type S3Proxy, startS3Proxy } from '../../helpers/s3-proxy.ts';
import { startS3Server } from '../../helpers/s3-server.ts';
import type { SmallRun } from '../../helpers/small-run.ts';
import { storeHashes } from '../../helpers/store-hashes.ts';
import { winnow } from '../../helpers/winnow.ts';

export type Hashes = Readonly<Record<string, string>>;

/** The store of one round. */
export interface RoundStore {
  readonly uri: string;
  /** Where its files lie on this machine's disk, the objects of a bucket too. */
  readonly folder: string;
  hashes(): Promise<Hashes>;
  remove(): Promise<void>;
}

export interface Place {
  readonly recipePath: string;
  /** What a local run of the recipe makes. */
  readonly expected: Hashes;
  /** The faults of this place strike before this key is there. */
  readonly until: string;
  /** Between the programs and the object store, where there is one. */
  readonly proxy: S3Proxy | null;
  open(round: string): Promise<RoundStore>;
  close(): Promise<void>;
}

const LAST = 'dataset/manifest.json';
const LOCAL = 'local';

async function expectedOf(recipePath: string, store: string): Promise<Hashes> {
  const { code, stderr } = await winnow(['run', recipePath, '--store', store, '--quiet']);
  if (code !== 0) throw new Error(stderr);
  return storeHashes(store);
}

function storeIn(folder: string): RoundStore {
  return { uri: folder, folder, hashes: () => storeHashes(folder), remove: () => rm(folder, { recursive: true, force: true }) };
}

export async function openFolder({ folder, recipePath }: SmallRun): Promise<Place> {
  return { recipePath, expected: await expectedOf(recipePath, join(folder, LOCAL)), until: LAST, proxy: null, open: async (round) => storeIn(join(folder, round)), close: async () => undefined };
}

/** Each round's store on a tmpfs of its own, which only root may mount. */
export async function openDisk({ folder, recipePath }: SmallRun): Promise<Place> {
  const expected = await expectedOf(recipePath, join(folder, LOCAL));
  const open = async (round: string): Promise<RoundStore> => {
    const disk = join(folder, `disk-${round}`);
    await mkdir(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk]);
    const remove = async (): Promise<void> => {
      execFileSync('umount', ['--lazy', disk]);
      await rm(disk, { recursive: true });
    };
    return { ...storeIn(join(disk, 'store')), remove };
  };
  return { recipePath, expected, until: LAST, proxy: null, open, close: async () => undefined };
}

export const MODEL_FOLDER = 'model';
const SEED_SETS = 10;

/** Embeds with a model file, the pool and ten sets of seeds one after another, so that there are jobs all the while. */
export async function openModel({ folder, recipePath }: SmallRun): Promise<Place> {
  await mkdir(join(folder, MODEL_FOLDER));
  await writeFile(join(folder, MODEL_FOLDER, 'colour.onnx'), colourModel({ limit: 256 }));
  const recipe = parse(await readFile(recipePath, 'utf8')) as Record<string, unknown> & { embed: object };
  recipe.embed = { ...recipe.embed, model: `./${MODEL_FOLDER}` };
  recipe.retrieve = Array.from({ length: SEED_SETS }, (_, s) => ({ name: `around-${s}`, sources: [{ folder: './seeds' }], k: 4 }));
  const own = join(folder, 'model.yaml');
  await writeFile(own, stringify(recipe));
  const expected = await expectedOf(own, join(folder, 'local-model'));
  return { recipePath: own, expected, until: `seeds/around-${SEED_SETS - 1}/embeddings/manifest.json`, proxy: null, open: async (round) => storeIn(join(folder, round)), close: async () => undefined };
}

/** Images in one bucket, stores in another; all calls go through the proxy, which keeps conditional writes. */
export async function openBuckets({ folder, recipePath }: SmallRun): Promise<Place> {
  const expected = await expectedOf(recipePath, join(folder, LOCAL));
  const server = await startS3Server();
  if (server.folder === null) throw new Error('Expected a server of this program\'s own, got the one of WINNOW_TEST_S3_ENDPOINT');
  const proxy = await startS3Proxy(server.s3.endpoint);
  proxy.isConditional = true;
  const options = { ...server.s3, endpoint: proxy.endpoint };
  const put = async (name: string): Promise<object> => {
    const bucket = await openS3Bucket(server.otherBucket, { s3: server.s3 });
    for (const entry of await readdir(join(folder, name), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      await bucket.write(path.slice(folder.length + 1), await readFile(path));
    }
    return { folder: formatS3Uri({ bucket: server.otherBucket, key: name, options }) };
  };
  const recipe = parse(await readFile(recipePath, 'utf8')) as Record<string, unknown>;
  recipe.pool = [{ ...(await put('pool')), label: 'parent' }];
  recipe.retrieve = [{ name: 'around', sources: [await put('seeds')], k: 4 }];
  recipe.raw = [{ name: 'raw', sources: [await put('raw')] }];
  const own = join(folder, 'buckets.yaml');
  await writeFile(own, stringify(recipe));
  const open = async (round: string): Promise<RoundStore> => {
    const at = { bucket: server.bucket, key: round };
    const below = join(server.folder!, server.bucket, round);
    return { uri: formatS3Uri({ ...at, options }), folder: below, hashes: () => hashesIn(formatS3Uri({ ...at, options: server.s3 }), Object.keys(expected)), remove: () => rm(below, { recursive: true, force: true }) };
  };
  const close = async (): Promise<void> => {
    await proxy.close();
    await server.close();
  };
  return { recipePath: own, expected, until: LAST, proxy, open, close };
}

/** Of every object under the prefixes that the keys lie under. */
async function hashesIn(uri: string, keys: readonly string[]): Promise<Hashes> {
  const store = await openStore(uri, { readOnly: true });
  const hashes: Record<string, string> = {};
  for (const prefix of new Set(keys.map((key) => key.slice(0, key.indexOf('/') + 1)))) {
    for await (const { key } of store.list(prefix)) {
      hashes[key] = await store.read(key).then(
        (bytes) => createHash('sha256').update(bytes).digest('hex'),
        (error: unknown) => String((error as { code?: string }).code),
      );
    }
  }
  return hashes;
}
