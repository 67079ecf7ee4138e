import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createReadPool } from '../../src/batch/read-pool.ts';
import { crc32 } from '../../src/crc32.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const SUMS = ['sha256', 'crc32', 'none'] as const;

describe('createReadPool', () => {
  it('reads any ranges of any files, summed as asked, each to its caller', async () => {
    const folder = await temporaryFolder();
    const contents = Array.from({ length: 40 }, (_, f) => Uint8Array.from({ length: 5000 + f }, (_, i) => (i * 31 + f * 7) & 255));
    for (const [f, bytes] of contents.entries()) await writeFile(join(folder, `${f}`), bytes);
    const pool = createReadPool(2);
    onTestFinished(() => pool.close());
    const ranges = Array.from({ length: 500 }, (_, i) => ({ f: (i * 17) % 40, offset: (i * 97) % 4000, length: (i * 13) % 1000 }));
    const reads = await Promise.all(ranges.map(({ f, offset, length }, i) => pool.read({ path: join(folder, `${f}`), offset, length }, SUMS[i % 3]!)));
    reads.forEach((read, i) => {
      const { f, offset, length } = ranges[i]!;
      const expected = contents[f]!.slice(offset, offset + length);
      expect(read).toEqual({ bytes: expected, sum: [createHash('sha256').update(expected).digest('hex'), crc32(expected), null][i % 3] });
    });
  });

  it('says what is wrong with one range and reads the others', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'a'), 'twelve bytes');
    const pool = createReadPool(1);
    onTestFinished(() => pool.close());
    const reads = await Promise.all([
      pool.read({ path: join(folder, 'a'), offset: 0, length: 6 }, 'none'),
      pool.read({ path: join(folder, 'b'), offset: 0, length: 6 }, 'none'),
      pool.read({ path: join(folder, 'a'), offset: 8, length: 6 }, 'none'),
      pool.read({ path: folder, offset: 0, length: 6 }, 'none'),
    ]);
    expect(reads.map((read) => ('fault' in read ? read.fault : new TextDecoder().decode(read.bytes)))).toEqual(['twelve', 'ENOENT', 'short', 'EISDIR']);
  });
});
