import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { openRaster } from '../../src/ingest/open-raster.ts';
import { type Raster, RasterRefusal } from '../../src/ingest/raster.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { fileOf } from './rasters.ts';

const [W, H] = [200, 150];
const value = (x: number, y: number, c: number): number => (x * 3 + y * 5 + c * 60) & 255;
const pixels = (channels: number): Uint8Array => Uint8Array.from({ length: W * H * channels }, (_, i) => value(Math.floor(i / channels) % W, Math.floor(i / channels / W), i % channels));
const picture = (channels: 3 | 4): Sharp => sharp(pixels(channels), { raw: { width: W, height: H, channels } });

async function openFile(bytes: Uint8Array): Promise<Raster> {
  const path = join(await temporaryFolder(), 'raster');
  await writeFile(path, bytes);
  return openRaster(fileOf(bytes, path));
}

const WINDOWS = [[0, 0, W, H], [199, 149, 1, 1], [50, 100, 64, 50], [0, 10, 200, 3]] as const;

describe('openPicture', () => {
  it.each([
    ['PNG', () => picture(3).png()],
    ['interlaced PNG', () => picture(3).png({ progressive: true })],
    ['JPEG', () => picture(3).jpeg({ quality: 90 })],
    ['progressive JPEG', () => picture(3).jpeg({ progressive: true })],
    ['grey JPEG', () => picture(3).greyscale().jpeg()],
  ])('reads any window of %s as decoding it whole does, many at once', async (_, encode) => {
    const bytes = await encode().toBuffer();
    const whole = await sharp(bytes).toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
    const raster = await openFile(bytes);
    expect(raster.header).toMatchObject({ width: W, height: H, range: [0, 255], hasNodata: false, resolution: null });
    await Promise.all(
      WINDOWS.map(async ([x, y, w, h]) => {
        const { bands, absent } = await raster.read({ x, y, w, h, bands: null });
        expect(absent).toBeNull();
        for (let c = 0; c < 3; c++) {
          const from = Math.min(c, whole.info.channels - 1);
          expect(bands[c]).toEqual(Uint8Array.from({ length: w * h }, (_, i) => whole.data[((y + Math.floor(i / w)) * W + x + (i % w)) * whole.info.channels + from]!));
        }
      }),
    );
  });

  it('takes what is fully transparent for no data', async () => {
    const raster = await openFile(await picture(4).png().toBuffer());
    expect(raster.header.hasNodata).toBe(true);
    const { bands, absent } = await raster.read({ x: 0, y: 0, w: W, h: H, bands: [3, 2, 1] });
    const at = (i: number, c: number): number => value(i % W, Math.floor(i / W), c);
    expect(absent).toEqual(Uint8Array.from({ length: W * H }, (_, i) => (at(i, 3) === 0 ? 1 : 0)));
    expect(bands[0]).toEqual(Uint8Array.from({ length: W * H }, (_, i) => at(i, 2)));
  });

  it('refuses windows outside, damage, and what it cannot decode, each by a reason', async () => {
    const png = await picture(3).png({ compressionLevel: 0 }).toBuffer();
    await expect((await openFile(png)).read({ x: 150, y: 0, w: 51, h: 1, bands: null })).rejects.toMatchObject({ fault: 'raster-malformed' });
    const cut = await openFile(png.subarray(0, 40_000));
    await expect(cut.read({ x: 0, y: 140, w: 8, h: 8, bands: null })).rejects.toMatchObject({ fault: 'raster-unreadable' });
    const jpeg = await picture(3).jpeg({ quality: 100 }).toBuffer();
    const scrambled = Buffer.from(jpeg.subarray(0, 3000));
    await expect((await openFile(scrambled)).read({ x: 0, y: 140, w: 8, h: 8, bands: null })).rejects.toBeInstanceOf(RasterRefusal);
    const refusal = async (bytes: Uint8Array): Promise<unknown> => openFile(bytes).then(() => null, ({ fault, message }: RasterRefusal) => `${fault}: ${message}`);
    expect(await refusal(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'))).toMatch(/^raster-format: is none of/);
    expect(await refusal(Buffer.from('89504e470d0a1a0a0000000d49484452ffffffff', 'hex'))).toMatch(/^raster-malformed: has a damaged PNG header/);
    const huge = Buffer.from(png);
    huge.writeUInt32BE(60_000, 16);
    huge.writeUInt32BE(60_000, 20);
    expect(await refusal(huge)).toMatch(/^raster-(blocks|malformed): /);
    const codecs = sharp.format as unknown as Record<string, { input?: { file?: boolean } } | undefined>;
    if (codecs.jp2k?.input?.file !== true) expect(await refusal(Buffer.from('0000000c6a5020200d0a870a', 'hex'))).toContain('is JPEG 2000, for which this build of libvips has no codec');
  });
});
