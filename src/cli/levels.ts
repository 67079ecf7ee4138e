/** `winnow levels`: what each depth of the tree would select, on a sample, as a table and a contact sheet each. */
import { join } from 'node:path';
import { curate, sourcesOf } from '../../pipelines/curate.ts';
import { searchEngine } from '../cluster/level.ts';
import { buildPilot } from '../cluster/pilot.ts';
import { planLevels } from '../cluster/plan.ts';
import { memoryPoints, openEmbeddingPoints } from '../cluster/points.ts';
import type { LoadedRecipe } from '../config.ts';
import { WinnowError } from '../errors.ts';
import { decodeTable } from '../arrow/ipc.ts';
import { type EmbeddingsManifest, readEmbeddingFacts } from '../embed/embedding.ts';
import { SURVIVORS } from '../embed/survivors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import type { Log } from '../log.ts';
import { drawDistinct, randomStream } from '../random.ts';
import { drawContactSheet } from '../report/contact-sheet.ts';
import { type DepthReport, type FlatChange, compareDepths } from '../report/depths.ts';
import { readPart } from '../run/manifest.ts';
import type { ProgressSink, RunContext } from '../run/stage.ts';
import { targetCount } from '../sample/config.ts';
import type { Store } from '../store/store.ts';
import type { RunOutcome } from './run.ts';
import { storeFolder } from '../store/open.ts';
import { openSession } from './session.ts';

