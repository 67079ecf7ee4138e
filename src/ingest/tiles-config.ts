/** Settings of a source that cuts tiles from large rasters. */
import { z } from 'zod';

export const TilesConfig = z.strictObject({
  folder: z.string().min(1).describe('Folder of rasters, read recursively: GeoTIFF (tiled is best), PNG, JPEG.'),
  count: z.int().min(1).describe('Tiles to draw, uniformly over the area of all rasters. Draws are independent, so two tiles may overlap.'),
  size: z.int().min(16).max(2048).default(512).describe('Side of a tile in pixels.'),
  resolution: z.number().positive().max(1e6).optional().describe('Metres on the ground that one pixel of a tile shows, where a raster says how many its own show: windows are wider or narrower and scaled. Default: pixels as they are.'),
  unlocated: z.enum(['keep', 'skip']).default('keep').describe('`resolution`: rasters that do not say their own: cut them at their own pixels, or skip them.'),
  enlarge: z.number().min(1).max(16).default(2).describe('`resolution`: a raster more than this many times coarser is skipped.'),
  bands: z.array(z.int().min(1).max(1024)).length(3).optional().describe('Which bands are red, green and blue, counted from 1. Default: the first three, or the first one as grey.'),
  range: z
    .tuple([z.number(), z.number()])
    .refine(([low, high]) => low < high, 'Expected the lower end first')
    .optional()
    .describe('Sample values that become 0 and 255; others are clamped. Default: the full range of the samples. Needed for signed and floating-point samples.'),
  nodata: z
    .strictObject({
      value: z.number().optional().describe('Sample value that means no data, where a raster does not say or says it wrongly.'),
      max: z.number().min(0).max(1).default(0.05).describe('Largest share of a window without data; a window above it is drawn again.'),
      tries: z.int().min(1).max(1000).default(20).describe('Windows tried for one tile before it is given up and counted.'),
    })
    .prefault({})
    .describe('Pixels without data: by value, by the alpha channel, or blocks that a sparse file leaves out.'),
});
export type TilesConfig = z.infer<typeof TilesConfig>;

/** File extensions of rasters where a source does not say. JPEG 2000 is listed so that it is told, not passed over. */
export const RASTER_EXTENSIONS = ['tif', 'tiff', 'png', 'jpg', 'jpeg', 'jp2', 'j2k', 'jpx'] as const;
