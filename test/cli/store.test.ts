/** What can befall a store: no permission, no space, damage, two runs at once, Ctrl-C. One sentence each, and the next run goes on. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { chmod, cp, mkdir, open, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { colourModel } from '../helpers/colour-model.ts';
import { type SmallRun, drawSmallRun } from '../helpers/small-run.ts';
import { storeHashes } from '../helpers/store-hashes.ts';
import { type Ended, expectDone, expectNothingHalfWritten, expectOneSentence, startWinnow, winnow } from '../helpers/winnow.ts';

let small: SmallRun;
/** A store that ran to its end without a break, and what it then holds. */
let whole: string;
let wholeEnded: Ended;
let expected: Record<string, string>;

beforeAll(async () => {
  small = await drawSmallRun(mkdtempSync(join(tmpdir(), 'winnow-stores-')), 300, { cluster: { levels: [50, 40, 30] }, sample: { target: 60 } });
  whole = join(small.folder, 'whole');
  wholeEnded = await winnow(['run', small.recipePath, '--store', whole]);
  expected = await storeHashes(whole);
});
afterAll(() => rm(small.folder, { recursive: true, force: true }));

const runIn = (store: string, ...options: string[]): string[] => ['run', small.recipePath, '--store', store, ...options];

/** A finished store to do harm to. */
async function copyOfWhole(name: string): Promise<string> {
  const store = join(small.folder, name);
  await cp(whole, store, { recursive: true });
  return store;
}

async function flipByte(path: string): Promise<void> {
  const file = await open(path, 'r+');
  const at = Math.floor((await file.stat()).size / 2);
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
  await file.write(Uint8Array.of(buffer[0]! ^ 1), 0, 1, at);
  await file.close();
}

describe('output', () => {
  it('is lines on stderr, one at the end of each stage, where that is no terminal; and the summary on stdout', () => {
    expect(wholeEnded.code, wholeEnded.stderr).toBe(0);
    expect(wholeEnded.stderr).not.toMatch(/[\x1b\r█]/);
    // Long lines go on, indented, after 80 columns.
    const lines = wholeEnded.stderr.replaceAll(/\n {4}/g, ' ');
    for (const stage of ['ingest', 'embeddings', 'cluster', 'sample', 'retrieve around', 'mix', 'shard']) expect(lines).toMatch(new RegExp(`^${stage}: .+ \\(\\d.*s\\)$`, 'm'));
    expect(wholeEnded.stdout).toMatch(/^Funnel\n/);
    expect(wholeEnded.stdout.trimEnd().endsWith(whole)).toBe(true);
  });

  it('with --json is one JSON text on stdout and NDJSON on stderr', async () => {
    const { code, stdout, stderr } = await winnow(runIn(await copyOfWhole('json'), '--json', '--force', 'sample'));
    expect(code).toBe(0);
    const { funnel, stages } = JSON.parse(stdout) as { funnel: { listed: number }; stages: Record<string, { sha256: string }> };
    expect(funnel.listed).toBe(300);
    expect(Object.keys(stages)).toContain('dataset');
    const events = stderr.trimEnd().split('\n').map((line) => JSON.parse(line) as { msg: string; event?: string });
    expect(events.some(({ event, msg }) => event === 'progress' && msg.startsWith('sample: 60 of 60'))).toBe(true);
  });
});

it('batches name a rank that the world has not', async () => {
  expectOneSentence(await winnow(['batches', whole, '--steps', '1', '--rank', '2', '--world-size', '2']), 2, /^CONFIG_INVALID: .*rank.*0 to 1.*got 2/);
});

