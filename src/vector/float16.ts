/** IEEE 754 binary16 as its bits in a Uint16Array: Node 20 has no Float16Array. */

/** Decodes by a table of all 65,536 values; about 1 ns a value. `out` may be longer than `bits`. */
export function decodeFloat16(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  for (let i = 0; i < bits.length; i++) out[i] = DECODED[bits[i]!]!;
  return out;
}

/** Rounds to nearest, ties to even; beyond ±65,504 gives ±infinity, as IEEE 754 asks. */
export function encodeFloat16(values: Float32Array, out: Uint16Array = new Uint16Array(values.length)): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) out[i] = roundToHalf(words[i]!);
  return out;
}

function roundToHalf(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 0xff;
  const mantissa = word & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa === 0 ? 0 : 0x200);
  const unbiased = exponent - 127;
  if (unbiased < -25) return sign;
  if (unbiased < -14) {
    // Subnormal half: shift the full 24-bit significand down to multiples of 2^-24.
    return sign + shiftRounded(mantissa | 0x800000, -unbiased - 1);
  }
  // A carry out of the mantissa moves into the exponent, which is what rounding up to the next power of two means.
  const magnitude = ((unbiased + 15) << 10) + shiftRounded(mantissa, 13);
  return sign | Math.min(magnitude, 0x7c00);
}

function shiftRounded(value: number, shift: number): number {
  const kept = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (kept & 1) === 1) ? kept + 1 : kept;
}

const DECODED = (() => {
  const table = new Float32Array(65_536);
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >>> 10) & 0x1f;
    const mantissa = bits & 0x3ff;
    if (exponent === 0x1f) table[bits] = mantissa === 0 ? sign * Infinity : Number.NaN;
    else table[bits] = exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  return table;
})();
