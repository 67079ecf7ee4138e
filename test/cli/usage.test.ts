/** Verbs and options: what is mistyped is named, with a suggestion, in one line; help and schema go to stdout. */
import { mkdtempSync } from 'node:fs';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { STAGES } from '../../pipelines/curate.ts';
import { recipeJsonSchema } from '../../src/config.ts';
import { expectOneSentence, winnow } from '../helpers/winnow.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-usage-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a mistake on the command line', () => {
  it.each<[string, string[], RegExp]>([
    ['an unknown verb', ['clustr', 'recipe.yaml'], /^error: unknown command 'clustr' \(Did you mean cluster\?\); try --help$/m],
    ['an unknown option', ['run', 'recipe.yaml', '--stroe', 'x'], /^error: unknown option '--stroe' \(Did you mean --store\?\); try --help$/m],
    ['a missing recipe', ['run'], /^error: missing required argument 'recipe'; try --help$/m],
    ['--steps 0', ['batches', 'store', '--steps', '0'], /^error: option '--steps <n>' argument '0' is invalid.*from 1 up, got 0/],
    ['an unknown stage to force', ['run', join(folder, 'r.yaml'), '--store', join(folder, 'forced'), '--force', 'clusters'], /^CONFIG_INVALID: .*got "clusters".*did you mean "cluster"/],
    ['a store of another kind', ['run', join(folder, 'r.yaml'), '--store', 'gs://bucket/x'], /^CONFIG_INVALID: .*gs:\/\//],
    ['an empty store', ['run', join(folder, 'r.yaml'), '--store', ''], /^CONFIG_INVALID: .*empty/],
  ])('%s', async (_, args, sentence) => {
    await writeFile(join(folder, 'r.yaml'), `format: winnow-recipe/1\nname: r\npool:\n  - folder: ${folder}\n`);
    expectOneSentence(await winnow(args, { cwd: folder }), 2, sentence);
    expect(await readdir(folder)).not.toContain('forced');
  });

  it('shows the verbs when there is none', async () => {
    const { code, stdout, stderr } = await winnow([]);
    expect([code, stdout]).toEqual([2, '']);
    for (const stage of STAGES) expect(stderr).toContain(`\n  ${stage} `);
  });
});

describe('reading what is not there', () => {
  it('batches of a folder that does not exist make none', async () => {
    const store = join(folder, 'nowhere');
    expectOneSentence(await winnow(['batches', store, '--steps', '1']), 2, /^INPUT_MISSING: .*nowhere/);
    await expect(stat(store)).rejects.toThrow();
  });

  it('batches of an unfinished store name the verb that finishes it', async () => {
    const store = join(folder, 'unfinished');
    await mkdir(store);
    expectOneSentence(await winnow(['batches', store, '--steps', '1']), 2, /^INPUT_MISSING: .*dataset\/manifest\.json.*`winnow shard`/);
    expect(await readdir(store)).toEqual([]);
  });

  it.each<[string, string, RegExp]>([
    ['nothing', 'absent', /^INPUT_MISSING: .*absent/],
    ['a file of something', 'random.bin', /^INPUT_MALFORMED: .*random\.bin: 8 bytes of something else/],
    ['a file that only begins like a table', 'broken.arrow', /^INPUT_MALFORMED: .*broken\.arrow/],
    ['a manifest that is none', 'stage', /^INPUT_MALFORMED: .*stage\/manifest\.json/],
    ['a folder of something', '.', /^INPUT_MALFORMED: .*store or a stage/],
  ])('inspect: %s', async (_, name, sentence) => {
    await writeFile(join(folder, 'random.bin'), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    await writeFile(join(folder, 'broken.arrow'), 'ARROW1\0\0 and then something that is no table ARROW1');
    await mkdir(join(folder, 'stage'), { recursive: true });
    await writeFile(join(folder, 'stage', 'manifest.json'), '{"format": "winnow-manifest", "version": 1}');
    expectOneSentence(await winnow(['inspect', join(folder, name)]), 2, sentence);
  });
});

it('prints the schema of recipes on stdout, and only that', async () => {
  const { code, stdout, stderr } = await winnow(['schema']);
  expect([code, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(recipeJsonSchema())));
});

it('has an example in the help of every verb that takes arguments', async () => {
  const verbs = ['run', 'levels', 'batches', 'inspect', 'demo'];
  const helps = await Promise.all(verbs.map((verb) => winnow([verb, '--help'])));
  helps.forEach(({ code, stdout }, i) => {
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Example:\\n {2}winnow ${verbs[i]} `));
  });
});
