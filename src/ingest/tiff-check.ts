/**
 * The first directory of a TIFF, walked before a library parses it: that parser allocates whatever a tag's count says. TIFF
 * 6.0 and BigTIFF. Only the first directory is ever read, so a chain of directories that bites its tail does no harm.
 */
import { type RasterFile, RasterRefusal } from './raster.ts';

/** Entries of a directory; real ones have a few dozen. */
const ENTRIES_MAX = 1024;
/** Bytes of all values together: offsets and lengths of two million tiles. */
const VALUE_BYTES_MAX = 2 ** 25;

/** @throws {RasterRefusal} raster-format, raster-malformed, raster-truncated */
export async function checkTiff(file: RasterFile): Promise<void> {
  const { sizeBytes } = file;
  if (sizeBytes < 16) throw new RasterRefusal('raster-truncated', 'ends within the header of a TIFF');
  const head = viewOf(await file.read(0, 16));
  const little = head.getUint16(0) === 0x4949;
  const big = head.getUint16(2, little) === 43;
  if (!big && head.getUint16(2, little) !== 42) throw new RasterRefusal('raster-format', 'begins like a TIFF and is none');
  if (big && head.getUint16(4, little) !== 8) throw new RasterRefusal('raster-malformed', 'is a BigTIFF whose offsets do not have 8 bytes');
  const wide = (view: DataView, at: number): number => (big ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little));
  const [countBytes, entryBytes, inline] = big ? [8, 20, 8] : [2, 12, 4];
  const start = wide(head, big ? 8 : 4);
  if (start < 8 || start + countBytes > sizeBytes) throw new RasterRefusal('raster-truncated', `has its directory at byte ${start} of ${sizeBytes}`);
  const counted = viewOf(await file.read(start, countBytes));
  const entries = big ? wide(counted, 0) : counted.getUint16(0, little);
  if (entries < 1 || entries > ENTRIES_MAX) throw new RasterRefusal('raster-malformed', `says its directory has ${entries} entries`);
  const end = start + countBytes + entries * entryBytes + inline;
  if (end > sizeBytes) throw new RasterRefusal('raster-truncated', `ends at byte ${sizeBytes}, within its directory`);
  const view = viewOf(await file.read(start + countBytes, entries * entryBytes));
  let valueBytes = 0;
  for (let at = 0; at < view.byteLength; at += entryBytes) {
    const [tag, type] = [view.getUint16(at, little), view.getUint16(at + 2, little)];
    const length = (TYPE_BYTES[type] ?? 0) * wide(view, at + 4);
    if (TYPE_BYTES[type] === undefined) throw new RasterRefusal('raster-malformed', `has tag ${tag} of the unknown type ${type}`);
    if (length <= inline) continue;
    const offset = wide(view, at + (big ? 12 : 8));
    valueBytes += length;
    if (offset + length > sizeBytes) throw new RasterRefusal('raster-truncated', `has values of tag ${tag} up to byte ${offset + length} of ${sizeBytes}`);
    if (valueBytes > VALUE_BYTES_MAX) throw new RasterRefusal('raster-malformed', `has more than ${VALUE_BYTES_MAX} bytes of tags`);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes of one value, by type. */
const TYPE_BYTES: Readonly<Record<number, number>> = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8 };
