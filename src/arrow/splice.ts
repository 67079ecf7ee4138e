/**
 * Puts images into an encoded record batch without copying them: the batch is encoded with a last column of empty bytes,
 * whose offsets and lengths are then written into its headers (Message.fbs), and the images follow as they are.
 */
import assert from 'node:assert/strict';
import { int64, rootOf, structs, table, view } from './flatbuffer.ts';

/** Kind of a record batch in Message.fbs. */
const RECORD_BATCH = 3;

/**
 * @param chunk messages of a stream up to one record batch at the end, whose last column is binary and empty; written to
 * @param values of that column, together below 2 GiB
 * @returns the bytes of the messages, in pieces; values that lie one after another in memory are one piece
 */
export function spliceBinaries(chunk: Uint8Array, values: readonly Uint8Array[]): Uint8Array[] {
  const total = values.reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert(total < 2 ** 31, `Expected less than 2 GiB of images in a batch, got ${total} bytes; use more ranks or smaller batches`);
  const data = view(chunk);
  for (let at = 0; at < chunk.byteLength; ) {
    const size = data.getInt32(at + 4, true);
    const bodyStart = at + 8 + size;
    const message = rootOf(chunk.subarray(at + 8, bodyStart));
    const bodyBytes = int64(message, 3);
    if (message.bytes[message.slot(1)!] === RECORD_BATCH) {
      const headers = view(message.bytes);
      const [offsets, bytes] = structs(table(message, 2)!, 2, 16).slice(-2) as [number, number];
      const start = Number(headers.getBigInt64(bytes, true));
      assert(start === bodyBytes && bodyStart + bodyBytes === chunk.byteLength, 'Expected the empty column to be the last of the last message');
      headers.setBigInt64(bytes + 8, BigInt(total), true);
      headers.setBigInt64(message.slot(3)!, BigInt(start + padded(total)), true);
      let end = 0;
      const table32 = bodyStart + Number(headers.getBigInt64(offsets, true));
      values.forEach(({ byteLength }, i) => data.setInt32(table32 + 4 * (i + 1), (end += byteLength), true));
      return [chunk, ...joinNeighbours(values), ...(padded(total) > total ? [new Uint8Array(padded(total) - total)] : [])];
    }
    at = bodyStart + bodyBytes;
  }
  return assert.fail('Expected a record batch, got none');
}

/** Bodies end at multiples of 8 bytes. */
function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / 8) * 8;
}

function joinNeighbours(values: readonly Uint8Array[]): Uint8Array[] {
  const joined: Uint8Array[] = [];
  for (let i = 0; i < values.length; ) {
    const { buffer, byteOffset, byteLength } = values[i++]!;
    let end = byteOffset + byteLength;
    for (; i < values.length && values[i]!.buffer === buffer && values[i]!.byteOffset === end; i++) end += values[i]!.byteLength;
    joined.push(new Uint8Array(buffer, byteOffset, end - byteOffset));
  }
  return joined;
}
