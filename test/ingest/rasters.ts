/** Writes TIFFs of any layout for tests: tiles or strips, either byte order, BigTIFF, planes, Deflate, sparse blocks, any tag. */
import { deflateSync } from 'node:zlib';
import { openRaster } from '../../src/ingest/open-raster.ts';
import { type Raster, type RasterFile, RasterRefusal } from '../../src/ingest/raster.ts';

export interface TiffSpec {
  readonly width: number;
  readonly height: number;
  /** Sample c of pixel (x, y). */
  readonly value: (x: number, y: number, c: number) => number;
  readonly samples?: number;
  /** `u8`, `u16`, `i16`, `u32`, `f32`, `f64` */
  readonly type?: keyof typeof TYPES;
  readonly block?: readonly [width: number, height: number] | { readonly rows: number };
  readonly deflate?: boolean;
  readonly planar?: boolean;
  readonly little?: boolean;
  readonly big?: boolean;
  readonly photometric?: number;
  /** Blocks left out, as sparse files do. */
  readonly sparse?: (block: number) => boolean;
  /** More tags: [tag, type, values]; text for type 2. A tag given here replaces the one that would be written. */
  readonly tags?: readonly (readonly [tag: number, type: number, values: readonly number[] | string])[];
}

const TYPES = { u8: [8, 1], u16: [16, 1], i16: [16, 2], u32: [32, 1], f32: [32, 3], f64: [64, 3] } as const;

/** Metres a pixel, in UTM zone 33: what GDAL writes for a projected scene. */
export function utm(metres: number, y = 5_000_000): NonNullable<TiffSpec['tags']> {
  return [[33550, 12, [metres, metres, 0]], [33922, 12, [0, 0, 0, 500_000, y, 0]], [34735, 3, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633]]];
}

export function writeTiff(spec: TiffSpec): Uint8Array {
  const { width, height, samples = 3, type = 'u8', block = { rows: 16 }, planar = false, little = true, big = false, deflate = false } = spec;
  const [bits, format] = TYPES[type];
  const [blockWidth, blockHeight, tiled] = 'rows' in block ? [width, Math.min(block.rows, height), false] : [...block, true];
  const [across, down, planes] = [Math.ceil(width / blockWidth), Math.ceil(height / blockHeight), planar ? samples : 1];
  const chunks: Buffer[] = [Buffer.alloc(big ? 16 : 8)];
  let at = chunks[0]!.length;
  const push = (bytes: Uint8Array): number => {
    const padded = Buffer.concat([bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)]);
    chunks.push(padded);
    at += padded.length;
    return at - padded.length;
  };
  const offsets: number[] = [];
  const counts: number[] = [];
  for (let plane = 0; plane < planes; plane++) {
    for (let b = 0; b < across * down; b++) {
      const [left, top] = [(b % across) * blockWidth, Math.floor(b / across) * blockHeight];
      const rows = tiled ? blockHeight : Math.min(blockHeight, height - top);
      const bytes = Buffer.alloc(blockWidth * rows * (planar ? 1 : samples) * (bits / 8));
      let to = 0;
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < blockWidth; x++) {
          for (let c = planar ? plane : 0; c < (planar ? plane + 1 : samples); c++, to += bits / 8) {
            const inside = left + x < width && top + y < height;
            write(bytes, to, inside ? spec.value(left + x, top + y, c) : 0, type, little);
          }
        }
      }
      const isSparse = spec.sparse?.(b) === true;
      const packed = deflate ? deflateSync(bytes) : bytes;
      counts.push(isSparse ? 0 : packed.length);
      offsets.push(isSparse ? 0 : push(packed));
    }
  }
  const place = big ? 16 : 4;
  const own: [number, number, readonly number[] | string][] = [
    [256, 4, [width]], [257, 4, [height]], [258, 3, new Array<number>(samples).fill(bits)], [259, 3, [deflate ? 8 : 1]],
    [262, 3, [spec.photometric ?? (samples >= 3 ? 2 : 1)]], [277, 3, [samples]], [284, 3, [planar ? 2 : 1]], [339, 3, new Array<number>(samples).fill(format)],
    ...(tiled ? ([[322, 3, [blockWidth]], [323, 3, [blockHeight]], [324, place, offsets], [325, place, counts]] as [number, number, number[]][]) : ([[278, 4, [blockHeight]], [273, place, offsets], [279, place, counts]] as [number, number, number[]][])),
    ...(spec.sparse === undefined && samples > 3 && spec.tags?.every(([tag]) => tag !== 338) !== false ? ([[338, 3, new Array<number>(samples - 3).fill(0)]] as [number, number, number[]][]) : []),
  ];
  const extra = spec.tags ?? [];
  const all = [...own.filter(([tag]) => extra.every(([other]) => other !== tag)), ...extra].sort(([a], [b]) => a - b);
  const entries = all.map(([tag, kind, values]) => entry(tag, kind, values, { little, big, push }));
  const count = Buffer.alloc(big ? 8 : 2);
  put(count, 0, all.length, big ? 8 : 2, little);
  const directory = push(Buffer.concat([count, ...entries, Buffer.alloc(big ? 8 : 4)]));
  const head = chunks[0]!;
  head.write(little ? 'II' : 'MM', 0, 'latin1');
  put(head, 2, big ? 43 : 42, 2, little);
  if (big) put(head, 4, 8, 2, little);
  put(head, big ? 8 : 4, directory, big ? 8 : 4, little);
  return Buffer.concat(chunks);
}

