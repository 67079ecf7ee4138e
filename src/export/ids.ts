/**
 * The ids of a dataset as DataComp has them: a .npy of pairs of uint64, the halves of the 128 bits, sorted, each once.
 */

/** @param ids 32 hex digits each; 16 bytes a different one are held, and as many again while they are sorted */
export function encodeSortedIds(ids: Iterable<string>): Uint8Array {
  const sorted = [...new Set(ids)].sort();
  const halves = new BigUint64Array(2 * sorted.length);
  sorted.forEach((id, i) => {
    halves[2 * i] = BigInt(`0x${id.slice(0, 16)}`);
    halves[2 * i + 1] = BigInt(`0x${id.slice(16)}`);
  });
  const shape = `{'descr': [('f0', '<u8'), ('f1', '<u8')], 'fortran_order': False, 'shape': (${sorted.length},), }`;
  // The header ends in a newline at a multiple of 64 bytes, after 10 bytes of magic and length.
  const header = `${shape}${' '.repeat(63 - ((10 + shape.length) % 64))}\n`;
  const prefix = Uint8Array.of(0x93, ...new TextEncoder().encode('NUMPY'), 1, 0, header.length & 255, header.length >> 8);
  return Buffer.concat([prefix, Buffer.from(header, 'latin1'), new Uint8Array(halves.buffer)]);
}
