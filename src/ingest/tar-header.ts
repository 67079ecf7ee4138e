/**
 * The 512-byte headers of a tar: POSIX.1-2017 pax ("ustar", with extended records) and the GNU forms of long names and
 * large sizes. Decoding only. tar-stream has a decoder too but does not export it apart from its stream, which reads
 * every byte of every member.
 */
import { isUtf8 } from 'node:buffer';

export const TAR_BLOCK = 512;

export interface TarHeader {
  /** The type flag as a character; `0` also for the NUL of old tars. */
  readonly type: string;
  /** Null when the bytes are not UTF-8. */
  readonly name: string | null;
  /** Bytes of data after the header; NaN or negative in a damaged header. */
  readonly sizeBytes: number;
  /** Whether a GNU sparse header goes on in the next block. */
  readonly isExtended: boolean;
}

/** `zero` for a block of zeros, `damaged` when the checksum is not the block's. */
export function decodeTarHeader(block: Uint8Array): TarHeader | 'zero' | 'damaged' {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < TAR_BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 32 : block[i]!; // the checksum counts its own field as spaces
    unsigned += byte;
    signed += (byte << 24) >> 24;
  }
  const checksum = decodeNumber(block.subarray(148, 156));
  if (unsigned === 8 * 32 && block.every((byte) => byte === 0)) return 'zero';
  if (checksum !== unsigned && checksum !== signed) return 'damaged'; // some old tars add signed bytes
  const type = block[156] === 0 ? '0' : String.fromCharCode(block[156]!);
  const isUstar = latin1(block, 257, 263) === 'ustar\0';
  const prefix = isUstar ? upToZero(block.subarray(345, 500)) : EMPTY;
  const name = upToZero(block.subarray(0, 100));
  const whole = prefix.length === 0 ? name : Buffer.concat([prefix, SLASH, name]);
  return { type, name: utf8OrNull(whole), sizeBytes: decodeNumber(block.subarray(124, 136)), isExtended: type === 'S' && block[482] === 1 };
}

/** A value of null is not UTF-8. An empty value takes back what a global record or the header says. */
export type PaxRecords = ReadonlyMap<string, string | null>;

/** The records of a pax header, "length key=value\n" each, or null when they are damaged. */
export function decodePax(bytes: Uint8Array): PaxRecords | null {
  const records = new Map<string, string | null>();
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    const space = bytes.indexOf(32, at);
    const length = space < 0 ? Number.NaN : Number(latin1(bytes, at, space));
    const end = at + length;
    const equals = bytes.indexOf(61, space);
    if (!Number.isInteger(length) || end > bytes.length || equals < 0 || equals >= end || bytes[end - 1] !== 10) return null;
    records.set(latin1(bytes, space + 1, equals), utf8OrNull(bytes.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

/** A long name of GNU tar: its own member's data, ended by a NUL. */
export function decodeLongName(bytes: Uint8Array): string | null {
  return utf8OrNull(upToZero(bytes));
}

/** Octal digits between spaces and NULs, or GNU's base 256 when the first bit is set. */
function decodeNumber(field: Uint8Array): number {
  if ((field[0]! & 0x80) === 0) {
    const digits = latin1(field, 0, field.length).replaceAll('\0', ' ').trim();
    return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
  }
  if (field[0] === 0xff) return Number.NaN; // negative: no size is
  let value = field[0]! & 0x7f;
  for (let i = 1; i < field.length; i++) value = value * 256 + field[i]!;
  return value;
}

function upToZero(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

function utf8OrNull(bytes: Uint8Array): string | null {
  return isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8') : null;
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1', start, end);
}

const EMPTY = new Uint8Array(0);
const SLASH = Uint8Array.of(47);
