/**
 * The user's own program as a rule: rows of one part on its stdin, decisions on its stdout, both Arrow IPC streams. It is started
 * anew for every part (4,096 rows at most, a constant of the format), so that a decision cannot depend on how the work was cut.
 * That it is a function of what it reads is for its author to see to.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type StreamBatch, type TableView, decodeBatches, encodeStream } from '../arrow/ipc.ts';
import type { Columns } from '../arrow/tables.ts';
import { type SecondRead, readAgain } from '../embed/second-read.ts';
import { WinnowError } from '../errors.ts';
import { hashOf } from '../run/manifest.ts';
import type { TaskEnv } from '../run/stage.ts';
import { runProcess } from './command-process.ts';
import type { FilterConfig } from './config.ts';
import { type CommandRule, type Judged, type PartRows, reject, rejectUnread, undecided } from './filter.ts';

/** A batch of rows ends after so many of them, or so many bytes of images. */
const BATCH_ROWS = 512;
const BATCH_BYTES = 2 ** 25;
/** Bytes of decisions: a mebibyte, and this much a row. */
const DECISION_BYTES = 4096;
const REASON_LENGTH = 500;

/**
 * What the program is, for manifests: its words, those that are files by name and hash. A first word without a slash is looked
 * up in PATH and told by its name alone.
 *
 * @param folder relative words start from here
 */
export async function identifyCommand({ run, version }: Pick<NonNullable<FilterConfig['command']>, 'run' | 'version'>, folder: string): Promise<Readonly<Record<string, unknown>>> {
  const words = await Promise.all(
    run.map(async (word, w) => {
      const path = resolve(folder, word);
      const isFile = (w > 0 || word.includes('/')) && (await stat(path).then((facts) => facts.isFile(), () => false));
      return isFile ? { file: basename(path), sha256: createHash('sha256').update(await readFile(path)).digest('hex') } : word;
    }),
  );
  return { run: words, version };
}

/** @throws {WinnowError} COMMAND_FAILED for whatever the program does wrong; ABORTED */
export async function judgeCommand(rule: CommandRule, rows: PartRows, judged: Judged, sizeBytesMax: number, env: TaskEnv): Promise<void> {
  const { command, folder } = rule;
  const where = `filter "${rule.name}" (${command.run.join(' ')}) on rows ${rows.firstRow} … ${rows.firstRow + rows.rowCount - 1}`;
  const failed = (what: string, cause?: unknown): WinnowError => new WinnowError('COMMAND_FAILED', `Expected a decision on every row from ${where}; it ${what}`, { cause, details: { filter: rule.name, firstRow: rows.firstRow } });
  if (hashOf(await identifyCommand(command, folder)) !== hashOf(rule.identity)) throw failed('is not the program that the run began with');
  const asked = undecided(rows, judged);
  if (asked.length === 0) return;
  const limits = { cwd: folder, timeoutMs: command.timeoutSeconds * 1000, outputBytesMax: 2 ** 20 + rows.rowCount * DECISION_BYTES, signal: env.signal };
  let output: Uint8Array;
  try {
    output = await runProcess(command.run, encodeStream(batchesOf(rule, rows, judged, sizeBytesMax, env)), limits);
  } catch (error) {
    if (error instanceof WinnowError && error.code === 'COMMAND_FAILED') throw failed(error.message, error);
    throw error;
  }
  const { keep, reason } = readDecisions(output, rows, failed);
  const missing = undecided(rows, judged).filter((i) => keep[i] === UNDECIDED);
  if (missing.length > 0) throw failed(`left out ${missing.length} of ${asked.length}, the first is row ${rows.firstRow + missing[0]!}`);
  for (const i of undecided(rows, judged)) if (keep[i] === 0) reject(judged, rule, i, reason[i] ?? null);
}

const UNDECIDED = 2;

/** The rows as the program gets them. A row whose image cannot be read again is rejected and told by its status. */
async function* batchesOf(rule: CommandRule, rows: PartRows, judged: Judged, sizeBytesMax: number, env: TaskEnv): AsyncIterable<StreamBatch> {
  const withImages = rule.command.columns.includes('image');
  const images = withImages ? imagesOf(rows, judged, sizeBytesMax, env) : null;
  let held: Uint8Array[] = [];
  let [from, heldBytes] = [0, 0];
  try {
    for (let i = 0; i < rows.rowCount; i++) {
      if (images !== null) {
        const read = rows.status[i] === 'ok' && judged.reason[i] === null ? (await images.next()).value : null;
        if (read != null && read.status !== 'ok') rejectUnread(judged, rule, i, `could not be read again: ${read.status}`);
        held.push(read?.status === 'ok' ? read.value : NOTHING);
        heldBytes += held.at(-1)!.length;
      }
      if (i + 1 - from < BATCH_ROWS && heldBytes < BATCH_BYTES && i + 1 < rows.rowCount) continue;
      yield { columns: columnsOf(rule, rows, judged, from, i + 1, held), metadata: {} };
      [from, heldBytes, held] = [i + 1, 0, []];
    }
  } finally {
    await images?.return(undefined);
  }
}

