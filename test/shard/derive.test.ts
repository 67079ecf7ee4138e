/** Deriving images: the same bytes however it runs, what a program is asked, and every way a program can go wrong. */
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Columns } from '../../src/arrow/tables.ts';
import { encodeTable } from '../../src/arrow/ipc.ts';
import { DEFAULT_DECODE_LIMITS } from '../../src/embed/embedding.ts';
import type { TaskEnv } from '../../src/run/stage.ts';
import { deriveImages, resolveDerive } from '../../src/shard/derive.ts';
import type { JoinedRows } from '../../src/shard/join.ts';
import { NEVER } from '../batch/toy-feed.ts';
import { answers, program } from '../filter/command-programs.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { BLUR_EVEN, HEAD, type Row, pictures, readRows, scriptOf, writeDerived } from './derived-images.ts';
import { buildToy, idOf } from './toy-store.ts';

describe('deriving', () => {
  it('gives the same bytes at any number of tasks and readers, and when it starts again after a program that failed', async () => {
    const hashes: string[] = [];
    for (const options of [{ tasks: 1, concurrency: 1 }, { tasks: 4, concurrency: 8 }]) {
      const folder = await temporaryFolder();
      const built = await buildToy(pictures(), folder, options);
      hashes.push((await writeDerived(built, await scriptOf(folder, BLUR_EVEN), { shard: { sizeBytesMax: 4096 } })).sha256);
    }
    expect(hashes[1]).toBe(hashes[0]);

    const folder = await temporaryFolder();
    const built = await buildToy(pictures(), folder);
    const command = await scriptOf(folder, BLUR_EVEN);
    await mkdir(join(folder, 'fail'));
    await expect(writeDerived(built, command, { shard: { sizeBytesMax: 4096 } })).rejects.toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(/rows from whole\/.* it ended with exit code 3/) });
    expect(await built.store.head('dataset/manifest.json')).toBeNull();
    await rmdir(join(folder, 'fail'));
    const { sha256, manifest } = await writeDerived(built, command, { shard: { sizeBytesMax: 4096 } });
    expect(sha256).toBe(hashes[0]);
    expect(manifest.parts.flatMap(({ shards }) => shards).length).toBeGreaterThan(manifest.parts.length * 3); // cut by the bytes of derived images

    const rows = (await readRows(built.store)) as (Row & { row: number })[];
    for (const { row, derivedId, derivedNote, id, image } of rows) {
      expect(derivedId).toBe(row % 2 === 0 ? idOf(image) : null); // odd rows came back as they were
      expect(derivedNote).toBe(row % 5 === 0 ? 'fifth' : null);
      if (row % 2 === 1) expect(idOf(image)).toBe(id);
    }
  });

  it('is kept for the same program wherever it lies and however long it may take, and done again for another', async () => {
    const [folder, other] = [await temporaryFolder(), await temporaryFolder()];
    const built = await buildToy(pictures(), folder);
    const command = await scriptOf(folder, BLUR_EVEN);
    const { sha256 } = await writeDerived(built, command);
    await scriptOf(other, BLUR_EVEN);
    expect((await writeDerived(built, command, { timeoutSeconds: 77 }, other)).sha256).toBe(sha256);
    const renamed = await writeDerived(built, command, { version: '2' });
    expect(renamed.sha256).not.toBe(sha256);
    await scriptOf(folder, BLUR_EVEN.replace('blur(2)', 'blur(3)'));
    const changed = await writeDerived(built, command, { version: '2' });
    expect(changed.manifest.parts).not.toEqual(renamed.manifest.parts);
  });

  it('asks for each row once a call, at most 4,096 rows a call', async () => {
    const folder = await temporaryFolder();
    const command = await scriptOf(folder, `${HEAD}\nwrite(asked.map(({ row }) => [row, null, String(asked.length)]));`);
    const n = 4200; // rows 0 … 4,099, the first of them 101 times
    const row = Float64Array.from({ length: n }, (_, i) => Math.max(0, i - 100));
    const some = Array.from(row, String);
    const rows = { rowCount: n, row, id: some, uri: some } as unknown as JoinedRows;
    const images = async function* (): AsyncGenerator<Uint8Array> {
      for (const one of some) yield new TextEncoder().encode(one);
    };
    const rule = await resolveDerive({ command, version: '1', timeoutSeconds: 60 }, folder, DEFAULT_DECODE_LIMITS);
    const found: [string, string | null, string | null][] = [];
    for await (const { bytes, derivedId, note } of deriveImages(rows, images(), rule, { execution: { concurrency: 2 }, signal: NEVER } as TaskEnv)) found.push([new TextDecoder().decode(bytes), derivedId, note]);
    expect(found).toEqual(some.map((one) => [one, null, Number(one) < 4096 ? '4096' : '4']));
  });

  it('wants bytes in the shards', async () => {
    const built = await buildToy(pictures(), await temporaryFolder());
    for (const withBytes of [false, undefined]) {
      const shardConfig = { ...(withBytes !== undefined && { withBytes }), derive: { command: ['x'], version: '1' } };
      expect(() => built.recipe({ shard: shardConfig })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/shard\.withBytes: expected true beside shard\.derive.*got (false|nothing)/) }));
    }
    expect(() => built.recipe({ shard: { withBytes: true, derive: { command: [], version: '1' } } })).toThrow(/shard\.derive\.command/);
  });
});

