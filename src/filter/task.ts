/**
 * The tasks of the filter stage. `filterPart` judges the rows of one part of `embeddings/` by all rules that look at a row, in
 * their order; `capPart` then takes out of it what the caps leave no room for.
 */
import assert from 'node:assert/strict';
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import type { Columns } from '../arrow/tables.ts';
import type { DecodeLimits, EmbeddingPart } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import { type Part, hashOf, readPart } from '../run/manifest.ts';
import type { TaskEnv, TaskKind } from '../run/stage.ts';
import { type CapLimits, applyLimits, columnValue, readCapRows } from './cap.ts';
import { judgeCommand } from './command.ts';
import { scoresOf } from './config.ts';
import { type BlurRule, type CapRule, FILTERS, type FlatRule, type Judged, type PartRows, type RowRule, type ScoreRule, createJudged, judgedColumns, reasonOf, reject, rejectUnread, undecided } from './filter.ts';
import { type ListEntries, type Matcher, createMatcher, judgeList } from './list.ts';
import { lumaFault } from './luma.ts';
import { type Measured, type Wanted, measureImages } from './measure.ts';
import { readPartRows } from './part-rows.ts';
import { openEncoderOf, openHeadOf } from './resolve.ts';
import { judgeScore } from './score.ts';
import { judgeSize, looksAtBytes } from './size.ts';

export interface FilterPayload {
  readonly embeddings: EmbeddingPart;
  /** The part of `images/` that holds the rows. */
  readonly images: Part;
  /** Dimensions of the stored vectors. */
  readonly d: number;
  readonly rules: readonly RowRule[];
  /** Where there are any, the part is left for `capPart`, under `work/`. */
  readonly caps: readonly CapRule[];
  readonly limits: DecodeLimits;
  /** Key of the part to write. */
  readonly out: string;
}

export interface FilterResult {
  readonly part: Part;
  /** Rows that embedding had taken. */
  readonly asked: number;
  /** Rows rejected by each rule, in order. */
  readonly rejected: readonly number[];
  /** Rows rejected since their image could not be read again. */
  readonly unread: number;
}

export const filterPart: TaskKind<FilterPayload, FilterResult> = {
  name: 'filter-part',
  version: 1,
  run: async (payload, env) => {
    const { rules, caps, embeddings } = payload;
    const wantsVectors = rules.some((rule) => (rule.kind === 'score' && rule.score.on === 'embedding') || (rule.kind === 'command' && rule.command.columns.includes('embedding')));
    const withMeta = caps.some(({ cap }) => cap.column.startsWith('meta.'));
    const rows = await readPartRows(env, { embeddings, images: payload.images, d: wantsVectors ? payload.d : 0, withMeta });
    const judged = createJudged(rows.rowCount, rules.flatMap(scoresOf));
    const asked = undecided(rows, judged).length;
    let advanced = 0;
    const look = (positions: readonly number[], wanted: Wanted): Promise<Measured> =>
      measureImages(rows, positions, wanted, payload.limits, env, () => {
        if (advanced++ < rows.rowCount) env.advance(1);
      });
    let measured: Measured | null = null;
    for (const rule of rules) {
      if (needsPixels(rule)) measured ??= await look(undecided(rows, judged), await wantedOf(rules, env));
      const sizes = rule.kind === 'size' && looksAtBytes(rule) ? await look(unsized(rows, judged), { luma: [], models: [] }) : null;
      await judge(rule, rows, sizes ?? measured, judged, payload, env);
    }
    env.advance(Math.max(0, rows.rowCount - advanced));
    const rejected = rules.map(({ name }) => judged.reason.filter((reason) => reason === reasonOf({ name })).length);
    const columns = caps.length === 0 ? judgedColumns(judged) : { ...judgedColumns(judged), ...capColumns(caps, rows, judged) };
    const key = caps.length === 0 ? payload.out : `work/${FILTERS}/judged-${hashOf(payload).slice(0, 24)}.arrow`;
    return { part: await write(env, key, columns, embeddings), asked, rejected, unread: judged.unread };
  },
};

export interface CapPayload {
  /** As `filterPart` left it. */
  readonly judged: Part;
  readonly caps: readonly CapRule[];
  /** Key of the limits of every cap, in order; their hash is in it. */
  readonly limits: string;
  readonly seed: number;
  readonly out: string;
}

export interface CapResult {
  readonly part: Part;
  readonly rejected: readonly number[];
}

export const capPart: TaskKind<CapPayload, CapResult> = {
  name: 'filter-cap',
  version: 1,
  run: async ({ judged: part, caps, limits: key, seed, out }, env) => {
    const limits = JSON.parse(new TextDecoder().decode(await env.store.read(key))) as CapLimits[];
    const view = decodeTable(await readPart(env.store, part), part.path);
    const scores = view.names.filter((name) => name.startsWith('score.')).map((name) => name.slice('score.'.length));
    const judged: Judged = { reason: view.strings('reason'), detail: view.strings('detail'), scores: new Map(), unread: 0 };
    for (const name of scores) {
      const valid = view.validity(`score.${name}`);
      judged.scores.set(name, Float32Array.from(view.numbers(`score.${name}`), (score, i) => (valid?.[i] === 0 ? Number.NaN : score)));
    }
    const rows = await readCapRows(env.store, part, seed);
    const rejected = caps.map((rule, c) => {
      let count = 0;
      applyLimits(rows, rule, limits[c]!, (i, value) => {
        rows.isIn[i] = 0;
        reject(judged, rule, i, value === null ? `no ${rule.cap.column}` : `more than ${rule.cap.max} with ${rule.cap.column} ${value}`);
        count++;
      });
      return count;
    });
    env.advance(part.rowCount);
    return { part: await write(env, out, judgedColumns(judged), part), rejected };
  },
};

