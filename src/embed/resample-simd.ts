/**
 * The two inner loops of `resample.ts` as WebAssembly SIMD, assembled here because they are a hundred instructions long and
 * no compiler is asked of anyone. Reference: WebAssembly core specification 2.0, binary format and vector instructions.
 * Same integer arithmetic as scalar code, so same bytes; 5 to 8 times as fast as the same loops in JavaScript.
 */

/** Byte offsets in `memory`. Loops read and write up to 15 bytes past their last row: leave `SLACK` after each area. */
export interface ResampleLoops {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  /** Horizontal pass: each of `rows` rows of `sourceStride` bytes becomes `n` RGB pixels. */
  resampleRows(source: number, target: number, rows: number, sourceStride: number, n: number, first: number, count: number, weight: number, taps: number): void;
  /** Vertical pass: source rows of `stride` bytes become `n` rows of `stride` bytes. */
  resampleColumns(source: number, target: number, stride: number, n: number, first: number, count: number, weight: number, taps: number): void;
}

export const SLACK = 16;

/** Instantiates the loops with a memory of their own, empty at first; its caller grows it. About 0.2 ms. */
export function loadResampleLoops(): ResampleLoops {
  // Node's type package leaves these two constructors out.
  const { Instance, Module } = (globalThis as unknown as { WebAssembly: WasmConstructors }).WebAssembly;
  return new Instance(new Module(assemble())).exports as ResampleLoops;
}

interface WasmConstructors {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
}

type Code = readonly (number | Code)[];

const I32 = 0x7f;
const V128 = 0x7b;

const get = (local: number): Code => [0x20, local];
const set = (local: number): Code => [0x21, local];
const constant = (value: number): Code => [0x41, signed(value)];
const ADD = 0x6a;
const MUL = 0x6c;
const add = (a: Code, b: Code): Code => [a, b, ADD];
const multiply = (a: Code, b: Code): Code => [a, b, MUL];
const increase = (local: number, by: Code): Code => [get(local), by, ADD, set(local)];
const loadInt = (address: Code): Code => [address, 0x28, 2, 0];
/** `while (a < b) body`, unsigned. */
const loopWhile = (a: Code, b: Code, body: Code): Code => [0x02, 0x40, 0x03, 0x40, a, b, 0x4f, 0x0d, 1, body, 0x0c, 0, 0x0b, 0x0b];

const simd = (operation: number): Code => [0xfd, unsigned(operation)];
const LOAD = [simd(0), 0, 0];
const LOAD_SPLAT_32 = [simd(9), 2, 0];
const LOAD_ZERO_32 = [simd(92), 0, 0];
const STORE = [simd(11), 0, 0];
const STORE_LANE_32 = [simd(90), 0, 0, 0];
const SPLAT = simd(17);
const NARROW_TO_BYTES = simd(102);
const NARROW_TO_SHORTS = simd(133);
const BYTES_LOW = simd(137);
const BYTES_HIGH = simd(138);
const SHORTS_LOW = simd(169);
const SHORTS_HIGH = simd(170);
const SHIFT_RIGHT = simd(172);
const ADD_4 = simd(174);
const MUL_4 = simd(181);

const PRECISION_BITS = 22;
const HALF = [constant(1 << (PRECISION_BITS - 1)), SPLAT];
const round = (accumulator: number): Code => [get(accumulator), constant(PRECISION_BITS), SHIFT_RIGHT];

function resampleRowsBody(): Code {
  const [source, target, rows, sourceStride, n, first, count, weight, taps] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const [y, i, pixel, at, end, sum] = [9, 10, 11, 12, 13, 14];
  // One pixel is one vector: red, green, blue and the next pixel's red, which the next store overwrites.
  const tap = [
    [get(sum), get(pixel), LOAD_ZERO_32, BYTES_LOW, SHORTS_LOW, get(at), LOAD_SPLAT_32, MUL_4, ADD_4, set(sum)],
    [increase(pixel, constant(3)), increase(at, constant(4))],
  ];
  const outputPixel = [
    [add(get(source), multiply(loadInt(add(get(first), multiply(get(i), constant(4)))), constant(3))), set(pixel)],
    [add(get(weight), multiply(multiply(get(i), get(taps)), constant(4))), set(at)],
    [add(get(at), multiply(loadInt(add(get(count), multiply(get(i), constant(4)))), constant(4))), set(end)],
    [HALF, set(sum), loopWhile(get(at), get(end), tap)],
    [get(target), round(sum), get(sum), NARROW_TO_SHORTS, get(sum), NARROW_TO_BYTES, STORE_LANE_32],
    [increase(target, constant(3)), increase(i, constant(1))],
  ];
  const row = [constant(0), set(i), loopWhile(get(i), get(n), outputPixel), increase(source, get(sourceStride)), increase(y, constant(1))];
  return [[2, 5, I32, 1, V128], loopWhile(get(y), get(rows), row), 0x0b];
}