export interface LevelsRequest {
  readonly loaded: LoadedRecipe;
  readonly store: string;
  readonly progress: ProgressSink;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Images of the pilot at most. */
const SAMPLE = 20_000;

/** Embeds the pool where that is not done, then builds and draws on a sample only. */
export async function levels(request: LevelsRequest): Promise<RunOutcome> {
  const { loaded, store, progress, log, signal } = request;
  const { locations } = sourcesOf(loaded, store);
  const session = await openSession({ store, seed: loaded.recipe.seed, execution: loaded.recipe.execution, clusterEngine: loaded.recipe.cluster.engine, s3: loaded.recipe.s3, locations, signal, log, progress, command: 'levels' });
  let outcome = 'done';
  try {
    const done = await curate(session.context, loaded, 'dedup');
    const images = done.get('images')!.manifest as ImagesManifest;
    const embeddings = (done.get(SURVIVORS) ?? done.get('embeddings'))!;
    const { report, rows, plan } = await pilotReport(session.context, loaded, images, embeddings as never);
    const sheets = await drawSheets(session.context.store, images, report, rows, loaded, locations, storeFolder(store));
    return { text: render(report, plan.draw, sheets), json: { plan, sheets, ...plain(report) } };
  } catch (error) {
    outcome = error instanceof WinnowError ? error.code : 'failed';
    throw error;
  } finally {
    await session.close(outcome);
  }
}

async function pilotReport(context: RunContext, { recipe }: LoadedRecipe, images: ImagesManifest, stored: Parameters<typeof planLevels>[1]) {
  const embeddings = stored.manifest;
  const points = await openEmbeddingPoints(context.store, embeddings, 0);
  const m = Math.min(points.n, SAMPLE);
  const sample = drawDistinct(randomStream(context.seed, 'levels', 'sample'), points.n, m);
  const values = new Float32Array(m * points.d);
  await points.gather(sample, values);
  const full = await planLevels(context, stored, recipe.cluster, points.n);
  const scaled = full.levels.map((k) => Math.max(1, Math.round((k * m) / points.n)));
  const engine = await searchEngine(context);
  context.progress.begin('levels', null, 'levels');
  const pilot = await buildPilot(memoryPoints(values, m, points.d), scaled, full.outliers, { engine, seed: context.seed, iterations: recipe.cluster.iterations, empty: recipe.cluster.empty, resampling: full.resampling, signal: context.signal });
  const rows = await poolRows(context.store, embeddings, sample);
  const report = await compareDepths({
    values, n: m, d: points.d, pilot, engine, seed: context.seed,
    target: targetCount(recipe.sample.target, m === points.n ? m : Math.round((targetShare(recipe.sample.target, points.n) * m))),
    floor: recipe.sample.floor === 'auto' ? full.draw.floor : recipe.sample.floor,
    strategy: recipe.sample.strategy,
    minSize: recipe.cluster.minSizeWarning,
    labels: await labelsOf(context.store, images, rows),
  });
  context.progress.end(`${m} of ${points.n} images looked at`);
  return { report, rows, plan: full };
}

/** Share of the pool that a target asks for. */
function targetShare(target: LoadedRecipe['recipe']['sample']['target'], n: number): number {
  return Math.min(1, targetCount(target, n) / n);
}

/** Pool row of each sampled point (ok row). */
async function poolRows(store: Store, { parts }: EmbeddingsManifest, sample: Uint32Array): Promise<Float64Array> {
  const rows = new Float64Array(sample.length);
  let point = 0;
  let at = 0;
  for (const part of parts) {
    const { status } = await readEmbeddingFacts(store, part);
    status.forEach((one, i) => {
      if (one !== 'ok') return;
      if (sample[at] === point) rows[at++] = part.firstRow + i;
      point++;
    });
  }
  return rows;
}

async function labelsOf(store: Store, images: ImagesManifest, rows: Float64Array): Promise<(string | null)[]> {
  const labels: (string | null)[] = [];
  let at = 0;
  for (const part of images.parts) {
    const all = decodeTable(await readPart(store, part), part.path).strings('label');
    for (; at < rows.length && rows[at]! < part.firstRow + part.rowCount; at++) labels.push(all[rows[at]! - part.firstRow]!);
  }
  return labels;
}

const COLUMNS = 16;
const SHEET_ROWS = 8;

/** One PNG a depth: a draw of its selection, then the groups it gains and loses most. And one of a random subset. */
async function drawSheets(store: Store, images: ImagesManifest, report: DepthReport, rows: Float64Array, { recipe }: LoadedRecipe, locations: Record<string, string>, root: string): Promise<string[]> {
  const reader = openByteReader(locations);
  const pick = (points: Uint32Array, name: string): number[][] => {
    const some = drawDistinct(randomStream(recipe.seed, 'levels', 'sheet', name), points.length, COLUMNS * SHEET_ROWS);
    const cells = Array.from(some, (i) => rows[points[i]!]!);
    return Array.from({ length: Math.ceil(cells.length / COLUMNS) }, (_, r) => cells.slice(r * COLUMNS, (r + 1) * COLUMNS));
  };
  const groups = (changes: readonly FlatChange[]): number[][] => changes.map(({ members }) => members.map((point) => rows[point]!));
  const sheets: string[] = [];
  const save = async (name: string, blocks: { cells: number[][] }[]): Promise<void> => {
    const path = join(root, 'levels', name);
    await store.write(`levels/${name}`, await drawContactSheet(store, images, blocks, { reader, limits: recipe.embed.limits }));
    sheets.push(path);
  };
  try {
    await save('random.png', [{ cells: pick(report.random, 'random') }]);
    for (const { depth, selected, gains, losses } of report.rows) {
      await save(`depth-${depth}.png`, [{ cells: pick(selected, `depth-${depth}`) }, { cells: groups(gains) }, { cells: groups(losses) }]);
    }
  } finally {
    await reader.close();
  }
  return sheets;
}

function render(report: DepthReport, draw: { depth: number }, sheets: readonly string[]): string {
  const lines = [
    `What each depth would select: ${report.target} of ${report.points} images looked at`,
    '  depth   clusters  effective  largest  small  evenness  labels',
    `  random ${''.padStart(36)} ${report.randomEntropy.toFixed(3).padStart(9)}    1.00`,
  ];
  for (const { depth, health, entropy, labelGain } of report.rows) {
    lines.push(`${depth === draw.depth ? '*' : ' '} ${String(depth).padStart(5)} ${String(health.k).padStart(10)} ${health.effective.toFixed(0).padStart(10)} ${`${(health.largestShare * 100).toFixed(1)}%`.padStart(8)} ${String(health.small).padStart(6)} ${entropy.toFixed(3).padStart(9)} ${(labelGain === null ? '–' : labelGain.toFixed(2)).padStart(7)}`);
  }
  lines.push('', '* what sample.depth: auto takes. Evenness: normalised entropy over flat clusterings that had no part in', '  the tree. Labels: effective number of labels over that of a random subset; they choose nothing.', '');
  for (const { depth, gains, losses } of report.rows) lines.push(`  depth ${depth}: gains ${gains.map(share).join(', ')}; loses ${losses.map(share).join(', ')}`);
  return `${lines.join('\n')}\n\n${sheets.join('\n')}\n`;
}

function share({ name, selected, pool }: FlatChange): string {
  return `${name} ${selected}/${pool}`;
}

function plain({ rows, points, target, randomEntropy }: DepthReport): object {
  return { points, target, randomEntropy, depths: rows.map(({ selected, ...row }) => ({ ...row, selected: selected.length })) };
}
