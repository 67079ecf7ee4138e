/** Headers of the tars that Winnow writes: POSIX.1-2017 ustar, regular files, no clock and no owner in them. */
import { TAR_BLOCK } from './tar-header.ts';

/** The two zero blocks that end a tar. */
export const TAR_END = new Uint8Array(2 * TAR_BLOCK);

/** @param name at most 100 bytes of UTF-8; @param sizeBytes below 8 GiB, which octal digits hold */
export function tarHeader(name: string, sizeBytes: number): Uint8Array {
  const block = new Uint8Array(TAR_BLOCK);
  const put = (text: string, at: number): void => block.set(TEXT.encode(text), at);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;
  put(name, 0);
  put(octal(0o644, 7), 100);
  put(octal(0, 7), 108);
  put(octal(0, 7), 116);
  put(octal(sizeBytes, 11), 124);
  put(octal(0, 11), 136);
  put('        ', 148); // the checksum counts itself as blanks
  put('0', 156);
  put('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** Zeros from the end of a member to the next block. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((TAR_BLOCK - (sizeBytes % TAR_BLOCK)) % TAR_BLOCK);
}

const TEXT = new TextEncoder();
