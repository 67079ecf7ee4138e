/**
 * The noun behind tiles: a raster that is open, what its header says, and one window of it at a time. `raster-tiff.ts` and
 * `raster-picture.ts` make them; nothing else knows a format.
 */

/** Why no tile is cut from a file of a tiles source. Each is one entry of the table of rasters, with a sentence beside it. */
export const RASTER_FAULTS = [
  'raster-unreadable', // it cannot be opened
  'raster-format', // not a raster, or of a kind, compression or sample type without a decoder here
  'raster-malformed', // a header that contradicts itself: zero size, tags or sizes beyond the file
  'raster-truncated', // pixels that lie beyond the end of the file
  'raster-blocks', // tiles or strips too large to decode one by one in bounded memory
  'raster-samples', // bands that are not there, or samples whose range only a person can say
  'raster-too-small', // no room for one window
  'raster-too-coarse', // coarser than the wanted resolution by more than `enlarge`
  'raster-too-fine', // so much finer that one window is too large
  'raster-unlocated', // says no resolution, and `unlocated: skip`
] as const;
export type RasterFault = (typeof RASTER_FAULTS)[number];

export class RasterRefusal extends Error {
  readonly fault: RasterFault;
  /** @param message reads on from the raster's path, names no machine path */
  constructor(fault: RasterFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

export interface RasterHeader {
  readonly width: number;
  readonly height: number;
  readonly bands: number;
  /** Metres on the ground that a pixel shows, across and down; null when the file does not say. */
  readonly resolution: readonly [x: number, y: number] | null;
  /** Values that become 0 and 255; null when only a person can say. */
  readonly range: readonly [low: number, high: number] | null;
  /** Whether some pixels can be without data. */
  readonly hasNodata: boolean;
}

/** Samples of a window, w × h of each band, rows top-down. */
export interface RasterWindow {
  /** Red, green, blue; three times the same array for grey. */
  readonly bands: readonly [Samples, Samples, Samples];
  /** 1 where there is no data by what the file says; null when all there is is data. */
  readonly absent: Uint8Array | null;
}

export type Samples = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

export interface WindowRequest {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  /** Counted from 1; null: the first three, or the first as grey. */
  readonly bands: readonly number[] | null;
}

/** An open raster. Safe to read many times at once. */
export interface Raster {
  readonly header: RasterHeader;
  /** Bytes of decoded blocks that reading a window of this size holds at worst, above the window's own. */
  cost(w: number, h: number): number;
  /** @throws {RasterRefusal} when the window lies outside or its bytes are damaged */
  read(request: WindowRequest): Promise<RasterWindow>;
  close(): Promise<void>;
}

/** A file to open as a raster. */
export interface RasterFile {
  readonly sizeBytes: number;
  /** Where it lies, links resolved; for decoders that open files themselves. */
  readonly path: string;
  /** @throws {RasterRefusal} raster-truncated when the file ends before */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** The bands asked for, counted from 0. @throws {RasterRefusal} raster-samples */
export function pickBands(wanted: readonly number[] | null, available: number): [number, number, number] {
  const picked = wanted?.map((band) => band - 1) ?? (available >= 3 ? [0, 1, 2] : [0, 0, 0]);
  const missing = picked.find((band) => band >= available);
  if (missing !== undefined) throw new RasterRefusal('raster-samples', `has ${available} bands, and band ${missing + 1} was asked for`);
  return picked as [number, number, number];
}
