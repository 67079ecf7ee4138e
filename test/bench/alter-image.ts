/** The ways in which copies of a picture differ on the web, one function a kind: bytes in, bytes out. */
import sharp from 'sharp';

export const ALTERATIONS = ['exact', 're-encoded q30', 'resized 50 %', 'cropped 10 %', 'mirrored', 'brighter 20 %', 'darker 20 %', 'watermark', 'rotated 90°', 'rotated by EXIF'] as const;
export type Alteration = (typeof ALTERATIONS)[number];

/** @param i which picture it is: decides the corner that a crop keeps */
export async function alter(bytes: Buffer, kind: Alteration, i: number): Promise<Buffer> {
  if (kind === 'exact') return bytes;
  const { width, height } = await sharp(bytes).metadata();
  const image = sharp(bytes).toColourspace('srgb');
  switch (kind) {
    case 're-encoded q30':
      return image.jpeg({ quality: 30 }).toBuffer();
    case 'resized 50 %':
      return image.resize(Math.round(width / 2), Math.round(height / 2)).jpeg({ quality: 90 }).toBuffer();
    case 'cropped 10 %': {
      const [w, h] = [Math.round(width * 0.9), Math.round(height * 0.9)];
      return image.extract({ left: (i & 1) * (width - w), top: ((i >> 1) & 1) * (height - h), width: w, height: h }).jpeg({ quality: 90 }).toBuffer();
    }
    case 'mirrored':
      return image.flop().jpeg({ quality: 90 }).toBuffer();
    case 'brighter 20 %':
    case 'darker 20 %':
      return image.linear(kind === 'darker 20 %' ? 0.8 : 1.2, 0).jpeg({ quality: 90 }).toBuffer();
    case 'watermark':
      return image.composite([{ input: Buffer.from(watermark(width, height)) }]).jpeg({ quality: 90 }).toBuffer();
    case 'rotated 90°':
      return image.rotate(90).jpeg({ quality: 90 }).toBuffer();
    case 'rotated by EXIF':
      // The pixels lie on their side and the tag says how to stand them up: a viewer shows the original.
      return sharp(await image.rotate(90).jpeg({ quality: 90 }).toBuffer()).keepMetadata().withMetadata({ orientation: 8 }).jpeg({ quality: 90 }).toBuffer();
  }
}

/** Half-transparent white: a disc and a bar in the lower right third, as a logo with a name. */
function watermark(width: number, height: number): string {
  const r = Math.min(width, height) / 9;
  const bar = `<rect x="${width * 0.35}" y="${height * 0.78}" width="${width * 0.4}" height="${height * 0.08}" fill="white" fill-opacity="0.5"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><circle cx="${width * 0.85}" cy="${height * 0.82}" r="${r}" fill="white" fill-opacity="0.5"/>${bar}</svg>`;
}
