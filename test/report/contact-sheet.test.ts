import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import { openByteReader } from '../../src/ingest/bytes.ts';
import { type ImagesManifest, imageColumns } from '../../src/ingest/image.ts';
import { writePart } from '../../src/run/manifest.ts';
import { drawContactSheet } from '../../src/report/contact-sheet.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('drawContactSheet', () => {
  it('puts each image in its cell, leaves empty cells paper-white, and shows an unreadable image as grey', async () => {
    const folder = await temporaryFolder();
    const colours = [{ r: 255, g: 0, b: 0 }, { r: 0, g: 200, b: 0 }];
    await mkdir(join(folder, 'pictures'));
    for (const [i, background] of colours.entries()) await sharp({ create: { width: 40, height: 40, channels: 3, background } }).png().toFile(join(folder, 'pictures', `${i}.png`));
    await writeFile(join(folder, 'pictures', '2.png'), 'no picture');
    const store = await openFsStore(join(folder, 'store'));
    const paths = ['0.png', '1.png', '2.png'];
    const none = new Float64Array(3).fill(-1);
    const bytes = encodeTable(imageColumns({ rowCount: 3, uri: paths, path: paths, source: paths.map(() => 'pictures'), offset: none, length: none, size: none, label: [null, null, null], caption: [null, null, null], meta: [null, null, null] }, false));
    const images = { parts: [await writePart(store, 'images', [], 3, bytes)] } as unknown as ImagesManifest;
    const reader = openByteReader({ pictures: join(folder, 'pictures') });
    const png = await drawContactSheet(store, images, [{ cells: [[0, 1]] }, { cells: [[2, null]] }], { reader, limits: DEFAULT_DECODE_LIMITS, tile: 20 });
    await reader.close();
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    const at = (x: number, y: number): number[] => [...data.subarray((y * info.width + x) * info.channels, (y * info.width + x) * info.channels + 3)];
    expect(info.width).toBe(2 * 22 + 2);
    expect(at(12, 12)).toEqual([255, 0, 0]);
    expect(at(34, 12)).toEqual([0, 200, 0]);
    expect(at(12, 48)).toEqual([190, 190, 190]);
    expect(at(34, 48)).toEqual([250, 250, 250]);
  });
});