describe('a store that cannot be', () => {
  it('a file', async () => {
    const path = join(small.folder, 'a-file');
    await writeFile(path, '');
    expectOneSentence(await winnow(runIn(path, '--quiet')), 2, /^STORE_DENIED: .*a-file.*a file, not a folder/);
    expectOneSentence(await winnow(['batches', path, '--steps', '1']), 2, /^STORE_DENIED: .*a-file/);
  });

  it('a folder without permission', async () => {
    const isRoot = process.getuid?.() === 0;
    const parent = join(small.folder, 'denied');
    await mkdir(parent);
    await chmod(parent, 0o555);
    await chmod(small.folder, 0o755);
    // Root is never denied, but may run as somebody who is.
    expectOneSentence(await winnow(runIn(join(parent, 'store'), '--quiet'), isRoot ? { uid: 65_534 } : {}), 2, /^STORE_DENIED: .*permission denied/);
    expect(await readdir(parent)).toEqual([]);
  });

  it('a disk that is full; with more space the next run goes on', async (context) => {
    const disk = join(small.folder, 'disk');
    await mkdir(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', disk], { stdio: 'ignore' });
    } catch {
      return context.skip('no permission to mount a small tmpfs: skipped');
    }
    try {
      const ended = await winnow(runIn(disk, '--quiet'));
      expectOneSentence(ended, 1, /^STORE_FULL: Could not write \S+: the disk is full/);
      await expectNothingHalfWritten(disk);
      execFileSync('mount', ['-o', 'remount,size=16m', disk]);
      expectDone(await winnow(runIn(disk, '--quiet')));
      expect(await storeHashes(disk)).toEqual(expected);
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});

describe('a damaged store', () => {
  it('a part with a flipped bit is noticed, and the remedy that is named mends it', async () => {
    const store = await copyOfWhole('damaged');
    const part = join(store, 'embeddings', 'part-00000.arrow');
    expect(await winnow(['inspect', part])).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/part-00000\.arrow: Arrow IPC file, 300 rows/) });
    await flipByte(part);
    expectOneSentence(await winnow(['inspect', part]), 1, /^CHECKSUM_MISMATCH: .*embeddings\/part-00000\.arrow/);
    const ended = await winnow(runIn(store, '--quiet', '--force', 'cluster'));
    expectOneSentence(ended, 1, /^CHECKSUM_MISMATCH: .*embeddings\/part-00000\.arrow.*--force embed$/m);
    await expect(readFile(join(store, 'clusters', 'manifest.json'))).rejects.toThrow();
    expectDone(await winnow(runIn(store, '--quiet', '--force', 'embed')));
    expect(await storeHashes(store)).toEqual(expected);
  });

  it('so is a manifest, and a shard when batches are read', async () => {
    const store = await copyOfWhole('damaged-manifest');
    await writeFile(join(store, 'mixture', 'manifest.json'), '{');
    expectOneSentence(await winnow(runIn(store, '--quiet')), 2, /^INPUT_MALFORMED: .*mixture\/manifest\.json.*--force mix$/m);
    const [shard] = await readdir(join(store, 'dataset', 'shards'));
    await flipByte(join(store, 'dataset', 'shards', shard!));
    const { code, stderr } = await winnow(['batches', store, '--steps', '40']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^CHECKSUM_MISMATCH: .*--force shard\n$/);
  });

  it('seed vectors of another model are told from those of the pool', async () => {
    const store = await copyOfWhole('other-model');
    await writeFile(join(small.folder, 'colour.onnx'), colourModel({ limit: 256 }));
    const recipe = { ...(parse(await readFile(small.recipePath, 'utf8')) as object), embed: { model: './colour.onnx' } };
    await writeFile(join(small.folder, 'colour.yaml'), stringify(recipe));
    const other = join(small.folder, 'other');
    expect(await winnow(['embed', join(small.folder, 'colour.yaml'), '--store', other, '--quiet'])).toMatchObject({ code: 0 });
    // Under the other store's hash of settings the vectors pass for those of this recipe.
    const seeds = 'seeds/around/embeddings';
    const read = async (root: string): Promise<{ configHash: string }> => JSON.parse(await readFile(join(root, seeds, 'manifest.json'), 'utf8'));
    const { configHash } = await read(store);
    await cp(join(other, seeds), join(store, seeds), { recursive: true });
    await writeFile(join(store, seeds, 'manifest.json'), JSON.stringify({ ...(await read(other)), configHash }));
    expectOneSentence(await winnow(runIn(store, '--quiet')), 2, /^DIMENSION_MISMATCH: .*\b6\b/);
    await expectNothingHalfWritten(store);
  });
});

describe('a store in use', () => {
  it('is refused to a second run; Ctrl-C ends the first cleanly; the next goes on and gives the same bytes', async () => {
    const store = join(small.folder, 'stopped');
    const first = startWinnow(runIn(store));
    await first.saw('Embedding with');
    first.child.kill('SIGSTOP');
    expectOneSentence(await winnow(runIn(store, '--quiet')), 2, new RegExp(`^STORE_BUSY: .*process ${first.child.pid}\\b`));
    first.child.kill('SIGINT');
    first.child.kill('SIGCONT');
    const { code, stdout, stderr } = await first.ended;
    expect([code, stdout]).toEqual([130, '']);
    expect(stderr).toMatch(/Stopping after the work under way.*\nStopped\. The next run goes on from here\.\n$/);
    await expectNothingHalfWritten(store);
    expect(await readdir(join(store))).not.toContain('clusters');
    const next = await winnow(runIn(store, '--quiet'));
    expectDone(next);
    expect(await storeHashes(store)).toEqual(expected);
  });

  it('may be read, also from a read-only disk', async (context) => {
    const store = await copyOfWhole('read-only');
    try {
      execFileSync('mount', ['--bind', store, store], { stdio: 'ignore' });
    } catch {
      return context.skip('no permission to mount: skipped');
    }
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', store]);
      expect(await winnow(['inspect', store])).toMatchObject({ code: 0, stderr: '' });
      const { code, stderr } = await winnow(['batches', store, '--steps', '2']);
      expect([code, stderr]).toEqual([0, '']);
      expectOneSentence(await winnow(runIn(store, '--quiet')), 2, /^STORE_DENIED: .*read-only/);
    } finally {
      execFileSync('umount', [store]);
    }
  });
});

it('on a terminal, a run that fails in the middle of a stage ends, and gives the cursor back', (context) => {
  try {
    execFileSync('script', ['--version'], { stdio: 'ignore' });
  } catch {
    return context.skip('no `script` to open a pseudo terminal with: skipped');
  }
  const recipe = join(small.folder, 'strict.yaml');
  const bad = join(small.folder, 'bad');
  const command = `stty cols 80; printf 'format: winnow-recipe/1\\nname: x\\npool:\\n  - folder: ./bad\\n' > ${recipe}; mkdir -p ${bad}; for i in 1 2 3; do echo no > ${bad}/$i.jpg; done; exec ${process.execPath} --import tsx src/cli.ts run ${recipe} --store ${join(small.folder, 'tty')}`;
  const output = execFileSync('script', ['-qc', command, '/dev/null'], { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'] });
  expect(output).toMatch(/\x1b\[\?25l[\s\S]*\x1b\[\?25h[^\n]*TOO_MANY_DROPPED: .*3 of 3: 3 not-an-image/);
  expect(output.lastIndexOf('\x1b[?25h')).toBeGreaterThan(output.lastIndexOf('\x1b[?25l'));
});
