/** From large rasters to batches: the recipe `sat-493m` in small, run as a stranger would. */
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { streamBatches } from '../../src/cli/batches.ts';
import { parseTilePath } from '../../src/ingest/tile-path.ts';
import { SILENT } from '../../src/log.ts';
import { collectCopies, readStream } from '../batch/toy-feed.ts';
import { utm, writeTiff } from '../ingest/rasters.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { expectNothingHalfWritten, winnow } from '../helpers/winnow.ts';
import { kill, startDriver, startWorker } from '../workers/processes.ts';
import { startRedis, withoutRedis } from '../workers/redis-server.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const SIZE = 48;
const FEED = { source: [], cacheMb: 16, ahead: 1, reads: 4, verify: 'crc32' as const, steps: 3, fromStep: 0, every: 1, rank: 0, withImages: true };
const NEVER = new AbortController().signal;
/** Ground seen at 0.6 m a pixel, the same in every scene. */
const ground = (x: number, y: number, c: number): number => Math.round(128 + 60 * Math.sin(x / (40 + 9 * c)) + 50 * Math.cos(y / 23));

interface Shard {
  readonly paths: string[];
  readonly ids: string[];
  readonly images: Uint8Array[];
}

describe('the whole road from rasters', () => {
  let folder: string;
  const at = (name: string): string => join(folder, name);
  const shards = async (store: string): Promise<Shard> => {
    const { parts } = JSON.parse(await readFile(join(at(store), 'dataset/manifest.json'), 'utf8')) as { parts: { name: string; shards: { path: string }[] }[] };
    const views = await Promise.all(parts.find(({ name }) => name === 'sat-493m')!.shards.map(async ({ path }) => decodeTable(await readFile(join(at(store), path)), path)));
    return { paths: views.flatMap((view) => view.strings('path') as string[]), ids: views.flatMap((view) => view.strings('id') as string[]), images: views.flatMap((view) => (view.has('image') ? view.binaries('image') : [])) };
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'winnow-tiles-'));
    await mkdir(at('scenes/east'), { recursive: true });
    await writeFile(at('scenes/a.tif'), writeTiff({ width: 700, height: 500, value: ground, block: [128, 128], deflate: true, tags: [...utm(0.6), [42113, 2, '0']] }));
    await writeFile(at('scenes/east/b.tif'), writeTiff({ width: 400, height: 600, value: (x, y, c) => ground(x, y, c) * 257, type: 'u16', block: { rows: 40 }, little: false, tags: utm(0.3) }));
    const plain = Uint8Array.from({ length: 300 * 200 * 3 }, (_, i) => ground(Math.floor(i / 3) % 300, Math.floor(i / 900), i % 3));
    await sharp(plain, { raw: { width: 300, height: 200, channels: 3 } }).png().toFile(at('scenes/c.png'));
    await writeFile(at('scenes/cut.tif'), writeTiff({ width: 700, height: 500, value: ground }).subarray(0, 100_000));
    const recipe = parse(await readFile(join(ROOT, 'pipelines/recipes/sat-493m.yaml'), 'utf8')) as { pool: { tiles: object }[]; raw: { sources: { tiles: object }[] }[] } & Record<string, unknown>;
    Object.assign(recipe.pool[0]!.tiles, { count: 200, size: SIZE });
    Object.assign(recipe.raw[0]!.sources[0]!.tiles, { count: 150, size: SIZE });
    for (const [name, withBytes] of [['bytes', true], ['references', false]] as const) {
      await writeFile(at(`${name}.yaml`), stringify({ ...recipe, cluster: { levels: [12, 4] }, shard: { rows: 64, withBytes }, batch: { size: 16 } }));
      const { code, stderr } = await winnow(['run', at(`${name}.yaml`), '--store', at(name)]);
      expect(code, stderr).toBe(0);
      expect(stderr).toMatch(/warning: (sample|sat-493m)\/cut\.tif .*: no tile is cut from it/);
    }
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('delivers each tile as a PNG of its window, in shards and in batches, with bytes inside or without', async () => {
    const [inside, outside] = [await shards('bytes'), await shards('references')];
    expect(inside.paths).toHaveLength(150);
    expect(outside).toMatchObject({ paths: inside.paths, ids: inside.ids, images: [] });
    expect(new Set(inside.paths.map((path) => parseTilePath(path)!.raster))).toEqual(new Set(['a.tif', 'c.png', 'east/b.tif']));
    for (const [i, image] of inside.images.entries()) {
      expect(createHash('sha256').update(image).digest('hex').slice(0, 32)).toBe(inside.ids[i]);
      const { x, y, w, h, raster } = parseTilePath(inside.paths[i]!)!;
      const { data, info } = await sharp(image, { failOn: 'warning' }).raw().toBuffer({ resolveWithObject: true });
      expect([info.format, info.width, info.height, w, h]).toEqual(['raw', SIZE, SIZE, ...(raster === 'east/b.tif' ? [2 * SIZE, 2 * SIZE] : [SIZE, SIZE])]);
      const step = w / SIZE;
      // Twice as fine: between two of its pixels, which the slow waves of the ground let us tell to a level or two.
      const seen = (px: number, py: number, c: number): number => (step === 1 ? ground(x + px, y + py, c) : (ground(x + 2 * px, y + 2 * py, c) + ground(x + 2 * px + 1, y + 2 * py + 1, c)) / 2);
      let worst = 0;
      for (let py = 0; py < SIZE; py++) for (let px = 0; px < SIZE; px++) for (let c = 0; c < 3; c++) worst = Math.max(worst, Math.abs(data[(py * SIZE + px) * 3 + c]! - seen(px, py, c)));
      expect(worst).toBeLessThanOrEqual(step === 1 ? 0 : 3);
    }
    const streams = await Promise.all(['bytes', 'references'].map(async (store) => readStream(await collectCopies(streamBatches(at(store), FEED, SILENT, NEVER)))));
    expect(streams[1]!.map(({ rows }) => rows)).toEqual(streams[0]!.map(({ rows }) => rows));
    const byId = new Map(inside.ids.map((id, i) => [id, inside.images[i]!]));
    const delivered = streams[0]!.flatMap(({ rows }) => rows);
    expect(delivered).toHaveLength(48);
    for (const { id, image } of delivered) expect(Buffer.compare(image as Uint8Array, byId.get(id as string)!)).toBe(0);
  });

  it('writes the mean and deviation of all tiles, exact', async () => {
    const { images } = await shards('bytes');
    const { stats } = JSON.parse(await readFile(at('bytes/raw/sat-493m/embeddings/manifest.json'), 'utf8')) as { stats: { colours: { pixels: string; sum: string[]; squares: string[]; mean: number[]; std: number[] } } };
    const sum = [0, 0, 0];
    const squares = [0, 0, 0];
    for (const image of images) {
      const pixels = await sharp(image).raw().toBuffer();
      for (const [i, value] of pixels.entries()) {
        sum[i % 3]! += value;
        squares[i % 3]! += value * value;
      }
    }
    const n = 150 * SIZE * SIZE;
    expect(stats.colours).toMatchObject({ pixels: String(n), sum: sum.map(String), squares: squares.map(String) });
    for (let c = 0; c < 3; c++) {
      expect(stats.colours.mean[c]).toBeCloseTo(sum[c]! / n / 255, 10);
      expect(stats.colours.std[c]).toBeCloseTo(Math.sqrt(squares[c]! / n - (sum[c]! / n) ** 2) / 255, 8);
    }
  });

  it('gives the same bytes with other settings of the work, from another place, and goes on after a change', async () => {
    await mkdir(at('elsewhere'));
    await cp(at('scenes'), at('elsewhere/scenes'), { recursive: true });
    const recipe = parse(await readFile(at('bytes.yaml'), 'utf8')) as Record<string, unknown>;
    await writeFile(at('elsewhere/bytes.yaml'), stringify({ ...recipe, execution: { concurrency: 5, blockRows: 1024 } }));
    expect((await winnow(['run', at('elsewhere/bytes.yaml'), '--store', at('other')])).code).toBe(0);
    expect(await storeHashes(at('other'))).toEqual(await storeHashes(at('bytes')));
    // Drawn again on request, to the same end.
    const forced = await winnow(['ingest', at('elsewhere/bytes.yaml'), '--store', at('other'), '--force', 'ingest']);
    expect(forced.stderr).toContain('200 tiles drawn from sample');
    expect((await winnow(['run', at('elsewhere/bytes.yaml'), '--store', at('other')])).stderr).not.toContain('tiles drawn');
    expect(await storeHashes(at('other'))).toEqual(await storeHashes(at('bytes')));
    await expectNothingHalfWritten(at('other'));
  });

  it.skipIf(withoutRedis())('gives the same bytes when workers draw and cut', async () => {
    const redis = await startRedis();
    const worker = startWorker({ redis: redis.url, lockMs: 8_000, concurrency: 2 });
    try {
      expect((await startDriver(at('bytes.yaml'), at('queued'), redis.url).ended).code).toBe(0);
      expect(worker.stderr()).toContain('"kind":"draw-tiles"');
      expect(await storeHashes(at('queued'))).toEqual(await storeHashes(at('bytes')));
    } finally {
      await kill(worker);
      await redis.stop();
    }
  });
});