function resampleColumnsBody(): Code {
  const [source, target, stride, n, first, count, weight, taps] = [0, 1, 2, 3, 4, 5, 6, 7];
  const [i, x, byte, at, start, end] = [8, 9, 10, 11, 12, 13];
  const [bytes, half, w] = [14, 15, 16];
  const sums = [17, 18, 19, 20];
  const accumulate = (sum: number, widen: Code): Code => [get(sum), get(half), widen, get(w), MUL_4, ADD_4, set(sum)];
  // Sixteen bytes of one source row: four vectors of four sums.
  const tap = [
    [get(byte), LOAD, set(bytes), get(at), LOAD_SPLAT_32, set(w)],
    [get(bytes), BYTES_LOW, set(half), accumulate(17, SHORTS_LOW), accumulate(18, SHORTS_HIGH)],
    [get(bytes), BYTES_HIGH, set(half), accumulate(19, SHORTS_LOW), accumulate(20, SHORTS_HIGH)],
    [increase(byte, get(stride)), increase(at, constant(4))],
  ];
  const sixteenBytes = [
    [sums.map((sum) => [HALF, set(sum)]), get(start), set(at)],
    [add(add(get(source), get(x)), multiply(loadInt(add(get(first), multiply(get(i), constant(4)))), get(stride))), set(byte)],
    loopWhile(get(at), get(end), tap),
    [add(get(target), get(x)), round(17), round(18), NARROW_TO_SHORTS, round(19), round(20), NARROW_TO_SHORTS, NARROW_TO_BYTES, STORE],
    increase(x, constant(16)),
  ];
  const row = [
    [add(get(weight), multiply(multiply(get(i), get(taps)), constant(4))), set(start)],
    [add(get(start), multiply(loadInt(add(get(count), multiply(get(i), constant(4)))), constant(4))), set(end)],
    [constant(0), set(x), loopWhile(get(x), get(stride), sixteenBytes)],
    [increase(target, get(stride)), increase(i, constant(1))],
  ];
  return [[2, 6, I32, 7, V128], loopWhile(get(i), get(n), row), 0x0b];
}

function assemble(): Uint8Array {
  const functionType = (parameters: number): Code => [0x60, vector(Array(parameters).fill([I32])), vector([])];
  const named = (name: string, kind: number, index: number): Code => [sized([...Buffer.from(name)]), kind, index];
  const bodies = [resampleRowsBody(), resampleColumnsBody()];
  return Uint8Array.from(
    flat([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      [1, sized(vector([functionType(9), functionType(8)]))],
      [3, sized(vector([[0], [1]]))],
      [5, sized(vector([[0, 0]]))],
      [7, sized(vector([named('memory', 2, 0), named('resampleRows', 0, 0), named('resampleColumns', 0, 1)]))],
      [10, sized(vector(bodies.map(sized)))],
    ]),
  );
}

function vector(items: readonly Code[]): Code {
  return [unsigned(items.length), ...items];
}

function sized(code: Code): Code {
  const bytes = flat(code);
  return [unsigned(bytes.length), bytes];
}

function flat(code: Code): number[] {
  return code.flatMap((item) => (typeof item === 'number' ? [item] : flat(item)));
}

/** LEB128 of a non-negative integer. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

/** LEB128 of a signed 32-bit integer. */
function signed(value: number): number[] {
  const low = value & 127;
  const rest = value >> 7;
  return (rest === 0 && low < 64) || (rest === -1 && low >= 64) ? [low] : [low | 128, ...signed(rest)];
}
