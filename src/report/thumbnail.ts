/** Thumbnails for pages: an image of the corpus through the one decoder, with its limits, as a small square WebP. */
import sharp from 'sharp';
import { decodeImage } from '../embed/decode.ts';
import type { DecodeLimits } from '../embed/embedding.ts';

/** Side of a thumbnail in pixels, and how WebP keeps it: 2 to 4 KB of a photograph. */
export const THUMBNAIL_SIDE = 96;
const QUALITY = 72;

/**
 * Scales an image to cover a square and cuts the middle out. Equal bytes give equal bytes with one version of sharp.
 *
 * @returns the thumbnail, or the status that says why there is none
 */
export async function drawThumbnail(bytes: Uint8Array, limits: DecodeLimits, side = THUMBNAIL_SIDE): Promise<{ readonly webp: Uint8Array } | { readonly fault: string }> {
  const spec = { resize: { mode: 'cover', width: side, height: side }, crop: null, resample: 'bicubic', background: [255, 255, 255], layout: 'nhwc', type: 'uint8', rescale: 1, mean: [0, 0, 0], std: [1, 1, 1] } as const;
  const decoded = await decodeImage(bytes, spec, limits);
  if (decoded.status !== 'ok') return { fault: decoded.status };
  return { webp: await sharp(decoded.pixels, { raw: { width: side, height: side, channels: 3 } }).webp({ quality: QUALITY, effort: 4 }).toBuffer() };
}
