/** Streams the records of a CSV file (RFC 4180, UTF-8, comma, the first row names the columns) by csv-parse. */
import { pipeline } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { WinnowError } from '../errors.ts';
import type { ListFile } from './list-file.ts';
import { sourceError } from './path.ts';
import { type ListRecord, RECORDS, RECORD_BYTES_MAX, recordOf, requireColumns } from './record.ts';
import type { Listing } from './rows.ts';

/** @throws {WinnowError} INPUT_MALFORMED with the line when a row does not fit the header */
export async function* readCsv(file: ListFile, needed: readonly string[], listing: Listing): AsyncIterable<ListRecord[]> {
  const { name: path } = file;
  const parser = parse({ bom: true, delimiter: ',', record_delimiter: ['\r\n', '\n'], skip_empty_lines: true, max_record_size: RECORD_BYTES_MAX });
  const last = { byte: -1 };
  pipeline(checkUtf8(file.chunks(), path, last), parser, () => undefined); // an error reaches the loop below
  let header: readonly string[] | null = null;
  let records: ListRecord[] = [];
  try {
    for await (const fields of parser as AsyncIterable<string[]>) {
      if (header === null) {
        header = fields;
        checkHeader(header, needed, path);
        continue;
      }
      records.push(recordOf(header, (i) => fields[i]));
      if (records.length < RECORDS) continue;
      yield records;
      records = [];
    }
  } catch (error) {
    if (error instanceof CsvError) throw new WinnowError('INPUT_MALFORMED', `Expected CSV with the header's columns in every row of ${path}, got: ${error.message}`, { cause: error });
    throw sourceError(`read the list ${path}`, error);
  }
  if (header === null) throw new WinnowError('INPUT_EMPTY', `Expected a header row in ${path}, got an empty file`);
  listing.count('blank', parser.info.empty_lines - (last.byte === LINE_FEED ? 1 : 0)); // csv-parse counts the end too
  yield records;
}

function checkHeader(header: readonly string[], needed: readonly string[], path: string): void {
  requireColumns(needed, header, path);
  const twice = header.find((name, i) => header.indexOf(name) !== i);
  if (twice !== undefined) throw new WinnowError('INPUT_MALFORMED', `Expected every column of ${path} to have its own name, got ${twice} twice`);
}

/** Passes the chunks on as they are, and notes the last byte. */
async function* checkUtf8(chunks: AsyncIterable<Uint8Array>, path: string, last: { byte: number }): AsyncIterable<Uint8Array> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let sizeBytes = 0;
  try {
    for await (const chunk of chunks) {
      decoder.decode(chunk, { stream: true });
      yield chunk;
      sizeBytes += chunk.byteLength;
      last.byte = chunk.at(-1) ?? last.byte;
    }
    decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new WinnowError('INPUT_MALFORMED', `Expected UTF-8 text in ${path}, got other bytes after byte ${sizeBytes}`, { cause: error });
  }
}

const LINE_FEED = 10;
