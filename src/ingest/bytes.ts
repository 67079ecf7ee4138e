/**
 * Reads the bytes of listed images where they lie, whole files and ranges of tars. A path can name nothing outside its
 * source's location, through `..` or links, and only regular files are read, so no row can hang or leak a run.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { WinnowError } from '../errors.ts';
import type { ByteReader, ImageBytes, ImagePlace } from './image.ts';
import { isS3Uri } from '../store/s3-uri.ts';
import { type S3Images, openS3Images } from './s3-bytes.ts';
import { faultReason, isInside, isPlainPath, sourceError, systemCode } from './path.ts';
import { openRasterFile } from './raster-file.ts';
import { RasterRefusal } from './raster.ts';
import { parseTilePath } from './tile-path.ts';
import { createTileReader } from './tile-reader.ts';

/** Tars kept open between reads, and folders remembered to lie inside; either is looked up again when dropped. */
const OPEN_TARS = 16;
const KNOWN_FOLDERS = 4096;

/** @param locations folder, or `s3://bucket/prefix`, of each source, by name */
export function openByteReader(locations: Readonly<Record<string, string>>): ByteReader {
  const buckets = new Map<string, Promise<S3Images>>();
  const tars = createTarCache();
  const tiles = createTileReader();
  const openInside = createOpener(locations);
  return {
    read: async (place, sizeBytesMax) => {
      const location = Object.hasOwn(locations, place.source) ? locations[place.source]! : '';
      if (isS3Uri(location)) return (await remember(buckets, location, Number.POSITIVE_INFINITY, () => openS3Images(location))).read(place, sizeBytesMax);
      try {
        const tile = place.offset < 0 ? parseTilePath(place.path) : null;
        if (tile !== null) return { status: 'ok', ...(await tiles.read(tile, `${place.source}/${tile.raster}`, async () => openRasterFile(await openInside({ source: place.source, path: tile.raster })))) };
        return place.offset < 0 ? await readWhole(await openInside(place), sizeBytesMax) : await readMember(place, sizeBytesMax, tars, openInside);
      } catch (error) {
        if (error instanceof Refusal) return { status: 'unreadable', reason: error.message };
        if (error instanceof RasterRefusal) return { status: 'unreadable', reason: `its raster ${error.message}` };
        if (error instanceof WinnowError) throw error;
        await throwIfSourceFails(error, place, locations);
        return { status: 'unreadable', reason: faultReason(error) };
      }
    },
    close: async () => {
      await tars.close();
      await tiles.close();
    },
  };
}

/** A file that lies inside its source. */
export interface OpenFile {
  readonly file: FileHandle;
  readonly sizeBytes: number;
  /** Without links in its folders. */
  readonly path: string;
}

/**
 * Opens files of sources that lie on this machine; each is the caller's to close.
 *
 * @throws {Refusal} when the path leads out of its source, or to no regular file; system errors as they are
 */
export function createOpener(locations: Readonly<Record<string, string>>): (place: Pick<ImagePlace, 'source' | 'path'>) => Promise<OpenFile> {
  const roots = new Map<string, Promise<string>>();
  const folders = new Map<string, Promise<string>>();
  return async ({ source, path }) => {
    const root = await remember(roots, source, Number.POSITIVE_INFINITY, () => realRoot(source, locations));
    if (!isPlainPath(path)) throw new Refusal('the path leads out of the source');
    const end = path.lastIndexOf('/');
    const parent = `${root}/${path.slice(0, Math.max(0, end))}`;
    const folder = end < 0 ? root : await remember(folders, parent, KNOWN_FOLDERS, () => realInside(parent, root));
    return openRegular(`${folder}/${path.slice(end + 1)}`, root);
  };
}

/** Why a path is not read, in words without a machine path. */
export class Refusal extends Error {}

async function realRoot(source: string, locations: Readonly<Record<string, string>>): Promise<string> {
  const location = Object.hasOwn(locations, source) ? locations[source] : undefined;
  if (location === undefined) {
    throw new WinnowError('CONFIG_INVALID', `Expected a location for source ${source}, got ${Object.keys(locations).join(', ') || 'none'}: the images were listed from other sources; list them again`);
  }
  return realpath(location).catch((error: unknown) => {
    throw sourceError(`open source ${source} at ${location}`, error);
  });
}

async function realInside(path: string, root: string): Promise<string> {
  const real = await realpath(path);
  if (!isInside(root, real)) throw new Refusal('a link leads out of the source');
  return real;
}

