/**
 * The hook for bytes that take the place of an image's own in the shards, such as a photograph with its faces blurred: a
 * program of the user gets rows with their original bytes on its stdin and answers on its stdout, both Arrow IPC streams.
 * Nothing but shards is written: originals stay as they are, and `id` stays the id of the original.
 *
 * Where a call begins and ends follows from the rows of a shard and the sizes of their files alone. That the program is a
 * function of what it reads is for its author to see to; each row is given to it once a call, however many copies it has.
 */
import { createHash } from 'node:crypto';
import { type StreamBatch, type TableView, decodeBatches, encodeStream } from '../arrow/ipc.ts';
import { CHECK_ONLY, decodeImage } from '../embed/decode.ts';
import type { DecodeLimits } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { identifyCommand } from '../filter/command.ts';
import { runProcess } from '../filter/command-process.ts';
import { hashOf } from '../run/manifest.ts';
import type { TaskEnv } from '../run/stage.ts';
import type { JoinedRows } from './join.ts';
import type { DeriveConfig } from './shard.ts';

/** An image as a shard has it. */
export interface ShardImage {
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes`, hex, first 32 characters, where they are not the original's; else null. */
  readonly derivedId: string | null;
  /** What the program said of it. */
  readonly note: string | null;
}

/** The program as tasks get it. */
export interface DeriveRule extends DeriveConfig {
  /** Relative words of the command start from here. */
  readonly folder: string;
  /** What the program is, for manifests: names no folder. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** What a derived image must keep within. */
  readonly limits: DecodeLimits;
}

/** A call ends after so many rows, or so many bytes of originals; one larger image gets a call of its own. */
const CALL_ROWS = 4096;
const CALL_BYTES = 2 ** 26;
/** A record batch on stdin. */
const BATCH_ROWS = 256;
const BATCH_BYTES = 2 ** 24;
/** Answers of a call: this many bytes, and this many times the originals, in all less than a column may have. */
const ANSWER_BYTES = 2 ** 26;
const ANSWER_GROWTH = 8;
const ANSWER_BYTES_MAX = 2 ** 31 - 1;
const NOTE_LENGTH = 500;

/** @param folder relative words of the command start from here */
export async function resolveDerive(config: DeriveConfig, folder: string, limits: DecodeLimits): Promise<DeriveRule> {
  return { ...config, folder, limits, identity: await identifyCommand({ run: config.command, version: config.version }, folder) };
}

/** @throws {WinnowError} COMMAND_FAILED when a file of the program is not the one that the run began with */
export async function requireSameProgram({ command, version, folder, identity }: DeriveRule): Promise<void> {
  if (hashOf(await identifyCommand({ run: command, version }, folder)) === hashOf(identity)) return;
  throw new WinnowError('COMMAND_FAILED', `Expected shard.derive (${command.join(' ')}) to be the program that the run began with; a file of it has changed`);
}

/**
 * Images of rows in their order, each as the program has it. Holds one call: 64 MiB of originals, or one larger image, and
 * what comes back.
 *
 * @param originals one a row, in order
 * @throws {WinnowError} COMMAND_FAILED for whatever the program does wrong; ABORTED; what `originals` fails with
 */
export async function* deriveImages(rows: JoinedRows, originals: AsyncIterable<Uint8Array>, rule: DeriveRule, env: TaskEnv): AsyncGenerator<ShardImage> {
  let call: Asked[] = [];
  let [i, sizeBytes] = [0, 0];
  for await (const bytes of originals) {
    const last = call.at(-1);
    if (last !== undefined && rows.row[last.at] === rows.row[i]) last.copies++;
    else {
      if (call.length === CALL_ROWS || (call.length > 0 && sizeBytes + bytes.byteLength > CALL_BYTES)) {
        yield* ask(call, rows, rule, env);
        [call, sizeBytes] = [[], 0];
      }
      call.push({ at: i, bytes, copies: 1 });
      sizeBytes += bytes.byteLength;
    }
    i++;
  }
  if (call.length > 0) yield* ask(call, rows, rule, env);
}

/** An original that the program is asked about, and where it is among the rows. */
interface Asked {
  readonly at: number;
  readonly bytes: Uint8Array;
  copies: number;
}

type Failed = (what: string, cause?: unknown) => WinnowError;

async function* ask(call: readonly Asked[], rows: JoinedRows, rule: DeriveRule, env: TaskEnv): AsyncGenerator<ShardImage> {
  const rowOf = ({ at }: Asked): number => rows.row[at]!;
  const where = `shard.derive (${rule.command.join(' ')}) on ${call.length} rows from ${rows.uri[call[0]!.at]} to ${rows.uri[call.at(-1)!.at]}`;
  const failed: Failed = (what, cause) => new WinnowError('COMMAND_FAILED', `Expected an image or null for every row from ${where}; it ${what}`, { cause, details: { firstRow: rowOf(call[0]!), rows: call.length } });
  const sizeBytes = call.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  const limits = { cwd: rule.folder, timeoutMs: rule.timeoutSeconds * 1000, outputBytesMax: Math.min(ANSWER_BYTES_MAX, ANSWER_BYTES + ANSWER_GROWTH * sizeBytes), signal: env.signal };
  let output: Uint8Array;
  try {
    output = await runProcess(rule.command, encodeStream(batchesOf(call, rows)), limits);
  } catch (error) {
    if (error instanceof WinnowError && error.code === 'COMMAND_FAILED') throw failed(error.message, error);
    throw error;
  }
  const answers = readAnswers(output, new Map(call.map((one, c) => [rowOf(one), c])), failed);
  const missing = call.findIndex((_, c) => answers[c] === undefined);
  if (missing >= 0) throw failed(`left out ${call.filter((_, c) => answers[c] === undefined).length} of them, the first is row ${rowOf(call[missing]!)} (${rows.uri[call[missing]!.at]})`);
  const images = call.map((one, c) => settle(one, answers[c]!));
  await checkImages(images, (c) => `row ${rowOf(call[c]!)} (${rows.uri[call[c]!.at]})`, rule.limits, env, failed);
  for (const [c, { copies }] of call.entries()) for (let copy = 0; copy < copies; copy++) yield images[c]!;
}

async function* batchesOf(call: readonly Asked[], rows: JoinedRows): AsyncGenerator<StreamBatch> {
  let [from, sizeBytes] = [0, 0];
  for (const [c, { bytes }] of call.entries()) {
    sizeBytes += bytes.byteLength;
    if (c + 1 - from < BATCH_ROWS && sizeBytes < BATCH_BYTES && c + 1 < call.length) continue;
    const some = call.slice(from, c + 1);
    yield {
      columns: {
        row: { type: 'uint64', values: Float64Array.from(some, ({ at }) => rows.row[at]!) },
        id: { type: 'utf8', values: some.map(({ at }) => rows.id[at]!) },
        uri: { type: 'utf8', values: some.map(({ at }) => rows.uri[at]!) },
        image: { type: 'binary', values: some.map((one) => one.bytes) },
      },
      metadata: {},
    };
    [from, sizeBytes] = [c + 1, 0];
  }
}

interface Answer {
  /** Null: unchanged. */
  readonly bytes: Uint8Array | null;
  readonly note: string | null;
}

/** @param places place in the call by row. @returns by place; undefined where nothing was said */
function readAnswers(output: Uint8Array, places: ReadonlyMap<number, number>, failed: Failed): (Answer | undefined)[] {
  if (output.length === 0) throw failed('wrote nothing');
  const answers = new Array<Answer | undefined>(places.size).fill(undefined);
  for (const { row, image, note } of readBatches(output, failed)) {
    for (let i = 0; i < row.length; i++) {
      const place = places.get(row[i]!);
      if (place === undefined) throw failed(`answered for row ${row[i]}, which it was not asked about`);
      if (answers[place] !== undefined) throw failed(`answered twice for row ${row[i]}`);
      answers[place] = { bytes: image[i]!, note: note[i]?.replaceAll(/\p{Cc}+/gu, ' ').slice(0, NOTE_LENGTH) ?? null };
    }
  }
  return answers;
}

interface AnswerColumns {
  readonly row: ArrayLike<number>;
  readonly image: readonly (Uint8Array | null)[];
  readonly note: readonly (string | null)[];
}

function readBatches(output: Uint8Array, failed: Failed): AnswerColumns[] {
  try {
    return decodeBatches(output, 'stdout').map((view) => {
      expectType(view, 'row', /^(Uint|Int)(8|16|32|64)$/, 'whole numbers');
      expectType(view, 'image', /^(Binary|Null)$/, 'bytes');
      if (view.has('note')) expectType(view, 'note', /Utf8|^Null$/, 'text');
      if (view.validity('row')?.includes(0) === true) throw new Fault('wrote a null in column "row"');
      const none = new Array<null>(view.rowCount).fill(null);
      const isNull = (name: string): boolean => !view.has(name) || view.typeOf(name) === 'Null';
      const valid = view.validity('image');
      const image = isNull('image') ? none : view.binaries('image').map((bytes, i) => (valid === undefined || valid[i] === 1 ? bytes : null));
      return { row: view.numbers('row'), image, note: isNull('note') ? none : view.strings('note') };
    });
  } catch (cause) {
    if (cause instanceof Fault) throw failed(cause.message);
    throw failed(`wrote ${output.length} bytes that are no Arrow IPC stream`, cause);
  }
}

class Fault extends Error {}

function expectType(view: TableView, name: string, type: RegExp, words: string): void {
  if (!view.has(name)) throw new Fault(`wrote no column "${name}", but ${view.names.join(', ')}`);
  if (!type.test(view.typeOf(name))) throw new Fault(`wrote ${view.typeOf(name)} in column "${name}" in the place of ${words}`);
}

/** The original's own bytes are no derived image. */
function settle({ bytes: original }: Asked, { bytes, note }: Answer): ShardImage {
  if (bytes === null || Buffer.compare(bytes, original) === 0) return { bytes: original, derivedId: null, note };
  // A copy: the answer of the whole call need not be held as long as this image.
  return { bytes: bytes.slice(), derivedId: createHash('sha256').update(bytes).digest('hex').slice(0, 32), note };
}

/** Decodes each derived image whole, so that what training reads is no worse than what was embedded. */
async function checkImages(images: readonly ShardImage[], nameOf: (c: number) => string, limits: DecodeLimits, { execution, signal }: TaskEnv, failed: Failed): Promise<void> {
  const derived = images.flatMap(({ derivedId }, c) => (derivedId === null ? [] : [c]));
  for (let from = 0; from < derived.length; from += execution.concurrency) {
    throwIfAborted(signal);
    const some = derived.slice(from, from + execution.concurrency);
    const statuses = await Promise.all(some.map(async (c) => (await decodeImage(images[c]!.bytes, CHECK_ONLY, limits)).status));
    const bad = statuses.findIndex((status) => status !== 'ok');
    if (bad >= 0) throw failed(`wrote ${images[some[bad]!]!.bytes.byteLength} bytes for ${nameOf(some[bad]!)} that cannot be used: ${statuses[bad]}`);
  }
}
