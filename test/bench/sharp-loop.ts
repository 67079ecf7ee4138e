/** Peer: a bare sharp loop, decode and squeeze to side × side raw, from bytes in memory, as many at once as runs best. */
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import sharp from 'sharp';
import { listAll } from '../ingest/listing.ts';
import { fastest, serve, settings } from './talk.ts';

const TRIAL_IMAGES = 128;
const { list, tars = [], side } = settings as { list?: string; tars?: string[]; side: number };

sharp.concurrency(1);
sharp.cache(false);

const images = list === undefined ? await fromTars() : await Promise.all((JSON.parse(await readFile(list, 'utf8')) as string[]).map((path) => readFile(path)));
const lanes = [2, 4, 8];
const best = lanes[await fastest(lanes.map((count) => () => loop(count, images.slice(0, TRIAL_IMAGES))))]!;
await serve(`sharp alone, ${best} at once`, async () => void (await loop(best, images)));

async function loop(count: number, all: readonly Uint8Array[]): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < all.length) await sharp(all[next++]!).resize(side, side, { fit: 'fill' }).raw().toBuffer();
  };
  await Promise.all(Array.from({ length: count }, lane));
}

async function fromTars(): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for (const tar of tars) {
    const bytes = await readFile(tar);
    const { rows } = await listAll({ tars: basename(tar) }, dirname(tar));
    for (const { offset, length } of rows) all.push(bytes.subarray(offset, offset + length));
  }
  return all;
}