function needsPixels(rule: RowRule): boolean {
  return rule.kind === 'blur' || rule.kind === 'flat' || (rule.kind === 'score' && rule.score.on === 'pixels');
}

/** Rows whose bytes the listing does not count. */
function unsized(rows: PartRows, judged: Judged): number[] {
  return undecided(rows, judged).filter((i) => rows.sizeBytes[i]! < 0);
}

async function judge(rule: RowRule, rows: PartRows, measured: Measured | null, judged: Judged, { limits }: FilterPayload, env: TaskEnv): Promise<void> {
  if (measured !== null && (needsPixels(rule) || rule.kind === 'size')) for (const i of undecided(rows, judged)) if (measured.fault[i] != null) rejectUnread(judged, rule, i, measured.fault[i]!);
  switch (rule.kind) {
    case 'size':
      return judgeSize(rule, rows, looksAtBytes(rule) ? measured!.sizeBytes : rows.sizeBytes, judged);
    case 'blur':
    case 'flat':
      return judgeLuma(rule, rows, measured!, judged);
    case 'score': {
      if (rule.score.on === 'pixels') {
        const { values, finite } = measured!.outputs.get(rule.name)!;
        return judgeScore(rule, values, finite, rows, judged);
      }
      const head = await openHeadOf(rule, rows.d, env);
      requireSame(rule, head.provenance);
      return judgeScore(rule, await head.run(rows.vectors), null, rows, judged);
    }
    case 'allow':
    case 'deny':
      return judgeList(rule, (await openMatcher(rule.list, env)).matcher, rows, judged);
    case 'command':
      return judgeCommand(rule, rows, judged, limits.sizeBytesMax, env);
  }
}

function judgeLuma(rule: BlurRule | FlatRule, rows: PartRows, { luma }: Measured, judged: Judged): void {
  for (const i of undecided(rows, judged)) {
    const figures = luma[i];
    assert(figures != null, `Expected row ${rows.firstRow + i} to be measured`);
    if (rule.kind === 'blur') judged.scores.get(rule.name)![i] = figures.sharpness;
    else {
      judged.scores.get(`${rule.name}.deviation`)![i] = figures.deviation;
      judged.scores.get(`${rule.name}.entropy`)![i] = figures.entropy;
    }
    const fault = lumaFault(rule, figures);
    if (fault !== null) reject(judged, rule, i, fault);
  }
}

/** Everything that any rule wants of an image, so that it is read once. */
async function wantedOf(rules: readonly RowRule[], env: TaskEnv): Promise<Wanted> {
  const isLuma = (rule: RowRule): rule is BlurRule | FlatRule => rule.kind === 'blur' || rule.kind === 'flat';
  const models = rules.flatMap((rule, r) => (rule.kind === 'score' && rule.score.on === 'pixels' ? [{ rule, after: rules.slice(0, r).filter(isLuma) }] : []));
  return {
    luma: rules.filter(isLuma),
    models: await Promise.all(
      models.map(async ({ rule, after }) => {
        const encoder = await openEncoderOf(rule, env);
        requireSame(rule, encoder.provenance);
        return { rule, encoder, after };
      }),
    ),
  };
}

function requireSame({ name, identity }: ScoreRule, provenance: Readonly<Record<string, unknown>>): void {
  if (hashOf(identity) === hashOf(provenance)) return;
  throw new WinnowError('PROVIDER_UNAVAILABLE', `Expected the model of filter "${name}" that the run began with, this process has another file or runtime: scores would differ`);
}

/** The process's one copy of a list. */
function openMatcher(key: string, env: TaskEnv): Promise<{ readonly matcher: Matcher; close(): Promise<void> }> {
  return env.resource(`filter-list ${key}`, async () => {
    const entries = JSON.parse(new TextDecoder().decode(await env.store.read(key))) as ListEntries;
    return { matcher: createMatcher(entries), close: async () => {} };
  });
}

/** What `capPart` and the search for its limits go by. */
function capColumns(caps: readonly CapRule[], rows: PartRows, judged: Judged): Columns {
  const isIn = new Uint8Array(rows.rowCount);
  for (const i of undecided(rows, judged)) isIn[i] = 1;
  const values = caps.map((rule) => {
    const value = (i: number): string | null => (isIn[i] === 1 ? columnValue(rule.cap.column, rows.source[i]!, rows.label[i]!, rows.meta[i]!) : null);
    return [`value.${rule.name}`, { type: 'dictionary', values: Array.from({ length: rows.rowCount }, (_, i) => value(i)) }] as const;
  });
  return { id: { type: 'utf8', values: rows.id }, in: { type: 'bool', values: isIn }, ...Object.fromEntries(values) };
}

async function write(env: TaskEnv, path: string, columns: Columns, { firstRow, rowCount }: Pick<Part, 'firstRow' | 'rowCount'>): Promise<Part> {
  const { sizeBytes, sha256 } = await env.store.write(path, encodeTable(columns));
  return { path, firstRow, rowCount, bytes: sizeBytes, sha256 };
}
