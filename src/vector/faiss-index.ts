/**
 * Flat index files of faiss (`IndexFlatL2`, `IndexFlatIP`, and either inside an `IndexIDMap`), byte for byte as
 * `faiss.write_index` lays them out (faiss/impl/index_write.cpp): little-endian, no padding. Vectors are streamed both ways,
 * so that memory does not depend on n. Other kinds of index are not read.
 */
import assert from 'node:assert/strict';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { WinnowError } from '../errors.ts';

export type FlatMetric = 'l2' | 'inner-product';

export interface FlatIndexFacts {
  readonly metric: FlatMetric;
  readonly n: number;
  readonly d: number;
}

export interface FlatIndexSource extends FlatIndexFacts {
  /** The n × d floats, row-major, in blocks of whole rows; a block may be overwritten by the next. */
  readonly vectors: AsyncIterable<Float32Array>;
  /** What a search returns for each vector, in blocks, n in all; without it: its place, 0 … n−1. */
  readonly ids?: AsyncIterable<Float64Array>;
}

export interface FlatIndexFile extends FlatIndexFacts {
  /** Whether a search returns ids of the file instead of places. */
  readonly mapped: boolean;
  /** Fills `out` with vectors start … start + count − 1. */
  vectors(start: number, count: number, out: Float32Array): Promise<void>;
  /** Ids of vectors start … start + count − 1: their places where the index is not mapped. Exact to 2^53. */
  ids(start: number, count: number): Promise<Float64Array>;
  close(): Promise<void>;
}

const FOURCC = { l2: 'IxF2', 'inner-product': 'IxFI' } as const;
const METRIC = { l2: 1, 'inner-product': 0 } as const;
/** Four letters, then d: int32, n: int64, two unused int64, trained: uint8, metric: int32. */
const BASE_BYTES = 37;
/** The same and the number of floats: uint64. */
const FLAT_BYTES = BASE_BYTES + 8;
/** What faiss writes into the unused fields. */
const UNUSED = 1n << 20n;

/** The 45 bytes before the n × d floats of a flat index; nothing follows the floats. */
export function flatIndexHeader(facts: FlatIndexFacts): Uint8Array {
  const header = new Uint8Array(FLAT_BYTES);
  header.set(baseHeader(FOURCC[facts.metric], facts));
  new DataView(header.buffer).setBigUint64(BASE_BYTES, BigInt(facts.n) * BigInt(facts.d), true);
  return header;
}

/**
 * Writes an index file: whole under `path` at the end, or nothing. Holds one block.
 *
 * @returns bytes written
 * @throws {WinnowError} STORE_DENIED, STORE_FULL; and what the blocks throw
 */
export async function writeFlatIndex(path: string, { vectors, ids, ...facts }: FlatIndexSource): Promise<number> {
  const partial = `${path}.partial`;
  const file = await open(partial, 'w').catch((cause) => {
    throw writeError(path, cause);
  });
  try {
    let bytes = 0;
    const write = async (chunk: Uint8Array): Promise<void> => {
      bytes += chunk.byteLength;
      await writeWhole(file, chunk).catch((cause) => {
        throw writeError(path, cause);
      });
    };
    if (ids !== undefined) await write(baseHeader('IxMp', facts));
    await write(flatIndexHeader(facts));
    let floats = 0;
    for await (const block of vectors) {
      floats += block.length;
      await write(bytesOf(block));
    }
    assert(floats === facts.n * facts.d, `Expected ${facts.n} × ${facts.d} floats for ${path}, got ${floats}`);
    if (ids !== undefined) await writeIds(ids, facts.n, write);
    await file.sync();
    await file.close();
    await rename(partial, path).catch((cause) => {
      throw writeError(path, cause);
    });
    return bytes;
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(partial, { force: true });
    throw error;
  }
}

/**
 * Opens an index file that this or faiss itself wrote.
 *
 * @throws {WinnowError} INPUT_MISSING; INPUT_MALFORMED when it is no flat index, or cut short
 */
