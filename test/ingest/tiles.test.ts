import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { openByteReader } from '../../src/ingest/bytes.ts';
import { type ImagesManifest, SourceConfig } from '../../src/ingest/image.ts';
import { ingest, resolveSources } from '../../src/ingest/ingest.ts';
import { parseTilePath } from '../../src/ingest/tile-path.ts';
import { createLocalExecutor } from '../../src/run/local.ts';
import type { StoredManifest } from '../../src/run/manifest.ts';
import type { RunContext } from '../../src/run/stage.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { writeTree } from './listing.ts';
import { utm, writeTiff } from './rasters.ts';

interface Ran {
  readonly stored: StoredManifest<ImagesManifest>;
  readonly context: RunContext;
  readonly warnings: string[];
  /** Tasks that were run, not kept. */
  readonly drawn: number;
  readonly rows: { readonly uri: string; readonly path: string; readonly raster: string; readonly x: number; readonly y: number; readonly w: number; readonly h: number; readonly label: string | null }[];
  readonly stats: { readonly rows: number; readonly skipped: Record<string, number>; readonly remarks: Record<string, number> };
}

async function run(folder: string, tiles: Record<string, unknown>, { store: storeFolder, concurrency = 1, seed = 0, more = {} }: { store?: string; concurrency?: number; seed?: number; more?: Record<string, unknown> } = {}): Promise<Ran> {
  const store = await openFsStore(storeFolder ?? (await temporaryFolder()));
  const warnings: string[] = [];
  const log = { debug: () => {}, info: () => {}, error: () => {}, warn: (_: unknown, text: string) => void warnings.push(text) } as unknown as RunContext['log'];
  const progress = { begin: () => {}, note: () => {}, advance: () => {}, end: () => {} };
  const execution = { concurrency, threads: 1, blockRows: 1024, memoryBytes: 1 << 20 };
  const signal = new AbortController().signal;
  let drawn = 0;
  const sources = resolveSources([SourceConfig.parse({ name: 'scenes', tiles: { folder, ...tiles }, ...more })], '/');
  const local = createLocalExecutor({ store, signal, log, execution, locations: { scenes: folder }, tasks: concurrency, onAdvance: () => {}, onNote: () => {} });
  const counted: RunContext['executor']['map'] = (kind, payloads, scope) =>
    local.map({ ...kind, run: async (payload, env) => {
      drawn += 1;
      return kind.run(payload, env);
    } }, payloads, scope);
  const executor: RunContext['executor'] = { map: counted };
  const context: RunContext = { store, executor, signal, log, progress, execution, seed, resource: local.resource };
  const stored = await ingest(context, { path: 'images', sources });
  await local.close();
  const rows: Ran['rows'] = [];
  for (const part of stored.manifest.parts) {
    const view = decodeTable(await store.read(part.path), part.path);
    const [uri, path, label] = ['uri', 'path', 'label'].map((name) => view.strings(name));
    const [x, y, w, h] = ['x', 'y', 'w', 'h'].map((name) => view.numbers(name));
    path!.forEach((one, i) => rows.push({ uri: uri![i]!, path: one!, raster: parseTilePath(one!)!.raster, x: x![i]!, y: y![i]!, w: w![i]!, h: h![i]!, label: label![i]! }));
  }
  return { stored, context, warnings, drawn, rows, stats: (stored.manifest.stats as { sources: Record<string, Ran['stats']> }).sources.scenes! };
}

const flat = (width: number, height: number, more: Partial<Parameters<typeof writeTiff>[0]> = {}): Uint8Array => writeTiff({ width, height, value: (x, y, c) => (x + y + c) & 255, block: [64, 64], ...more });

/** Σ (seen − expected)² / expected */
function chiSquare(seen: readonly number[], expected: readonly number[]): number {
  return seen.reduce((sum, one, i) => sum + (one - expected[i]!) ** 2 / expected[i]!, 0);
}

