/** Programs of users: what they are given, and every way they can go wrong, each one coded error in one sentence. */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { WinnowError } from '../../src/errors.ts';
import { readManifest } from '../../src/run/manifest.ts';
import { noise, picture, toSharp } from '../fixtures/images.ts';
import { answers, decisions, program } from './command-programs.ts';
import { type FilterRun, type Filtered, folderOf, openFilterRun } from './filter-run.ts';

const CONSUMERS = fileURLToPath(new URL('../consumers', import.meta.url));
const withArrow = ['python3', '/usr/bin/python3', ...(process.env.PYTHON_WITH_ARROW ? [process.env.PYTHON_WITH_ARROW] : [])].find((python) => spawnSync(python, ['-c', 'import pyarrow']).status === 0);

let images: string;
const openFiles = async (more: Parameters<typeof openFilterRun>[1] = {}): Promise<FilterRun> => {
  images = await folderOf({
    'a.png': await toSharp(noise(30, 20)).png().toBuffer(),
    'b.png': await toSharp(picture(50, 40)).png().toBuffer(),
    'c.png': 'text',
    'd.png': await toSharp(noise(12, 12)).png().toBuffer(),
  });
  return openFilterRun({ folder: images, label: 'parent' }, more);
};
const ask = (run: FilterRun, words: readonly string[], more: object = {}, before: readonly object[] = []): Promise<Filtered> => run.filter([...before, { name: 'mine', command: { run: words, version: '1', ...more } }]);

describe('a program', () => {
  it('gets every row with what is known of it, and its decisions and reasons are taken', async () => {
    const run = await openFiles();
    const script = `
import json, sys
sys.path.insert(0, ${JSON.stringify(CONSUMERS)})
from winnow_filter import *
seen = []
def decide(row):
    seen.append(row)
    return None if row["width"] > 40 else "narrow\\n" + str(row["width"])
class Both:
    def __init__(self, file): self.file, self.rows = file, []
    def read(self, n):
        some = self.file.read(n); self.rows.append(some); return some
source = Both(sys.stdin.buffer)
run(decide, source)
import io
rows = [dict(zip(batch, values)) for batch in read_rows(io.BytesIO(b"".join(source.rows))) for values in zip(*batch.values())]
for row in rows: row["image"] = row["image"].hex(); row["embedding"] = row["embedding"] and len(row["embedding"])
open(sys.argv[1], "w").write(json.dumps(rows))
`;
    const folder = await folderOf({ 'look.py': script });
    const { reason, detail } = await ask(run, ['python3', join(folder, 'look.py'), join(folder, 'seen.json')], { columns: ['embedding', 'image'] }, [{ name: 'tiny', size: { sideMin: 15 } }]);
    expect(reason).toEqual({ 'pool/a.png': 'filter:mine', 'pool/b.png': null, 'pool/c.png': null, 'pool/d.png': 'filter:tiny' });
    expect(detail['pool/a.png']).toBe('narrow 30');
    const seen = JSON.parse(await readFile(join(folder, 'seen.json'), 'utf8')) as Record<string, unknown>[];
    const hex = async (name: string): Promise<string> => (await readFile(join(images, name))).toString('hex');
    expect(seen.map(({ row, uri, label, width, height, status }) => [row, uri, label, width, height, status])).toEqual([
      [0, 'pool/a.png', null, 30, 20, 'ok'],
      [1, 'pool/b.png', null, 50, 40, 'ok'],
      [2, 'pool/c.png', null, 0, 0, 'not-an-image'],
      [3, 'pool/d.png', null, 12, 12, 'filter:tiny'],
    ]);
    expect(seen.map(({ image }) => image)).toEqual([await hex('a.png'), await hex('b.png'), '', '']);
    expect(seen.map(({ embedding }) => embedding)).toEqual([396, 396, null, 396]);
    expect(seen[0]!.id).toMatch(/^[0-9a-f]{32}$/);
  });

  it('may be written with pyarrow', async (context) => {
    if (withArrow === undefined) return context.skip('no python3 with pyarrow here');
    const run = await openFiles();
    const script = `
import pyarrow as pa, pyarrow.compute as pc, sys
out = None
for batch in pa.ipc.open_stream(sys.stdin.buffer):
    keep = pc.greater(batch.column("width"), 40)
    rows = pc.cast(batch.column("row"), pa.int64())
    table = pa.table({"row": rows, "keep": keep, "reason": pa.array(["narrow"] * batch.num_rows).dictionary_encode()})
    out = out or pa.ipc.new_stream(sys.stdout.buffer, table.schema)
    out.write_table(table, max_chunksize=1)
out.close()
`;
    const folder = await folderOf({ 'f.py': script });
    const { reason, detail } = await ask(run, [withArrow, join(folder, 'f.py')]);
    expect(reason).toEqual({ 'pool/a.png': 'filter:mine', 'pool/b.png': null, 'pool/c.png': null, 'pool/d.png': 'filter:mine' });
    expect(detail['pool/d.png']).toBe('narrow');
  });

  it('is not started where no row is left to ask about, and may end without reading when it knows', async () => {
    const run = await openFiles();
    await expect(ask(run, ['no-such-program'], {}, [{ name: 'all', size: { sideMin: 1000 } }])).rejects.toMatchObject({ code: 'TOO_FEW_ROWS' });
    const early = decisions([[0, true], [1, false, 'no'], [3, true]]);
    const words = [process.execPath, '-e', `process.stdout.write(Buffer.from('${Buffer.from(early).toString('base64')}', 'base64'))`];
    const { reason } = await ask(run, words, { columns: ['image'] });
    expect(reason).toEqual({ 'pool/a.png': null, 'pool/b.png': 'filter:mine', 'pool/c.png': null, 'pool/d.png': null });
  });

  it('may say something on rows that are out already, and nothing comes of it', async () => {
    const run = await openFiles();
    const { reason } = await ask(run, answers(decisions([[3, true], [2, false], [0, true], [1, true]])));
    expect(new Set(Object.values(reason))).toEqual(new Set([null]));
  });
});

