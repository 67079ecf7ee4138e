/**
 * The members of one tar, found from header to header: POSIX ustar and pax, GNU long names and sizes, old v7. Bytes
 * between the headers are not read, except those of pax and GNU extension headers.
 */
import { constants, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { WinnowError } from '../errors.ts';
import { sourceError } from './path.ts';
import { type PaxRecords, TAR_BLOCK, type TarHeader, decodeLongName, decodePax, decodeTarHeader } from './tar-header.ts';

/** Random access to a tar's bytes. */
export interface TarBytes {
  readonly sizeBytes: number;
  /**
   * @param ahead bytes after the range that are likely to be wanted next, fewer at the end of the tar
   * @throws {WinnowError} INPUT_MALFORMED when the range passes the end
   */
  read(offset: number, length: number, ahead?: number): Promise<Uint8Array>;
}

export interface TarMember {
  /** Null when the name is not UTF-8. */
  readonly name: string | null;
  /** `other`: a link, a device, a sparse file. */
  readonly kind: 'file' | 'folder' | 'other';
  /** Byte at which the data begins. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Opens a tar in place; the caller closes it. @throws {WinnowError} INPUT_MISSING, STORE_DENIED, INPUT_MALFORMED */
export async function openTar(path: string): Promise<{ tar: TarBytes; close(): Promise<void> }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw sourceError(`open the tar ${path}`, error);
  });
  const facts = await file.stat();
  // A header takes 2 µs to read in place and 30 µs through a thread; nothing else waits for this one.
  if (facts.isFile()) return { tar: tarBytes(facts.size, path, (bytes, position) => readSync(file.fd, bytes, 0, bytes.length, position)), close: () => file.close() };
  await file.close();
  throw new WinnowError('INPUT_MALFORMED', `Expected a tar at ${path}, got something that is not a file`);
}

/**
 * Every member in the order of the tar. Two zero blocks end a tar; a header after them begins another one, joined on.
 *
 * @param onUnended called when the tar has no end mark
 * @throws {WinnowError} INPUT_MALFORMED with the byte at which the tar is cut off or damaged
 */
export async function* tarMembers(tar: TarBytes, where: string, onUnended: () => void): AsyncGenerator<TarMember> {
  if (tar.sizeBytes === 0) throw new WinnowError('INPUT_MALFORMED', `Expected a tar at ${where}, got an empty file`);
  const extension: Extension = { shared: new Map(), own: null, longName: undefined };
  let zeros = 0;
  let at = 0;
  while (at + TAR_BLOCK <= tar.sizeBytes) {
    const block = await tar.read(at, TAR_BLOCK, zeros >= 2 ? 128 * TAR_BLOCK : 0);
    const header = decodeTarHeader(block);
    if (header === 'zero') {
      zeros += 1;
      at += TAR_BLOCK;
      continue;
    }
    if (header === 'damaged') {
      if (zeros >= 2) return; // whatever follows the end mark is not ours
      throw notAHeader(block, at, where);
    }
    zeros = 0;
    const member = await place(tar, header, at, extension, where);
    at = member.offset + roundUp(member.sizeBytes);
    if (EXTENDING.has(header.type)) {
      await extend(tar, header, member, extension, where);
    } else {
      extension.own = null;
      extension.longName = undefined;
      yield member;
    }
  }
  if (zeros < 2 && (at < tar.sizeBytes || extension.own !== null || extension.longName !== undefined)) throw cutOff(at, tar.sizeBytes, where);
  if (zeros === 0) onUnended();
}

/** What headers before a member's own say of it. */
interface Extension {
  /** From pax global headers: holds for all members that follow. */
  readonly shared: Map<string, string | null>;
  own: PaxRecords | null;
  longName: string | null | undefined;
}

/** `x`, `X`: pax; `g`: pax global; `L`, `N`: GNU long name; `K`: GNU long link target. */
const EXTENDING = new Set(['x', 'X', 'g', 'L', 'N', 'K']);
/** Links, devices, folders and fifos have no data, whatever size their header states. */
const WITHOUT_DATA = new Set(['1', '2', '3', '4', '5', '6']);
const EXTENSION_BYTES_MAX = 2 ** 20;

async function place(tar: TarBytes, header: TarHeader, at: number, extension: Extension, where: string): Promise<TarMember> {
  const isExtending = EXTENDING.has(header.type);
  let offset = at + TAR_BLOCK;
  for (let more = header.isExtended; more; offset += TAR_BLOCK) more = (await tar.read(offset, TAR_BLOCK))[504] === 1;
  const name = nameOf(header, isExtending ? null : extension);
  const paxSize = isExtending ? undefined : (extension.own?.get('size') ?? extension.shared.get('size'));
  const stated = paxSize ? (/^\d+$/.test(paxSize) ? Number(paxSize) : Number.NaN) : header.sizeBytes;
  const sizeBytes = WITHOUT_DATA.has(header.type) ? 0 : stated;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new WinnowError('INPUT_MALFORMED', `Expected a size in the tar header at byte ${at} of ${where}, got ${paxSize || 'something else'}: the tar is damaged`);
  }
  if (offset + sizeBytes > tar.sizeBytes) {
    throw new WinnowError('INPUT_MALFORMED', `Expected member ${name ?? '(unnamed)'} of ${where} to end at byte ${offset + sizeBytes}, the tar ends at ${tar.sizeBytes}: it is cut off`, {
      details: { byte: at },
    });
  }
  const isSparse = header.type === 'S' || [...(extension.own?.keys() ?? [])].some((key) => key.startsWith('GNU.sparse.'));
  const isFolder = header.type === '5' || (header.type === '0' && (name?.endsWith('/') ?? false));
  const isFile = !isSparse && !WITHOUT_DATA.has(header.type);
  return { name, kind: isFolder ? 'folder' : isFile ? 'file' : 'other', offset, sizeBytes };
}