describe('tiles', () => {
  it('are uniform over the area of all rasters, and over each raster', async () => {
    const root = await temporaryFolder();
    const sizes = { 'a.tif': [80, 80], 'b.tif': [200, 64], 'c/d.tif': [144, 272], 'e.png': [100, 40] } as const;
    for (const [path, [w, h]] of Object.entries(sizes)) {
      const bytes = path.endsWith('png') ? await sharp({ create: { width: w, height: h, channels: 3, background: 'red' } }).png().toBuffer() : flat(w, h);
      await writeTree(root, { [path]: bytes });
    }
    const { rows } = await run(root, { count: 40_000, size: 32 });
    expect(rows).toHaveLength(40_000);
    const places = Object.values(sizes).map(([w, h]) => (w - 31) * (h - 31));
    const all = places.reduce((sum, one) => sum + one, 0);
    const seen = Object.keys(sizes).map((raster) => rows.filter((row) => row.raster === raster).length);
    // 99.9 % of draws that are uniform stay below: 16.3 at 3 degrees of freedom, 112 at 71.
    expect(chiSquare(seen, places.map((one) => (40_000 * one) / all))).toBeLessThan(16.3);
    const [across, down] = [144 - 31, 272 - 31];
    const cells = new Array<number>(72).fill(0);
    for (const { raster, x, y } of rows) if (raster === 'c/d.tif') cells[Math.floor((x * 6) / across) * 12 + Math.floor((y * 12) / down)]! += 1;
    const share = (i: number, parts: number, n: number): number => Math.ceil(((i + 1) * n) / parts) - Math.ceil((i * n) / parts);
    const expected = cells.map((_, i) => (seen[2]! * share(Math.floor(i / 12), 6, across) * share(i % 12, 12, down)) / (across * down));
    expect(chiSquare(cells, expected)).toBeLessThan(112);
    expect(rows.some(({ raster, x, y }) => raster === 'e.png' && x === 68 && y <= 8)).toBe(true); // the last place counts too
    expect(rows.every(({ raster, x, y }) => x + 32 <= sizes[raster as 'a.tif'][0] && y + 32 <= sizes[raster as 'a.tif'][1])).toBe(true);
  });

  it('are the same set whatever runs at once, and another with another seed', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'north/a.tif': flat(300, 200, { samples: 4, value: (x, _, c) => (c === 3 ? (x < 150 ? 0 : 255) : x & 255), tags: [[338, 3, [2]]] }), 'b.tif': flat(1500, 1000) });
    const tiles = { count: 20_000, size: 64, nodata: { max: 0.3, tries: 4 } };
    const [one, many, other] = [await run(root, tiles, { more: { label: 'parent' } }), await run(root, tiles, { concurrency: 7, more: { label: 'parent' } }), await run(root, { ...tiles, count: 300 }, { seed: 1 })];
    expect(many.stored.sha256).toBe(one.stored.sha256);
    expect(one.drawn).toBe(2); // 16,384 a task
    expect(other.rows.slice(0, 50)).not.toEqual(one.rows.slice(0, 50));
    expect(one.stats.remarks['tile-again']).toBeGreaterThan(100);
    expect(one.rows.length + (one.stats.skipped['tile-nodata'] ?? 0)).toBe(20_000);
    expect(one.rows[0]).toMatchObject({ raster: 'b.tif', label: null });
    expect(one.rows.at(-1)).toMatchObject({ raster: 'north/a.tif', label: 'north', w: 64, h: 64 });
    expect(one.rows[0]!.uri).toBe(`scenes/${one.rows[0]!.path}`);
  });

  it('have little without data, are drawn again a stated number of times, and given up by count', async () => {
    const root = await temporaryFolder();
    const hole = (x: number): boolean => x % 100 < 60;
    await writeTree(root, { 'a.tif': flat(400, 80, { value: (x, _, c) => (hole(x) ? 0 : 50 + c), tags: [[42113, 2, '0']] }) });
    const share = (x: number): number => Array.from({ length: 20 }, (_, i) => hole(x + i)).filter(Boolean).length / 20;
    const { rows, stats, stored, context } = await run(root, { count: 500, size: 20, nodata: { max: 0.25, tries: 3 } });
    expect(Math.max(...rows.map(({ x }) => share(x)))).toBe(0.25);
    expect(rows.length + stats.skipped['tile-nodata']!).toBe(500);
    // About 0.3 of the windows have enough, so some 0.7³ of the tiles are given up.
    expect(stats.skipped['tile-nodata']! / 500).toBeGreaterThan(0.2);
    expect(stats.skipped['tile-nodata']! / 500).toBeLessThan(0.5);
    const view = decodeTable(await context.store.read('tiles/scenes/part-00000.arrow'), '');
    expect(new Set(view.numbers('tries'))).toEqual(new Set([1, 2, 3]));
    expect(stored.manifest.inputs).toHaveLength(1);
    // Without a look, all are taken.
    expect((await run(root, { count: 500, size: 20, nodata: { max: 1 } })).rows).toHaveLength(500);
    // A value that the file does not name.
    const own = await run(root, { count: 200, size: 20, nodata: { value: 50, max: 0 } });
    expect(own.rows[0]!.path).toMatch(/#xywh=\d+,\d+,20,20&size=20&nodata=50$/);
  });

  it('show as much ground as is asked for, where a raster says what it shows', async () => {
    const root = await temporaryFolder();
    await writeTree(root, { 'fine.tif': flat(300, 300, { tags: utm(0.5) }), 'coarse.tif': flat(300, 300, { tags: utm(4) }), 'coarser.tif': flat(300, 300, { tags: utm(5) }), 'finest.tif': flat(300, 300, { tags: utm(0.001) }), 'none.tif': flat(300, 300) });
    const { rows, stats, warnings } = await run(root, { count: 400, size: 32, resolution: 2 });
    expect(new Set(rows.map(({ raster, w, h }) => `${raster} ${w} ${h}`))).toEqual(new Set(['fine.tif 128 128', 'coarse.tif 16 16', 'none.tif 32 32']));
    expect(stats).toMatchObject({ skipped: { 'raster-too-coarse': 1, 'raster-too-fine': 1 }, remarks: { 'raster-own-pixels': 1 } });
    expect(warnings).toEqual([
      'scenes/coarser.tif shows 5 m a pixel, more than 2 times the wanted 2 m: no tile is cut from it',
      'scenes/finest.tif shows 0.001 m a pixel, so a window of 32 × 2 m has 64000 × 64000 pixels where up to 16777216 are read: no tile is cut from it',
    ]);
    const strict = await run(root, { count: 10, size: 32, resolution: 2, unlocated: 'skip' });
    expect(strict.stats.skipped['raster-unlocated']).toBe(1);
    const reader = openByteReader({ scenes: root });
    const { bytes } = (await reader.read({ source: 'scenes', path: rows.find(({ raster }) => raster === 'fine.tif')!.path, offset: -1, length: -1 }, 1e9)) as { bytes: Uint8Array };
    expect(await sharp(bytes).metadata()).toMatchObject({ width: 32, height: 32, format: 'png' });
    await reader.close();
  });

  it('come from a source in which every raster is at fault by one reason each, or none', async () => {
    const root = await temporaryFolder();
    await writeTree(root, {
      'a-empty.tif': '', 'b-text.tif': 'a web page', 'c-cut.tif': flat(300, 300).subarray(0, 90_000), 'd-small.tif': flat(20, 300), 'e-float.tif': flat(60, 60, { type: 'f32' }),
      'f.jp2': Buffer.from('0000000c6a5020200d0a870a', 'hex'), 'g.svg': '<svg/>', 'h.png': Buffer.from('89504e470d0a1a0a00', 'hex'), 'i.jpg': Buffer.from('ffd8ffe0', 'hex'),
    });
    await symlink('/etc/hostname', join(root, 'j.tif'));
    await expect(run(root, { count: 5, size: 32 })).rejects.toThrow(/rasters with room for a tile.*got none; passed over: 1 extension, 1 link-outside, 2 raster-format, 2 raster-malformed, 2 raster-truncated, 1 raster-samples, 1 raster-too-small/s);
    await writeTree(root, { 'z.tif': flat(60, 60) });
    const { rows, warnings, context } = await run(root, { count: 5, size: 32 });
    expect(rows.map(({ raster }) => raster)).toEqual(new Array(5).fill('z.tif'));
    expect(warnings).toHaveLength(6);
    expect(warnings.at(-1)).toBe('3 more rasters of scenes are left out: tiles/scenes/rasters.arrow says why');
    const view = decodeTable(await context.store.read('tiles/scenes/rasters.arrow'), '');
    expect(view.strings('reason')).toEqual(['raster-truncated', 'raster-format', 'raster-truncated', 'raster-too-small', 'raster-samples', 'raster-format', 'raster-malformed', 'raster-malformed', null]);
    expect(view.strings('detail')[4]).toBe('has signed or floating-point samples: say with `range` which values are black and white');
  });

  it('are kept until the folder or the settings change', async () => {
    const root = await temporaryFolder();
    const store = await temporaryFolder();
    await writeTree(root, { 'a.tif': flat(300, 200), 'broken.tif': 'nothing' });
    const first = await run(root, { count: 50, size: 32 }, { store });
    const again = await run(root, { count: 50, size: 32 }, { store });
    expect([first.drawn, again.drawn]).toEqual([1, 0]);
    expect(again.stored.sha256).toBe(first.stored.sha256);
    expect(again.stats).toEqual(first.stats);
    expect((await run(root, { count: 50, size: 16 }, { store })).drawn).toBe(1);
    await writeFile(join(root, 'b.tif'), flat(100, 100));
    expect((await run(root, { count: 50, size: 16 }, { store })).drawn).toBe(1);
    const elsewhere = await temporaryFolder();
    await writeTree(elsewhere, { 'a.tif': flat(300, 200), 'broken.tif': 'nothing' });
    expect((await run(elsewhere, { count: 50, size: 32 })).stored.sha256).toBe(first.stored.sha256);
  });

  it('that cannot be read later are rows with a reason', async () => {
    const root = await temporaryFolder();
    const whole = flat(256, 256, { deflate: true });
    // The pixels of the last tiles are scrambled, the directory is whole.
    const damaged = Buffer.from(whole);
    damaged.fill(0x5a, 2000, Math.floor(whole.length / 2));
    await writeTree(root, { 'a.tif': damaged, 'b.tif': flat(64, 64) });
    const { rows } = await run(root, { count: 60, size: 32 });
    const reader = openByteReader({ scenes: root });
    const read = async (path: string): Promise<string> => {
      const found = await reader.read({ source: 'scenes', path, offset: -1, length: -1 }, 1e9);
      return found.status === 'unreadable' ? found.reason : found.status;
    };
    const results = await Promise.all(rows.map(({ path }) => read(path)));
    expect(new Set(results)).toEqual(new Set(['ok', 'its raster has damaged Deflate bytes']));
    await rm(join(root, 'b.tif'));
    expect(await read('gone.tif#xywh=0,0,4,4&size=4')).toBe('it does not exist');
    expect(await read('../x.tif#xywh=0,0,4,4&size=4')).toBe('the path leads out of the source');
    expect(await read('a.tif#xywh=300,0,4,4&size=4')).toBe('its raster has 256 × 256 pixels, and the window ends at 304, 4');
    await mkdir(join(root, 'folder.tif'));
    expect(await read('folder.tif#xywh=0,0,4,4&size=4')).toBe('it is not a regular file');
    await reader.close();
  });
});
