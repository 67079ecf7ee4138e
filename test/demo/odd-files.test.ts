import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { randomStream } from '../../src/random.ts';
import { CONCEPTS } from '../../src/demo/concepts.ts';
import type { OddKind } from '../../src/demo/corpus.ts';
import { ODD_KINDS } from '../../src/demo/corpus.ts';
import { drawPicture, drawTables } from '../../src/demo/draw-picture.ts';
import { makeOddFile } from '../../src/demo/odd-files.ts';

const tables = drawTables(2);
const pictures = [0, 1, 2, 3].map((i) => drawPicture(tables, i, CONCEPTS[17 * i]!));
/** Four files of a kind, as the odd files of a corpus number them. */
const make = (kind: OddKind): Promise<Uint8Array[]> =>
  Promise.all(pictures.map((picture, i) => makeOddFile(kind, picture, ODD_KINDS.length * i + ODD_KINDS.indexOf(kind), randomStream(2, 'test', kind, i))));
const decode = (bytes: Uint8Array): Promise<Buffer> => sharp(bytes, { failOn: 'warning' }).raw().toBuffer();

describe('makeOddFile', () => {
  it.each(ODD_KINDS)('gives the same bytes again: %s', async (kind) => {
    expect((await make(kind)).map((bytes) => Buffer.from(bytes).toString('hex'))).toEqual((await make(kind)).map((bytes) => Buffer.from(bytes).toString('hex')));
  });

  it('makes files that no decoder should take', async () => {
    for (const bytes of await make('empty')) expect(bytes).toHaveLength(0);
    for (const bytes of await make('html')) expect(new TextDecoder().decode(bytes)).toMatch(/^<!DOCTYPE html>/);
    for (const bytes of [...(await make('text')), ...(await make('truncated'))]) await expect(decode(bytes)).rejects.toThrow();
    for (const bytes of await make('too-small')) expect(await sharp(bytes).metadata()).toMatchObject({ width: 3, height: 3 });
    for (const bytes of await make('huge-header')) {
      expect(await sharp(bytes, { limitInputPixels: false }).metadata()).toMatchObject({ width: 65_000, height: 65_000 });
      expect(bytes.length).toBeLessThan(40_000);
      await expect(decode(bytes)).rejects.toThrow(/pixel limit/);
    }
  });

  it('scrambles pixels, not the header', async () => {
    for (const [i, bytes] of (await make('scrambled')).entries()) {
      const { width, height } = pictures[i]!;
      expect(await sharp(bytes).metadata()).toMatchObject({ format: 'jpeg', width, height });
      const pixels = await sharp(bytes, { failOn: 'none' }).raw().toBuffer();
      expect(pixels.filter((value, at) => Math.abs(value - pictures[i]!.rgb[at]!) > 60).length).toBeGreaterThan(50);
    }
  });

  it.each([
    ['cmyk', { format: 'jpeg', space: 'cmyk', channels: 4 }],
    ['grey', { format: 'jpeg', space: 'b-w', channels: 1 }],
    ['png-16-bit', { format: 'png', depth: 'ushort', channels: 3 }],
    ['png-alpha', { format: 'png', depth: 'uchar', hasAlpha: true }],
    ['gif-animated', { format: 'gif', pages: 3 }],
  ] as const)('makes readable files of kind %s', async (kind, facts) => {
    for (const [i, bytes] of (await make(kind)).entries()) {
      expect(await sharp(bytes).metadata()).toMatchObject(facts);
      // The picture is still there: near the original in most pixels (alpha, CMYK and palettes cost some).
      const { data } = await sharp(bytes).removeAlpha().toColourspace('srgb').raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
      const { rgb } = pictures[i]!;
      const mean = (values: Uint8Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
      expect(Math.abs(mean(data) - mean(rgb))).toBeLessThan(25);
    }
  });

  it('makes turned files that stand upright once the orientation is applied', async () => {
    const orientations = new Set<number | undefined>();
    for (const [i, bytes] of (await make('exif-rotated')).entries()) {
      orientations.add((await sharp(bytes).metadata()).orientation);
      const { width, height, rgb } = pictures[i]!;
      const { data, info } = await sharp(bytes).autoOrient().raw().toBuffer({ resolveWithObject: true });
      expect([info.width, info.height]).toEqual([width, height]);
      const error = data.reduce((sum, value, at) => sum + Math.abs(value - rgb[at]!), 0) / data.length;
      expect(error).toBeLessThan(12);
    }
    expect(orientations).toEqual(new Set([3, 6, 8]));
  });
});
