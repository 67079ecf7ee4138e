/** The test files of image libraries through the command line: every one ends as `ok` or as a row with a reason. */
import { mkdtempSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { EMBEDDING_STATUSES } from '../../src/embed/embedding.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { expectNothingHalfWritten, winnow } from '../helpers/winnow.ts';

const FILES = 199;

it(`takes 199 odd files: exit 0, each counted once by what became of it`, async (context) => {
  const reason = withoutSharedData();
  if (reason !== null) return context.skip(reason);
  const folder = mkdtempSync(join(tmpdir(), 'winnow-odd-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const recipe = {
    format: 'winnow-recipe/1',
    name: 'odd',
    pool: [{ name: 'odd', list: join(sharedData, 'odd-images', 'manifest.csv'), column: 'file', label: { column: 'category' } }],
    embed: { maxDropRatio: 1 },
    sample: { target: '50%' },
  };
  await writeFile(join(folder, 'odd.yaml'), stringify(recipe));
  const store = join(folder, 'store');
  const { code, stdout, stderr } = await winnow(['run', join(folder, 'odd.yaml'), '--store', store, '--json', '--quiet']);
  expect(code, stderr).toBe(0);
  await expectNothingHalfWritten(store);

  const { funnel } = JSON.parse(stdout) as { funnel: { listed: number; rejected: Record<string, number>; setAside: number; notDrawn: number; selected: number } };
  const rejected = Object.values(funnel.rejected).reduce((sum, count) => sum + count, 0);
  expect(funnel.listed).toBe(FILES);
  expect(rejected + funnel.setAside + funnel.notDrawn + funnel.selected).toBe(FILES);
  expect(Object.keys(funnel.rejected)).toEqual(expect.arrayContaining(['not-an-image', 'unsupported-format', 'truncated', 'corrupt', 'too-many-pixels']));

  const { parts } = JSON.parse(await readFile(join(store, 'embeddings', 'manifest.json'), 'utf8')) as { parts: { path: string }[] };
  const statuses: string[] = [];
  const labels: (string | null)[] = [];
  for (const { path } of parts) statuses.push(...(decodeTable(await readFile(join(store, path)), path).strings('status') as string[]));
  for (const { path } of (JSON.parse(await readFile(join(store, 'images', 'manifest.json'), 'utf8')) as { parts: { path: string }[] }).parts) {
    labels.push(...decodeTable(await readFile(join(store, path)), path).strings('label'));
  }
  expect(statuses).toHaveLength(FILES);
  expect(statuses.filter((status) => !(EMBEDDING_STATUSES as readonly string[]).includes(status))).toEqual([]);
  const of = (label: string): string[] => statuses.filter((_, row) => labels[row] === label);
  for (const whole of ['exif-orientation', 'cmyk']) expect(new Set(of(whole)), whole).toEqual(new Set(['ok']));
  expect(of('unsupported-format')).not.toContain('ok');
  // A whole JPEG with bytes after its end is the one image among them.
  expect(of('not-image').filter((status) => status === 'ok')).toHaveLength(1);
});