describe('a bad program', () => {
  const faults: [name: string, command: string[] | string, message: RegExp, more?: Record<string, unknown>][] = [
    ['is not there', ['/no/such/program'], /could not be started: ENOENT/],
    ['ends badly', program("console.error('no weights'); process.exitCode = 4"), /ended with exit code 4; it said: no weights/],
    ['takes too long', program('setInterval(() => {}, 1000)'), /took longer than 0.5 s/, { timeoutSeconds: 0.5 }],
    ['writes nothing', program(''), /wrote nothing/],
    ['writes text', program("process.stdout.write('all images are fine\\n')"), /wrote 20 bytes that are no Arrow IPC stream/],
    ['has no images', answers(encodeTable({ row: { type: 'uint32', values: Uint32Array.of(0) } })), /wrote no column "image", but row/],
    ['has text for images', answers(answerOf({ image: { type: 'utf8', values: ['x'] } })), /wrote Utf8 in column "image" in the place of bytes/],
    ['has numbers for notes', answers(answerOf({ note: { type: 'uint32', values: Uint32Array.of(1) } })), /wrote Uint32 in column "note" in the place of text/],
    ['answers for another row', answers(answerOf({ row: { type: 'uint32', values: Uint32Array.of(99_999) } })), /answered for row 99999, which it was not asked about/],
    ['leaves rows out', `write(asked.slice(1).map(({ row }) => [row, null, null]));`, /left out 1 of them, the first is row \d+ \((pool|whole)\//],
    ['answers twice', `write([...asked, asked[0]].map(({ row }) => [row, null, null]));`, /answered twice for row \d+/],
    ['writes half a picture', `write(asked.map(({ row, image }, i) => [row, i === 1 ? image.subarray(0, image.length >> 1) : null, null]));`, /wrote \d+ bytes for row \d+ \((pool|whole)\/.*\) that cannot be used: (truncated|corrupt)/],
    ['writes an empty picture', `write(asked.map(({ row }) => [row, new Uint8Array(0), null]));`, /wrote 0 bytes for row \d+ .* that cannot be used: empty/],
    ['writes no picture', `write(asked.map(({ row }) => [row, Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), null]));`, /that cannot be used: (unsupported-format|not-an-image)/],
    ['writes too much', `write(asked.map(({ row }) => [row, Buffer.alloc(2 ** 26), null]));`, /wrote more than \d+ bytes/],
  ];
  it.each(faults)('that %s ends the run with one sentence', async (_, command, message, more) => {
    const folder = await temporaryFolder();
    const built = await buildToy(pictures(), folder);
    const words = typeof command === 'string' ? await scriptOf(folder, `${HEAD}\n${command}`) : command;
    await expect(writeDerived(built, words, more)).rejects.toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(message) });
    expect(await built.store.head('dataset/manifest.json')).toBeNull();
  });
});

function answerOf(other: Columns): Uint8Array {
  return encodeTable({ row: { type: 'uint32', values: Uint32Array.of(0) }, image: { type: 'binary', values: [new Uint8Array(3)] }, ...other });
}
