/** Streams the records of a JSON Lines file: UTF-8, one object a line, lines ended by a line feed. */
import { WinnowError } from '../errors.ts';
import type { ListFile } from './list-file.ts';
import { sourceError } from './path.ts';
import { type ListRecord, RECORDS, RECORD_BYTES_MAX, parseJson, requireColumns } from './record.ts';
import type { Listing } from './rows.ts';

/** A needed name may be absent from some lines, not from all. @throws {WinnowError} INPUT_MALFORMED with the line */
export async function* readJsonLines(file: ListFile, needed: readonly string[], listing: Listing): AsyncIterable<ListRecord[]> {
  const { name: path } = file;
  const missing = new Set(needed);
  const seen = new Set<string>();
  let records: ListRecord[] = [];
  let number = 0;
  for await (const line of linesOf(file)) {
    number += 1;
    const record = parseLine(line, number, path);
    if (record === null) {
      listing.count('blank');
      continue;
    }
    for (const name of missing) if (name in record) missing.delete(name);
    if (missing.size > 0 && seen.size < NAMES_MAX) for (const name of Object.keys(record)) seen.add(name);
    records.push(record);
    if (records.length < RECORDS) continue;
    yield records;
    records = [];
  }
  if (missing.size > 0) requireColumns([...missing], [...seen], path);
  yield records;
}

/** Null for a blank line. */
function parseLine(line: Uint8Array, number: number, path: string): ListRecord | null {
  let value: unknown;
  try {
    const text = STRICT.decode(line);
    if (text.trim() === '') return null;
    value = parseJson(text);
  } catch (cause) {
    throw new WinnowError('INPUT_MALFORMED', `Expected JSON in UTF-8 on line ${number} of ${path}, got something else`, { cause, details: { line: number } });
  }
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return Object.assign(Object.create(null) as object, value) as ListRecord;
  throw new WinnowError('INPUT_MALFORMED', `Expected a JSON object on line ${number} of ${path}, got ${value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`}`);
}

async function* linesOf(file: ListFile): AsyncIterable<Uint8Array> {
  let pieces: Uint8Array[] = [];
  let heldBytes = 0;
  try {
    for await (const chunk of file.chunks()) {
      let start = 0;
      for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
        yield Buffer.concat([...pieces, chunk.subarray(start, end)]);
        pieces = [];
        heldBytes = 0;
        start = end + 1;
      }
      pieces.push(chunk.subarray(start));
      heldBytes += chunk.length - start;
      if (heldBytes > RECORD_BYTES_MAX) throw new WinnowError('INPUT_MALFORMED', `Expected lines of at most ${RECORD_BYTES_MAX} bytes in ${file.name}, got a longer one`);
    }
  } catch (error) {
    throw sourceError(`read the list ${file.name}`, error);
  }
  if (heldBytes > 0) yield Buffer.concat(pieces);
}

const LINE_FEED = 10;
/** Names remembered for a message about a missing one. */
const NAMES_MAX = 50;
const STRICT = new TextDecoder('utf-8', { fatal: true });
