/** `winnow report STORE -o report.html`: the store's report as one file. */
import { rename, rm, writeFile } from 'node:fs/promises';
import { WinnowError } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import { makeReport } from '../report/report.ts';
import { sourceLocations } from './batches.ts';
import { openStoreToRead } from './session.ts';

export interface ReportFlags {
  readonly output: string;
  /** `name=folder`, where images lie now. */
  readonly source: readonly string[];
  /** Megabytes of the file at most. */
  readonly sizeMb: number;
  /** Steps of the run that is rehearsed. */
  readonly steps: number;
}

export interface ReportOutcome {
  readonly text: string;
  readonly json: { readonly path: string; readonly bytes: number; readonly sections: readonly string[]; readonly thumbnails: number; readonly leftOut: number; readonly sourcesMissing: readonly string[]; readonly outdated: readonly string[] };
}

/** @throws {WinnowError} INPUT_MISSING, CHECKSUM_MISMATCH, STORE_DENIED, CONFIG_INVALID, ABORTED */
export async function reportStore(path: string, { output, source, sizeMb, steps }: ReportFlags, signal: AbortSignal): Promise<ReportOutcome> {
  const store = await openStoreToRead(path);
  const reader = openByteReader(await sourceLocations(path, source));
  try {
    const { html, sections, thumbnails, outdated } = await makeReport(store, { reader, sizeBytesMax: sizeMb * 1e6, steps, signal });
    const bytes = new TextEncoder().encode(html);
    await writeWhole(output, bytes);
    const missing = [...thumbnails.faults.keys()];
    const notes = [
      ...missing.map((name) => `Its images of source ${name} are not at hand: say where they lie with --source ${name}=FOLDER\n`),
      ...outdated.map((stage) => `Without ${stage}, made from an earlier version of what the store holds: run the recipe again\n`),
    ];
    const text = `${output}\n  ${(bytes.byteLength / 1e6).toFixed(1)} MB, ${thumbnails.shown} images inlined${thumbnails.leftOut > 0 ? `, ${thumbnails.leftOut} left out by --size-mb ${sizeMb}` : ''}\n${notes.join('')}`;
    return { text, json: { path: output, bytes: bytes.byteLength, sections, thumbnails: thumbnails.shown, leftOut: thumbnails.leftOut, sourcesMissing: missing, outdated } };
  } finally {
    await reader.close();
  }
}

/** The whole file or nothing. */
async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const unfinished = `${path}.unfinished`;
  try {
    await writeFile(unfinished, bytes);
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw new WinnowError('STORE_DENIED', `Expected to write the report to ${path}: ${(cause as Error).message}; name a file in a folder that is there with -o`, { cause });
  }
}
