/**
 * CRC-32 as in zip, PNG and gzip (ISO 3309): four times as fast as SHA-256 here, and enough against what goes wrong by
 * itself. Node has it from 20.15; older ones take the library, some ten times slower, for the same sums.
 */
import * as zlib from 'node:zlib';
import CRC32 from 'crc-32';

/** Whether Node itself has it, on any thread. */
export const HAS_NATIVE_CRC32 = typeof (zlib as Partial<typeof zlib>).crc32 === 'function';

/** @returns 0 … 2^32 − 1 */
export function crc32(bytes: Uint8Array): number {
  return HAS_NATIVE_CRC32 ? zlib.crc32(bytes) : CRC32.buf(bytes) >>> 0;
}
