import fc from 'fast-check';
import sharp, { type Sharp } from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { endsEarly, isRareJpeg, readSize } from '../../src/embed/header.ts';
import type { ImageFormat } from '../../src/embed/sniff.ts';
import { noise, picture, pngChunk, insertChunk, toSharp } from '../fixtures/images.ts';

const files: { name: string; format: ImageFormat; bytes: Buffer }[] = [];

beforeAll(async () => {
  const image = toSharp(noise(67, 41));
  const add = async (name: string, format: ImageFormat, made: Sharp): Promise<void> => void files.push({ name, format, bytes: await made.toBuffer() });
  await add('baseline', 'jpeg', image.clone().jpeg());
  await add('progressive', 'jpeg', image.clone().jpeg({ progressive: true }));
  await add('jpeg with EXIF and profile', 'jpeg', image.clone().withIccProfile('p3').withMetadata({ orientation: 6 }).jpeg());
  await add('png', 'png', image.clone().png());
  await add('palette png', 'png', image.clone().png({ palette: true }));
  await add('gif', 'gif', image.clone().gif());
  await add('lossy webp', 'webp', image.clone().webp());
  await add('lossless webp', 'webp', image.clone().webp({ lossless: true }));
  await add('alpha webp', 'webp', image.clone().ensureAlpha(0.5).webp());
  await add('extended webp', 'webp', image.clone().withMetadata({ orientation: 3 }).webp());
  await add('tiff', 'tiff', image.clone().tiff({ compression: 'lzw' }));
  await add('avif', 'avif', image.clone().avif({ effort: 0 }));
});

describe('readSize', () => {
  it('agrees with libvips, or leaves the question to it', async () => {
    for (const { name, format, bytes } of files) {
      const size = readSize(bytes, format);
      if (['tiff', 'gif', 'avif'].includes(format)) expect(size, name).toBeNull();
      else {
        const { width, height } = await sharp(bytes).metadata();
        expect(size, name).toEqual({ width, height });
      }
    }
  });

  it('leaves 16-bit PNG to libvips', async () => {
    const { data, ...size } = picture(9, 9);
    const deep = await sharp(Uint16Array.from(data, (value) => value * 257), { raw: size }).toColourspace('rgb16').png().toBuffer();
    expect(readSize(deep, 'png')).toBeNull();
  });

  it('never throws, whatever follows the signature', () => {
    fc.assert(
      fc.property(fc.nat(files.length - 1), fc.nat(), fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 0, max: 255 })), { maxLength: 12 }), (i, cut, changes) => {
        const { format, bytes } = files[i]!;
        const broken = Buffer.from(bytes.subarray(0, cut % (bytes.length + 1)));
        for (const [at, value] of changes) if (at < broken.length) broken[at] = value;
        readSize(broken, format);
        endsEarly(broken, format);
        isRareJpeg(broken);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('endsEarly', () => {
  it('is false for every whole file, also with bytes after its end', () => {
    for (const { name, format, bytes } of files) {
      expect(endsEarly(bytes, format), name).toBe(false);
      if (format !== 'avif') expect(endsEarly(Buffer.concat([bytes, Buffer.alloc(100, 7)]), format), name).toBe(false);
    }
  });

  it('is true wherever a file is cut', () => {
    for (const { name, format, bytes } of files) {
      const boxes = format === 'avif' ? boxEnds(bytes) : new Set<number>();
      for (let length = 9; length < bytes.length; length++) {
        // The last byte of a GIF is its end mark; a cut between two boxes leaves whole boxes.
        if (!boxes.has(length)) expect(endsEarly(bytes.subarray(0, length), format), `${name} cut at ${length} of ${bytes.length}`).toBe(true);
      }
    }
  });

  it('does not take the end of a thumbnail for the end of the image', async () => {
    const jpeg = files[0]!.bytes;
    const thumbnail = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), jpeg]);
    const segment = Buffer.concat([Buffer.from([0xff, 0xe1, (thumbnail.length + 2) >> 8, (thumbnail.length + 2) & 255]), thumbnail]);
    const whole = Buffer.concat([jpeg.subarray(0, 2), segment, jpeg.subarray(2)]);
    expect(endsEarly(whole, 'jpeg')).toBe(false);
    expect(endsEarly(whole.subarray(0, whole.length - 50), 'jpeg')).toBe(true);
  });

  it('follows unknown PNG chunks', () => {
    const png = files.find(({ name }) => name === 'png')!.bytes;
    const chunk = pngChunk('tEXt', Buffer.from('a\0b'));
    expect(endsEarly(insertChunk(png, chunk), 'png')).toBe(false);
    chunk.writeUInt32BE(1e9);
    expect(endsEarly(insertChunk(png, chunk), 'png')).toBe(true);
  });
});

describe('isRareJpeg', () => {
  it('tells lossless, hierarchical and 12-bit frames', () => {
    const jpeg = files[0]!.bytes;
    expect(isRareJpeg(jpeg)).toBe(false);
    expect(isRareJpeg(files[1]!.bytes)).toBe(false);
    const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]));
    const lossless = Buffer.from(jpeg);
    lossless[frame + 1] = 0xc3;
    const deep = Buffer.from(jpeg);
    deep[frame + 4] = 12;
    expect(isRareJpeg(lossless)).toBe(true);
    expect(isRareJpeg(deep)).toBe(true);
  });
});

function boxEnds(bytes: Buffer): Set<number> {
  const ends = new Set<number>();
  for (let at = 0; at + 8 <= bytes.length; ) {
    at += bytes.readUInt32BE(at);
    ends.add(at);
    // Up to seven bytes of the next box do not yet say how long it is.
    for (let more = 1; more < 8; more++) ends.add(at + more);
  }
  return ends;
}
