/** Pictures to file bytes: the demo's one door to sharp. No metadata is written, so bytes depend on pixels alone. */
import type { Sharp } from 'sharp';
import sharp from 'sharp';
import type { RandomStream } from '../random.ts';
import type { NearCopyChange } from './corpus.ts';
import { Dice } from './dice.ts';
import type { Picture } from './draw-picture.ts';

/** JPEG at the quality and chroma subsampling that the stream draws (70 … 95, mostly 4:2:0). */
export function encodeJpeg(picture: Picture, stream: RandomStream): Promise<Uint8Array> {
  const dice = new Dice(stream);
  return open(picture)
    .jpeg({ quality: dice.integer(70, 95), chromaSubsampling: dice.chance(0.3) ? '4:4:4' : '4:2:0' })
    .toBuffer();
}

/** A near-copy of JPEG bytes: decoded, changed a little, encoded again at another quality. */
export async function encodeNearCopy(original: Uint8Array, picture: Picture, change: NearCopyChange, stream: RandomStream): Promise<Uint8Array> {
  const dice = new Dice(stream);
  const { width, height } = picture;
  const image = sharp(original);
  const quality = dice.integer(50, 85);
  const part = dice.between(0.86, 0.97);
  if (change === 'resized') image.resize(Math.round(width * part), Math.round(height * part), { fit: 'fill' });
  if (change === 'brightness') image.linear(dice.choose([0.88, 0.93, 1.07, 1.12]), dice.integer(-8, 8));
  if (change === 'cropped') {
    const [w, h] = [Math.round(width * (0.5 + part / 2)), Math.round(height * (0.5 + part / 2))];
    image.extract({ left: dice.integer(0, width - w), top: dice.integer(0, height - h), width: w, height: h });
  }
  return image.jpeg({ quality }).toBuffer();
}

/** Encodings that a web crawl holds and a naive decoder trips over. */
export const encodeUnusual = {
  cmyk: (picture: Picture): Promise<Uint8Array> => open(picture).toColourspace('cmyk').jpeg({ quality: 88 }).toBuffer(),
  grey: (picture: Picture): Promise<Uint8Array> => open(picture).greyscale().toColourspace('b-w').jpeg({ quality: 88 }).toBuffer(),
  /** Three channels of 16 bits, stretched from 8 by a factor of 257. */
  png16: ({ width, height, rgb }: Picture): Promise<Uint8Array> =>
    sharp(Uint16Array.from(rgb, (value) => value * 257), { raw: { width, height, channels: 3 } }).toColourspace('rgb16').png().toBuffer(),
  /** Opaque inside an ellipse, transparent outside. */
  pngAlpha: ({ width, height, rgb }: Picture): Promise<Uint8Array> => {
    const rgba = new Uint8Array(4 * width * height);
    for (let i = 0; i < width * height; i++) {
      rgba.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
      const radius = Math.hypot((((i % width) + 0.5) / width) * 2 - 1, ((Math.floor(i / width) + 0.5) / height) * 2 - 1);
      rgba[4 * i + 3] = Math.max(0, Math.min(255, Math.round((0.95 - radius) * 20 * 255)));
    }
    return sharp(rgba, { raw: { width, height, channels: 4 } }).png().toBuffer();
  },
  /** Three frames: the picture, then darker ones. */
  gifAnimated: ({ width, height, rgb }: Picture): Promise<Uint8Array> => {
    const frames = new Uint8Array(3 * rgb.length);
    for (let frame = 0; frame < 3; frame++) frames.set(rgb.map((value) => (value * (5 - frame)) / 5), frame * rgb.length);
    const raw = { width, height: 3 * height, channels: 3, pageHeight: height } as const;
    return sharp(frames, { raw }).gif({ effort: 1, delay: [200, 200, 200] }).toBuffer();
  },
  tiny: (picture: Picture): Promise<Uint8Array> => open(picture).resize(3, 3, { fit: 'fill' }).jpeg().toBuffer(),
  /** Stored turned by `angle` degrees clockwise, a multiple of 90. */
  turned: (picture: Picture, angle: number): Promise<Uint8Array> => open(picture).rotate(angle).jpeg({ quality: 88 }).toBuffer(),
};

function open({ width, height, rgb }: Picture): Sharp {
  return sharp(rgb, { raw: { width, height, channels: 3 } });
}
