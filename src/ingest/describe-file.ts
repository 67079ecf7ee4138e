/** What a file is that a list or a source can be: Parquet, a tar, text. For people who look; nothing here is read whole. */
import { open } from 'node:fs/promises';
import { parquetMetadataAsync, parquetSchema } from 'hyparquet';
import { WinnowError } from '../errors.ts';
import { openTar, tarMembers } from './tar-members.ts';

export interface FileDescription {
  readonly kind: 'parquet' | 'tar' | 'text';
  /** Rows of a Parquet file; null where counting would mean reading it all. */
  readonly rows: number | null;
  /** Columns and types; names and sizes of the first members; the first lines. */
  readonly shown: readonly string[];
}

const SHOWN = 5;
const HEAD_BYTES = 4096;
const LINE_CHARS = 200;

/** Null when it is none of them. @throws {WinnowError} INPUT_MALFORMED for a Parquet file or tar that is damaged; what the file system says */
export async function describeFile(path: string): Promise<FileDescription | null> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(Math.min(size, HEAD_BYTES));
    await file.read(head, 0, head.byteLength, 0);
    if (head.subarray(0, 4).toString('latin1') === 'PAR1') {
      const read = async (start: number, end = size): Promise<ArrayBuffer> => {
        const bytes = new ArrayBuffer(end - start);
        await file.read(new Uint8Array(bytes), 0, end - start, start);
        return bytes;
      };
      const metadata = await parquetMetadataAsync({ byteLength: size, slice: read }).catch((cause: unknown) => {
        throw new WinnowError('INPUT_MALFORMED', `Expected a Parquet file at ${path}, got one whose footer cannot be read: ${(cause as Error).message}`, { cause });
      });
      return { kind: 'parquet', rows: Number(metadata.num_rows), shown: parquetSchema(metadata).children.map(({ element }) => `${element.name}: ${element.converted_type ?? element.type ?? 'group'}`) };
    }
    if (head.subarray(257, 262).toString('latin1') === 'ustar') return { kind: 'tar', rows: null, shown: await firstMembers(path) };
    const text = new TextDecoder().decode(head);
    if (size === 0 || text.slice(0, -4).includes('\ufffd') || /[^\P{Cc}\t\n\r\f]/u.test(text)) return null;
    return { kind: 'text', rows: null, shown: text.split('\n').slice(0, SHOWN).map((line) => line.trimEnd().slice(0, LINE_CHARS)) };
  } finally {
    await file.close();
  }
}

async function firstMembers(path: string): Promise<string[]> {
  const { tar, close } = await openTar(path);
  const found: string[] = [];
  try {
    for await (const { name, sizeBytes } of tarMembers(tar, path, () => undefined)) if (found.push(`${name}, ${sizeBytes} bytes`) === SHOWN) break;
  } finally {
    await close();
  }
  return found;
}
