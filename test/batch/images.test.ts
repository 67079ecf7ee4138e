import { createHash } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ImageReaderOptions, createImageReader } from '../../src/batch/images.ts';
import { createLimiter } from '../../src/batch/limiter.ts';
import type { RowFacts } from '../../src/batch/rows.ts';
import { NO_SLABS } from '../../src/batch/slabs.ts';
import { crc32 } from '../../src/crc32.ts';
import { openFsStore } from '../../src/store/fs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const image = Uint8Array.from({ length: 1000 }, (_, i) => (i * 37) & 255);

/** One image in a shard, its byte 500 another one where `flipped`; read from a disk, or through the store as from S3. */
async function readOne(verify: ImageReaderOptions['verify'], { flipped = false, crc = true, through = 'disk' }): Promise<Uint8Array | { readonly fault: string }> {
  const folder = await temporaryFolder();
  const disk = await openFsStore(folder);
  const stored = image.slice();
  if (flipped) stored[500]! ^= 1;
  await disk.write('shard', stored);
  const store = through === 'disk' ? disk : { ...disk, uri: 's3://bucket/store' };
  const reader = createImageReader({ store, locations: {}, limiter: createLimiter(2), cacheBytes: 0, verify });
  onTestFinished(() => reader.close());
  const id = createHash('sha256').update(image).digest('hex').slice(0, 32);
  const rows: RowFacts = { id: [id], uri: ['a'], source: ['a'], path: ['a'], offset: Float64Array.of(-1), length: Float64Array.of(-1), derivedId: [null], stored: [{ key: 'shard', sizeBytes: 1000, offset: 0, length: 1000 }], crc32: [crc ? crc32(image) : null] };
  return (await reader.read([{ facts: rows, at: 0 }], NO_SLABS, new AbortController().signal)).images[0]!;
}

describe.each(['disk', 'store'])('images of shards, read through the %s', (through) => {
  it.each([
    ['crc32', true],
    ['crc32', false],
    ['sha256', true],
    ['sha256', false],
  ] as const)('are checked by %s where there is a CRC-32 (%s), by SHA-256 where there is none', async (verify, crc) => {
    expect(await readOne(verify, { crc, through })).toEqual(image);
    expect(await readOne(verify, { crc, through, flipped: true })).toEqual({ fault: 'its bytes are not those that were embedded' });
  });

  it('are taken as they are when nothing is to be checked', async () => {
    expect(await readOne('none', { through, flipped: true })).toMatchObject({ length: 1000 });
  });
});
