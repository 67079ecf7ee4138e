/** Whether images that were embedded before still have the bytes they had: reads and hashes, decodes nothing. */
import { createHash } from 'node:crypto';
import { decodeTable } from '../arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import { openByteReader } from '../ingest/bytes.ts';
import type { ByteReader, ImagePlace } from '../ingest/image.ts';
import { type Part, readPart } from '../run/manifest.ts';
import type { TaskKind } from '../run/stage.ts';

export interface VerifyPayload {
  /** A part of `images/`. */
  readonly images: Part;
  /** The parts of `embeddings/` with the same rows. */
  readonly embeddings: readonly Part[];
  /** Rows from here on were not embedded yet. */
  readonly end: number;
  /** false: only images whose size the listing does not know, which it therefore cannot vouch for. */
  readonly all: boolean;
  readonly sizeBytesMax: number;
}

/** @throws {WinnowError} INPUT_MALFORMED naming the first image with other bytes; @returns how many were read */
export const verifyImages: TaskKind<VerifyPayload, number> = {
  name: 'embed-verify',
  version: 1,
  run: async ({ images, embeddings, end, all, sizeBytesMax }, env) => {
    const listed = decodeTable(await readPart(env.store, images), images.path);
    const [uri, source, path] = [listed.strings('uri'), listed.strings('source'), listed.strings('path')];
    const [offset, length] = [listed.numbers('offset'), listed.numbers('length')];
    const [inTar, sized] = [listed.validity('offset'), listed.validity('size')];
    const reader = await env.resource('bytes', async () => openByteReader(env.locations));
    const atOnce = 2 * env.execution.concurrency;
    let read = 0;
    for (const part of embeddings) {
      const ids = decodeTable(await readPart(env.store, part), part.path).strings('id');
      const rows = Array.from({ length: Math.min(part.rowCount, end - part.firstRow) }, (_, i) => part.firstRow + i - images.firstRow).filter((at) => all || (sized !== undefined && sized[at] === 0));
      for (let first = 0; first < rows.length; first += atOnce) {
        throwIfAborted(env.signal);
        await Promise.all(
          rows.slice(first, first + atOnce).map(async (at) => {
            const isWhole = inTar !== undefined && inTar[at] === 0;
            const place = { source: source[at]!, path: path[at]!, offset: isWhole ? -1 : offset[at]!, length: isWhole ? -1 : length[at]! };
            const id = await idOf(place, reader, sizeBytesMax);
            const old = ids[at + images.firstRow - part.firstRow]!;
            if (id !== old) throw otherBytes(at + images.firstRow, uri[at]!, old, id);
          }),
        );
        read += Math.min(atOnce, rows.length - first);
        env.advance(Math.min(atOnce, rows.length - first));
      }
    }
    return read;
  },
};

async function idOf(place: ImagePlace, reader: ByteReader, sizeBytesMax: number): Promise<string | null> {
  const found = await reader.read(place, sizeBytesMax);
  return found.status === 'ok' ? createHash('sha256').update(found.bytes).digest('hex').slice(0, 32) : null;
}

function otherBytes(row: number, uri: string, old: string | null, id: string | null): WinnowError {
  const name = (value: string | null): string => (value === null ? 'no readable bytes' : `id ${value.slice(0, 12)}…`);
  return new WinnowError('INPUT_MALFORMED', `Expected image ${row} of the pool, ${uri}, to have ${name(old)} as before, got ${name(id)}: where old images changed \`winnow run\` fits a new tree`, { details: { row, uri } });
}
