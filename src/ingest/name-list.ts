/**
 * The names in one folder, as bytes in one buffer instead of strings: a million of them take their own length and eight bytes
 * each, and none of it is for the garbage collector to walk. Sorted as strings are, by UTF-16 code units.
 */

export interface NameList {
  readonly length: number;
  /** A folder's name ends in `/`. @param name without lone surrogates, as every name that a file system gives as UTF-8 */
  push(name: string): void;
  /** Ascending by UTF-16 code units, as `Array.prototype.sort` does. O(n log n) comparisons. */
  sort(): void;
  at(i: number): string;
  /** Without making a string of it. */
  isFolder(i: number): boolean;
  /** Place of the first name that comes after `name`, in a list that is sorted; `length` when there is none. O(log n). */
  firstAfter(name: string): number;
}

/** An empty list. It holds up to twice what its names take, three times while it grows. */
export function createNameList(): NameList {
  let bytes = Buffer.allocUnsafeSlow(BYTES_FIRST);
  /** Where each name begins in the order of pushing, and after the last one where it ends. */
  let starts = new Uint32Array(NAMES_FIRST);
  /** The name at each place by its number; null: as pushed. */
  let order: Uint32Array | null = null;
  let length = 0;
  const numberAt = (i: number): number => order?.[i] ?? i;
  const nameAt = (i: number): string => bytes.toString('utf8', starts[numberAt(i)]!, starts[numberAt(i) + 1]!);
  return {
    get length() {
      return length;
    },
    push: (name) => {
      const start = starts[length]!;
      // A code unit takes three bytes at most.
      if (bytes.length < start + 3 * name.length) bytes = enlarged(bytes, Buffer.allocUnsafeSlow(Math.max(2 * bytes.length, start + 3 * name.length)));
      if (starts.length < length + 2) starts = enlarged(starts, new Uint32Array(2 * starts.length));
      order = null;
      length += 1;
      starts[length] = start + bytes.write(name, start);
    },
    sort: () => {
      order = Uint32Array.from({ length }, (_, number) => number).sort((a, b) => compareUtf16(bytes, starts[a]!, starts[a + 1]!, starts[b]!, starts[b + 1]!));
    },
    at: nameAt,
    isFolder: (i) => bytes[starts[numberAt(i) + 1]! - 1] === SLASH,
    firstAfter: (name) => {
      let [from, to] = [0, length];
      while (from < to) {
        const middle = (from + to) >>> 1;
        if (nameAt(middle) > name) to = middle;
        else from = middle + 1;
      }
      return from;
    },
  };
}

const BYTES_FIRST = 1024;
const NAMES_FIRST = 64;
const SLASH = 0x2f;

function enlarged<A extends Uint8Array | Uint32Array>(from: A, to: A): A {
  to.set(from);
  return to;
}

/**
 * Bytes of UTF-8 compare as code points do. Code units do not: those beyond U+FFFF begin with a surrogate, D800 to DFFF, and so
 * come before U+E000 to U+FFFF, in UTF-8 first bytes from F0 on before EE and EF.
 */
function compareUtf16(bytes: Uint8Array, aStart: number, aEnd: number, bStart: number, bEnd: number): number {
  const end = aStart + Math.min(aEnd - aStart, bEnd - bStart);
  for (let i = aStart, j = bStart; i < end; i++, j++) {
    const a = bytes[i]!;
    const b = bytes[j]!;
    if (a === b) continue;
    return a >= 0xee && b >= 0xee && a >= 0xf0 !== b >= 0xf0 ? b - a : a - b;
  }
  return aEnd - aStart - (bEnd - bStart);
}