/** The folder is known to lie inside, so a file in it that is no link does too. A fifo opens at once and is refused. */
async function openRegular(path: string, root: string): Promise<OpenFile> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (constants.O_NOFOLLOW ?? 0);
  const file = await open(path, flags).catch(async (error: unknown) => {
    if (systemCode(error) !== 'ELOOP') throw error;
    return open(await realInside(path, root), flags);
  });
  try {
    const facts = await file.stat();
    if (!facts.isFile()) throw new Refusal('it is not a regular file');
    return { file, sizeBytes: facts.size, path };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readWhole({ file, sizeBytes }: { file: FileHandle; sizeBytes: number }, sizeBytesMax: number): Promise<ImageBytes> {
  try {
    return sizeBytes > sizeBytesMax ? { status: 'too-large-file', sizeBytes } : { status: 'ok', bytes: await readRange(file, 0, sizeBytes) };
  } finally {
    await file.close();
  }
}

async function readMember(place: ImagePlace, sizeBytesMax: number, tars: TarCache, openInside: (place: ImagePlace) => Promise<OpenFile>): Promise<ImageBytes> {
  if (place.length > sizeBytesMax) return { status: 'too-large-file', sizeBytes: place.length };
  const { file, release } = await tars.take(`${place.source}/${place.path}`, () => openInside(place));
  try {
    return { status: 'ok', bytes: await readRange(file, place.offset, place.length) };
  } finally {
    await release();
  }
}

async function readRange(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) throw new Refusal(`it ended at byte ${offset + filled} of ${offset + length}`);
    filled += bytesRead;
  }
  return bytes;
}

/** A missing file is that image's fault; a source that is gone, or a process without handles or memory, is not. */
async function throwIfSourceFails(error: unknown, { source }: ImagePlace, locations: Readonly<Record<string, string>>): Promise<void> {
  if (['EMFILE', 'ENFILE', 'ENOMEM', 'ERR_MEMORY_ALLOCATION_FAILED'].includes(systemCode(error))) throw sourceError(`read images of source ${source}`, error);
  await stat(locations[source]!).catch((cause: unknown) => {
    throw sourceError(`read source ${source} at ${locations[source]}`, cause);
  });
}

interface TarCache {
  /** The open tar; it stays open at least until `release`. */
  take(key: string, openTar: () => Promise<{ file: FileHandle }>): Promise<{ file: FileHandle; release(): Promise<void> }>;
  close(): Promise<void>;
}

interface OpenTar {
  readonly opening: Promise<{ file: FileHandle }>;
  readers: number;
  isDropped: boolean;
}

/** Least recently used tars are closed first, those being read when their last reader is done. */
function createTarCache(): TarCache {
  const open = new Map<string, OpenTar>();
  const alive = new Set<OpenTar>();
  let onIdle: (() => void) | null = null;
  const settle = async (tar: OpenTar): Promise<void> => {
    if (!tar.isDropped || tar.readers > 0) return;
    await tar.opening.then(({ file }) => file.close(), () => undefined);
    alive.delete(tar);
    if (alive.size === 0) onIdle?.();
  };
  const drop = (key: string, tar: OpenTar): void => {
    if (open.get(key) === tar) open.delete(key);
    tar.isDropped = true;
  };
  return {
    take: async (key, openTar) => {
      const tar: OpenTar = open.get(key) ?? { opening: openTar(), readers: 0, isDropped: false };
      tar.opening.catch(() => undefined); // heard below, but not before another tar is closed
      tar.readers += 1;
      alive.add(tar);
      open.delete(key); // to the end: most recently used
      open.set(key, tar);
      const [oldestKey, oldest] = open.entries().next().value!;
      if (open.size > OPEN_TARS) {
        drop(oldestKey, oldest);
        await settle(oldest);
      }
      const release = async (): Promise<void> => {
        tar.readers -= 1;
        await settle(tar);
      };
      try {
        return { file: (await tar.opening).file, release };
      } catch (error) {
        drop(key, tar);
        await release();
        throw error;
      }
    },
    close: async () => {
      const idle = new Promise<void>((resolve) => (onIdle = resolve));
      const held = [...open];
      for (const [key, tar] of held) drop(key, tar);
      await Promise.all(held.map(([, tar]) => settle(tar)));
      if (alive.size > 0) await idle;
    },
  };
}

/** Keeps what a lookup gave, the most recent ones up to a limit; a failed lookup is not kept. */
function remember<T>(known: Map<string, Promise<T>>, key: string, limit: number, look: () => Promise<T>): Promise<T> {
  const held = known.get(key);
  if (held !== undefined) return held;
  const looked = look();
  known.set(key, looked);
  looked.catch(() => known.delete(key));
  if (known.size > limit) known.delete(known.keys().next().value!);
  return looked;
}