const VALUE_BYTES: Record<number, number> = { 1: 1, 2: 1, 3: 2, 4: 4, 12: 8, 16: 8 };

function entry(tag: number, type: number, values: readonly number[] | string, { little, big, push }: { little: boolean; big: boolean; push: (bytes: Uint8Array) => number }): Buffer {
  const bytes = typeof values === 'string' ? Buffer.from(`${values}\0`, 'latin1') : Buffer.alloc(values.length * VALUE_BYTES[type]!);
  if (typeof values !== 'string') values.forEach((value, i) => (type === 12 ? write(bytes, 8 * i, value, 'f64', little) : put(bytes, i * VALUE_BYTES[type]!, value, VALUE_BYTES[type]!, little)));
  const out = Buffer.alloc(big ? 20 : 12);
  put(out, 0, tag, 2, little);
  put(out, 2, type, 2, little);
  put(out, 4, bytes.length / VALUE_BYTES[type]!, big ? 8 : 4, little);
  if (bytes.length <= (big ? 8 : 4)) bytes.copy(out, big ? 12 : 8);
  else put(out, big ? 12 : 8, push(bytes), big ? 8 : 4, little);
  return out;
}

function put(out: Buffer, at: number, value: number, bytes: number, little: boolean): void {
  if (bytes === 8) {
    if (little) out.writeBigUInt64LE(BigInt(value), at);
    else out.writeBigUInt64BE(BigInt(value), at);
  } else if (little) out.writeUIntLE(value, at, bytes);
  else out.writeUIntBE(value, at, bytes);
}

function write(out: Buffer, at: number, value: number, type: keyof typeof TYPES, little: boolean): void {
  const view = new DataView(out.buffer, out.byteOffset);
  if (type === 'u8') view.setUint8(at, value);
  else if (type === 'u16') view.setUint16(at, value, little);
  else if (type === 'i16') view.setInt16(at, value, little);
  else if (type === 'u32') view.setUint32(at, value, little);
  else if (type === 'f32') view.setFloat32(at, value, little);
  else view.setFloat64(at, value, little);
}

/** Bytes as a raster's file; `reads` gathers what is read of them. */
export function fileOf(bytes: Uint8Array, path = '', reads: [offset: number, length: number][] = []): RasterFile {
  return {
    sizeBytes: bytes.length,
    path,
    read: async (offset, length) => {
      reads.push([offset, length]);
      if (offset + length > bytes.length) throw new RasterRefusal('raster-truncated', `ended at byte ${bytes.length} of ${offset + length}`);
      return new Uint8Array(bytes.subarray(offset, offset + length));
    },
    close: async () => undefined,
  };
}

export function open(bytes: Uint8Array, reads: [number, number][] = []): Promise<Raster> {
  return openRaster(fileOf(bytes, '', reads));
}

/** The fault that a raster is refused for. */
export async function faultOf(bytes: Uint8Array): Promise<string> {
  const error: unknown = await open(bytes).then(() => null, (reason: unknown) => reason);
  return error instanceof RasterRefusal ? `${error.fault}: ${error.message}` : String(error);
}