export async function openFlatIndex(path: string): Promise<FlatIndexFile> {
  const file = await open(path, 'r').catch((cause) => {
    throw new WinnowError('INPUT_MISSING', `Expected an index file that can be read at ${path}: ${(cause as Error).message}`, { cause });
  });
  try {
    const outer = await readHeader(file, 0);
    const mapped = outer.fourcc === 'IxMp';
    const start = mapped ? BASE_BYTES : 0;
    const { fourcc, n, d, floats } = mapped ? await readHeader(file, start) : outer;
    const metric = fourcc === FOURCC.l2 ? 'l2' : fourcc === FOURCC['inner-product'] ? 'inner-product' : null;
    if (metric === null) throw new WinnowError('INPUT_MALFORMED', `Expected a flat index of faiss at ${path} (IxF2, IxFI, or one of them in IxMp), got ${JSON.stringify(fourcc)}`);
    const first = start + FLAT_BYTES;
    const end = first + n * d * 4;
    const expected = end + (mapped ? 8 + n * 8 : 0);
    const { size } = await file.stat();
    if (floats !== n * d || size !== expected) throw new WinnowError('INPUT_MALFORMED', `Expected ${expected} bytes for an index of ${n} × ${d} floats at ${path}, got ${size}`);
    return {
      metric,
      n,
      d,
      mapped,
      vectors: async (from, count, out) => {
        assert(from >= 0 && from + count <= n && out.length >= count * d, `Expected vectors in 0 … ${n} and room for ${count} × ${d} floats`);
        await readWhole(file, bytesOf(out.subarray(0, count * d)), first + from * d * 4);
      },
      ids: async (from, count) => {
        assert(from >= 0 && from + count <= n, `Expected vectors in 0 … ${n}, got ${from} … ${from + count}`);
        if (!mapped) return Float64Array.from({ length: count }, (_, i) => from + i);
        const ids = new BigInt64Array(count);
        await readWhole(file, bytesOf(ids), end + 8 + from * 8);
        return Float64Array.from(ids, Number);
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function baseHeader(fourcc: string, { metric, n, d }: FlatIndexFacts): Uint8Array {
  const header = Buffer.alloc(BASE_BYTES);
  header.write(fourcc, 0, 'latin1');
  header.writeInt32LE(d, 4);
  header.writeBigInt64LE(BigInt(n), 8);
  header.writeBigInt64LE(UNUSED, 16);
  header.writeBigInt64LE(UNUSED, 24);
  header.writeUInt8(1, 32);
  header.writeInt32LE(METRIC[metric], 33);
  return header;
}

/** Fields that a file is too short for read as zeros: its length is checked against them afterwards. */
async function readHeader(file: FileHandle, at: number): Promise<{ fourcc: string; n: number; d: number; floats: number }> {
  const header = Buffer.alloc(FLAT_BYTES);
  await file.read(header, 0, FLAT_BYTES, at);
  return { fourcc: header.toString('latin1', 0, 4), d: header.readInt32LE(4), n: Number(header.readBigInt64LE(8)), floats: Number(header.readBigUInt64LE(BASE_BYTES)) };
}

async function writeIds(ids: AsyncIterable<Float64Array>, n: number, write: (chunk: Uint8Array) => Promise<void>): Promise<void> {
  await write(bytesOf(BigUint64Array.of(BigInt(n))));
  let count = 0;
  for await (const block of ids) {
    count += block.length;
    await write(bytesOf(BigInt64Array.from(block, BigInt)));
  }
  assert(count === n, `Expected ${n} ids, got ${count}`);
}

async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength; ) at += (await file.write(chunk, at)).bytesWritten;
}

async function readWhole(file: FileHandle, out: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < out.byteLength; ) {
    const { bytesRead } = await file.read(out, at, out.byteLength - at, position + at);
    assert(bytesRead > 0, 'Expected an index file to keep its length while it is read');
    at += bytesRead;
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}

function writeError(path: string, cause: NodeJS.ErrnoException): WinnowError {
  const code = cause.code === 'ENOSPC' || cause.code === 'EDQUOT' ? 'STORE_FULL' : 'STORE_DENIED';
  return new WinnowError(code, `Expected to write an index file at ${path}: ${cause.message}`, { cause });
}