function nameOf(header: TarHeader, extension: Extension | null): string | null {
  const own = extension?.own?.get('path');
  if (own !== undefined && own !== '') return own;
  if (extension?.longName !== undefined) return extension.longName;
  const shared = own === undefined ? extension?.shared.get('path') : undefined;
  return shared !== undefined && shared !== '' ? shared : header.name;
}

async function extend(tar: TarBytes, header: TarHeader, member: TarMember, extension: Extension, where: string): Promise<void> {
  if (member.sizeBytes > EXTENSION_BYTES_MAX) {
    throw new WinnowError('INPUT_MALFORMED', `Expected a tar header of at most ${EXTENSION_BYTES_MAX} bytes at byte ${member.offset} of ${where}, got ${member.sizeBytes}`);
  }
  // The member's own header follows at once: both are fetched together.
  const padded = Math.min(roundUp(member.sizeBytes), tar.sizeBytes - member.offset);
  const bytes = (await tar.read(member.offset, padded, TAR_BLOCK)).subarray(0, member.sizeBytes);
  if (header.type === 'K') return;
  if (header.type === 'L' || header.type === 'N') {
    extension.longName = decodeLongName(bytes);
    return;
  }
  const records = decodePax(bytes);
  if (records === null) throw new WinnowError('INPUT_MALFORMED', `Expected pax records at byte ${member.offset} of ${where}, got something else: the tar is damaged`);
  if (header.type !== 'g') extension.own = records;
  else for (const [key, value] of records) extension.shared.set(key, value);
}

function notAHeader(block: Uint8Array, at: number, where: string): WinnowError {
  const isGzip = at === 0 && block[0] === 0x1f && block[1] === 0x8b;
  const says = isGzip ? 'gzip; unpack it first, compressed tars cannot be read in place' : 'other bytes: it is damaged or not a tar';
  return new WinnowError('INPUT_MALFORMED', `Expected a tar header at byte ${at} of ${where}, got ${says}`, { details: { byte: at } });
}

function cutOff(at: number, sizeBytes: number, where: string): WinnowError {
  return new WinnowError('INPUT_MALFORMED', `Expected a whole tar header at byte ${at} of ${where}, the tar ends at ${sizeBytes}: it is cut off`, { details: { byte: at } });
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / TAR_BLOCK) * TAR_BLOCK;
}

/** Random access over a positioned read, with what was fetched ahead kept for the next call. */
export function tarBytes(sizeBytes: number, where: string, readAt: (bytes: Uint8Array, position: number) => number): TarBytes {
  let held: Uint8Array = new Uint8Array(0);
  let heldAt = 0;
  let reads = 0;
  const fetch = (offset: number, length: number): void => {
    const bytes = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      const sizeRead = readAt(bytes.subarray(filled), offset + filled);
      if (sizeRead === 0) throw cutOff(offset, offset + filled, where);
      filled += sizeRead;
    }
    held = bytes;
    heldAt = offset;
  };
  return {
    sizeBytes,
    read: async (offset, length, ahead = 0) => {
      if (offset < heldAt || offset + length > heldAt + held.length) {
        if (offset + length > sizeBytes) throw cutOff(offset, sizeBytes, where);
        if (++reads % READS_BETWEEN_TURNS === 0) await setImmediate();
        try {
          fetch(offset, Math.min(length + ahead, sizeBytes - offset));
        } catch (error) {
          throw sourceError(`read the tar ${where}`, error);
        }
      }
      return held.subarray(offset - heldAt, offset - heldAt + length);
    },
  };
}

const FETCH_BYTES_MIN = 2 ** 16;
const FETCH_BYTES_MAX = 2 ** 22;
/** A shorter way to the next header is read through: a request costs the time of about as many bytes. */
const FETCH_GAP_MAX = 2 ** 20;

/** Random access over requests, each of more bytes than the last while headers lie close together. */
export function fetchedTarBytes(sizeBytes: number, where: string, fetch: (offset: number, length: number) => Promise<Uint8Array>): TarBytes {
  let held: Uint8Array = new Uint8Array(0);
  let heldAt = 0;
  let window = FETCH_BYTES_MIN;
  return {
    sizeBytes,
    read: async (offset, length, ahead = 0) => {
      if (offset < heldAt || offset + length > heldAt + held.length) {
        if (offset + length > sizeBytes) throw cutOff(offset, sizeBytes, where);
        const gap = offset - (heldAt + held.length);
        window = gap >= -length && gap <= FETCH_GAP_MAX ? Math.min(window * 2, FETCH_BYTES_MAX) : FETCH_BYTES_MIN;
        held = await fetch(offset, Math.min(Math.max(length + ahead, window), sizeBytes - offset));
        heldAt = offset;
      }
      return held.subarray(offset - heldAt, offset - heldAt + length);
    },
  };
}

/** Reads after which signals and progress get their turn. */
const READS_BETWEEN_TURNS = 256;
