/** Opens a raster of any kind by its first bytes; what a file is called does not count. */
import { type Raster, type RasterFile, RasterRefusal } from './raster.ts';
import { openPicture } from './raster-picture.ts';
import { openTiff } from './raster-tiff.ts';

/** The file is the raster's to close, also when this fails. @throws {RasterRefusal} */
export async function openRaster(file: RasterFile): Promise<Raster> {
  try {
    const head = Buffer.from(await file.read(0, Math.min(12, file.sizeBytes)));
    if (head.length === 0) throw new RasterRefusal('raster-truncated', 'is empty');
    const kind = kindOf(head);
    if (kind === null) throw new RasterRefusal('raster-format', 'is none of GeoTIFF, PNG, JPEG, JPEG 2000 by its first bytes');
    const raster = await (kind === 'tiff' ? openTiff(file) : openPicture(file, kind));
    if (kind !== 'tiff') await file.close();
    return raster;
  } catch (error) {
    await file.close();
    throw error;
  }
}

function kindOf(head: Buffer): 'tiff' | 'png' | 'jpeg' | 'jp2' | null {
  const begins = (...hex: string[]): boolean => hex.some((one) => head.toString('hex').startsWith(one));
  if (begins('49492a00', '4d4d002a', '49492b00', '4d4d002b')) return 'tiff';
  if (begins('89504e470d0a1a0a')) return 'png';
  if (begins('ffd8ff')) return 'jpeg';
  return begins('0000000c6a502020', 'ff4fff51') ? 'jp2' : null;
}