describe('a program that goes wrong', () => {
  const whole: (readonly [number, boolean])[] = [[0, true], [1, true], [3, true]];
  const faults: readonly (readonly [name: string, words: () => string[], sentence: RegExp])[] = [
    ['cannot be started', () => ['no-such-program', 'x'], /filter "mine" \(no-such-program x\) on rows 0 … 3; it could not be started: ENOENT$/],
    ['fails', () => program('console.error("Traceback\\n  line\\nValueError: bad thing"); process.exitCode = 3'), /; it ended with exit code 3; it said: ValueError: bad thing$/],
    ['is killed', () => program('process.kill(process.pid, "SIGKILL")'), /; it was ended by SIGKILL$/],
    ['writes nothing', () => program(''), /; it wrote nothing$/],
    ['writes text', () => program('console.log("keep all")'), /; it wrote 9 bytes that are no Arrow IPC stream$/],
    ['writes half a table', () => answers(decisions(whole).subarray(0, 200)), /; it (wrote 200 bytes that are no Arrow IPC stream|left out 3 of 3, the first is row 0)$/],
    ['leaves rows out', () => answers(decisions([[0, true], [3, false]])), /; it left out 1 of 3, the first is row 1$/],
    ['says a thing twice', () => answers(decisions([...whole, [1, false]])), /; it decided twice on row 1$/],
    ['decides on other rows', () => answers(decisions([...whole, [4, false]])), /; it decided on row 4, which it was not asked about$/],
    ['decides on negative rows', () => answers(decisions(whole, { row: { type: 'float32', values: Float32Array.of(-1, 1, 2) } })), /; it wrote Float32 in column "row" where whole numbers are wanted$/],
    ['has no column', () => answers(decisions(whole, { keep: { type: 'utf8', values: ['yes', 'yes', 'no'] } })), /; it wrote Utf8 in column "keep" where booleans are wanted$/],
    ['writes too much', () => program('process.stdout.write(Buffer.alloc(2 ** 21))'), /; it wrote more than 1064960 bytes$/],
  ];

  it.each(faults)('%s', async (_name, words, sentence) => {
    const run = await openFiles();
    const error = await ask(run, words()).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(WinnowError);
    expect(error).toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(sentence) });
    expect((error as Error).message).not.toContain('\n');
    expect(await readManifest(run.context.store, 'filters')).toBeNull();
  });

  it('and takes too long is ended with all it started, also when it will not', async () => {
    const run = await openFiles();
    const started = performance.now();
    const stubborn = "process.on('SIGTERM', () => {}); require('node:child_process').spawn('sleep', ['3017'], { stdio: 'inherit' }); setInterval(() => {}, 1000)";
    await expect(ask(run, [process.execPath, '-e', stubborn], { timeoutSeconds: 1.5 })).rejects.toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(/it took longer than 1\.5 s$/) });
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(spawnSync('ps', ['-eo', 'args']).stdout.toString()).not.toMatch(/^sleep 3017$/m);
  });

  it('is stopped with the run', async () => {
    const stop = new AbortController();
    const run = await openFiles({ signal: stop.signal });
    setTimeout(() => stop.abort(), 1_000);
    await expect(ask(run, [process.execPath, '-e', 'setInterval(() => {}, 1000)'])).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
