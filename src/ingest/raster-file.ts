/** An open file as rasters are read from it. */
import type { FileHandle } from 'node:fs/promises';
import { type RasterFile, RasterRefusal } from './raster.ts';

/** The raster closes the file; reading past its end is the raster's fault. */
export function openRasterFile({ file, sizeBytes, path }: { readonly file: FileHandle; readonly sizeBytes: number; readonly path: string }): RasterFile {
  return {
    sizeBytes,
    path,
    read: async (offset, length) => {
      const bytes = new Uint8Array(length);
      for (let filled = 0; filled < length; ) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
        if (bytesRead === 0) throw new RasterRefusal('raster-truncated', `ended at byte ${offset + filled} of ${offset + length}`);
        filled += bytesRead;
      }
      return bytes;
    },
    close: () => file.close(),
  };
}