const NOTHING = new Uint8Array(0);

function imagesOf(rows: PartRows, judged: Judged, sizeBytesMax: number, env: TaskEnv): AsyncGenerator<SecondRead<Uint8Array>> {
  const images = undecided(rows, judged).map((i) => ({ place: rows.place[i]!, id: rows.id[i]!, sizeBytes: rows.sizeBytes[i]! }));
  return readAgain(images, sizeBytesMax, env, async (bytes) => bytes);
}

function columnsOf({ command }: CommandRule, rows: PartRows, { reason }: Judged, from: number, to: number, images: readonly Uint8Array[]): Columns {
  const status = rows.status.slice(from, to).map((one, i) => (one === 'ok' ? (reason[from + i] ?? 'ok') : one));
  const valid = Uint8Array.from(rows.status.slice(from, to), (one) => (one === 'ok' ? 1 : 0));
  return {
    row: { type: 'uint64', values: Float64Array.from({ length: to - from }, (_, i) => rows.firstRow + from + i) },
    id: { type: 'utf8', values: rows.id.slice(from, to) },
    uri: { type: 'utf8', values: rows.uri.slice(from, to) },
    label: { type: 'utf8', values: rows.label.slice(from, to) },
    width: { type: 'uint32', values: rows.width.slice(from, to) },
    height: { type: 'uint32', values: rows.height.slice(from, to) },
    status: { type: 'utf8', values: status },
    ...(command.columns.includes('embedding') && { embedding: { type: 'vector', d: rows.d, element: 'float32', values: rows.vectors.slice(from * rows.d, to * rows.d), valid } }),
    ...(command.columns.includes('image') && { image: { type: 'binary', values: images } }),
  };
}

/** @returns by position: 1 keep, 0 reject, UNDECIDED where nothing was said */
function readDecisions(output: Uint8Array, { firstRow, rowCount }: PartRows, failed: (what: string, cause?: unknown) => WinnowError): { keep: Uint8Array; reason: (string | null)[] } {
  const keep = new Uint8Array(rowCount).fill(UNDECIDED);
  const reason = new Array<string | null>(rowCount).fill(null);
  if (output.length === 0) throw failed('wrote nothing');
  for (const batch of readBatches(output, failed)) {
    for (let i = 0; i < batch.row.length; i++) {
      const at = batch.row[i]! - firstRow;
      if (!(at >= 0 && at < rowCount && Number.isInteger(at))) throw failed(`decided on row ${batch.row[i]}, which it was not asked about`);
      if (keep[at] !== UNDECIDED) throw failed(`decided twice on row ${batch.row[i]}`);
      keep[at] = batch.keep[i]!;
      reason[at] = batch.reason?.[i]?.replaceAll(/\p{Cc}+/gu, ' ').slice(0, REASON_LENGTH) ?? null;
    }
  }
  return { keep, reason };
}

interface Decisions {
  readonly row: ArrayLike<number>;
  readonly keep: ArrayLike<number>;
  readonly reason: readonly (string | null)[] | null;
}

function readBatches(output: Uint8Array, failed: (what: string, cause?: unknown) => WinnowError): Decisions[] {
  try {
    return decodeBatches(output, 'stdout').map((view) => {
      expectType(view, 'row', /^(Uint|Int)(8|16|32|64)$/, 'whole numbers');
      expectType(view, 'keep', /^Bool$/, 'booleans');
      if (view.has('reason')) expectType(view, 'reason', /Utf8|^Null$/, 'text');
      return { row: view.numbers('row'), keep: view.numbers('keep'), reason: view.has('reason') && !/^Null$/.test(view.typeOf('reason')) ? view.strings('reason') : null };
    });
  } catch (cause) {
    if (cause instanceof Fault) throw failed(cause.message);
    throw failed(`wrote ${output.length} bytes that are no Arrow IPC stream`, cause);
  }
}

class Fault extends Error {}

function expectType(view: TableView, name: string, type: RegExp, words: string): void {
  if (!view.has(name)) throw new Fault(`wrote no column "${name}", but ${view.names.join(', ')}`);
  if (!type.test(view.typeOf(name))) throw new Fault(`wrote ${view.typeOf(name)} in column "${name}" where ${words} are wanted`);
  if (name !== 'reason' && view.validity(name)?.includes(0) === true) throw new Fault(`wrote a null in column "${name}"`);
}
