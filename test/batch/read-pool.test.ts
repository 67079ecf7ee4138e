import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type FileRanges, createReadPool } from '../../src/batch/read-pool.ts';
import { crc32 } from '../../src/crc32.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const SUMS = ['sha256', 'crc32', 'none'] as const;
const NEVER = new AbortController().signal;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 32);

interface Range {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** Ranges as the pool takes them, without sums. */
function rangesOf(ranges: readonly Range[]): FileRanges {
  const paths = [...new Set(ranges.map(({ path }) => path))];
  return { paths, file: Uint32Array.from(ranges, ({ path }) => paths.indexOf(path)), offset: Float64Array.from(ranges, ({ offset }) => offset), length: Float64Array.from(ranges, ({ length }) => length), crc32: null, sha256: null };
}

describe('createReadPool', () => {
  it('reads any ranges of any files one after another into what it is given, each checked as asked', async () => {
    const folder = await temporaryFolder();
    const contents = Array.from({ length: 90 }, (_, f) => Uint8Array.from({ length: 5000 + f }, (_, i) => (i * 31 + f * 7) & 255));
    for (const [f, bytes] of contents.entries()) await writeFile(join(folder, `${f}`), bytes);
    const pool = createReadPool(2);
    onTestFinished(() => pool.close());
    const requests = Array.from({ length: 40 }, (_, r) => {
      const wanted = Array.from({ length: r }, (_, i) => ({ f: (i * 17 + r) % 90, offset: (i * 97 + r) % 4000, length: (i * 13 + r) % 1000 }));
      const expected = wanted.map(({ f, offset, length }) => contents[f]!.slice(offset, offset + length));
      // Every seventh sum is of something else.
      const sums = expected.map((bytes, i) => ({ sum: SUMS[(i + r) % 3]!, of: i % 7 === 6 ? Uint8Array.of(...bytes, 1) : bytes }));
      const ranges = {
        ...rangesOf(wanted.map(({ f, ...range }) => ({ path: join(folder, `${f}`), ...range }))),
        crc32: sums.map(({ sum, of }) => (sum === 'crc32' ? crc32(of) : null)),
        sha256: sums.map(({ sum, of }) => (sum === 'sha256' ? sha256(of) : null)),
      };
      const faults = sums.flatMap(({ sum }, i) => (i % 7 === 6 && sum !== 'none' ? [[i, 'changed']] : []));
      return { ranges, bytes: Buffer.concat(expected), faults };
    });
    const reads = await Promise.all(requests.map(({ ranges, bytes }, r) => pool.read(ranges, r % 2 === 0 ? null : new SharedArrayBuffer(bytes.byteLength + (r % 3)), NEVER)));
    reads.forEach(({ slab, faults }, r) => {
      expect(Buffer.compare(Buffer.from(slab, 0, requests[r]!.bytes.byteLength), requests[r]!.bytes)).toBe(0);
      expect(faults).toEqual(requests[r]!.faults);
    });
    expect(requests.flatMap(({ faults }) => faults).length).toBeGreaterThan(10);
  });

  it('says what is wrong with one range and reads the others', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'a'), 'twelve bytes');
    const pool = createReadPool(1);
    onTestFinished(() => pool.close());
    const ranges = rangesOf([
      { path: join(folder, 'a'), offset: 0, length: 6 },
      { path: join(folder, 'b'), offset: 0, length: 6 },
      { path: join(folder, 'a'), offset: 8, length: 6 },
      { path: folder, offset: 0, length: 6 },
      { path: join(folder, 'a'), offset: 7, length: 5 },
    ]);
    const { slab, faults } = await pool.read(ranges, new SharedArrayBuffer(29), NEVER);
    expect(faults).toEqual([[1, 'ENOENT'], [2, 'short'], [3, 'EISDIR']]);
    expect([Buffer.from(slab, 0, 6).toString(), Buffer.from(slab, 24, 5).toString()]).toEqual(['twelve', 'bytes']);
  });

  it('reads nothing for a request whose turn comes after it was aborted', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'a'), 'twelve bytes');
    const pool = createReadPool(1);
    onTestFinished(() => pool.close());
    const stop = new AbortController();
    const reads = Array.from({ length: 8 }, () => pool.read(rangesOf([{ path: join(folder, 'a'), offset: 0, length: 6 }]), new SharedArrayBuffer(6), stop.signal));
    stop.abort(new Error('enough'));
    const ended = await Promise.allSettled(reads);
    expect(ended.slice(0, 2).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']); // they lay at the thread
    for (const end of ended.slice(2)) expect(end).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED' } });
    await expect(pool.read(rangesOf([]), new SharedArrayBuffer(0), NEVER)).resolves.toMatchObject({ faults: [] });
  });
});
