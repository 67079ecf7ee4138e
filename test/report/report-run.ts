/** A finished store for tests of the report: a small corpus with seeds and a raw part, or one whose names and captions are hostile. */
import { cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { run } from '../../src/cli/run.ts';
import { loadRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { drawSmallRun } from '../helpers/small-run.ts';

export interface ReportRun {
  readonly folder: string;
  readonly recipePath: string;
  readonly store: string;
}

/** Texts that must be shown as they are and do nothing. */
export const HOSTILE = [
  '<script>globalThis.hit = 1</script>',
  '"><img src=x onerror="globalThis.hit = 2">',
  '</title></style></script><script>globalThis.hit = 3</script>',
  "' onmouseover='globalThis.hit = 4",
  '\u202eTHGIR OT TFEL\u202d \u0627\u0644\u0639\u0631\u0628\u064a\u0629',
  '👩‍👩‍👧‍👦 🇺🇳 emoji',
  '&lt;b&gt; &amp;',
  'x'.repeat(10_240),
];

/** The whole road in this process. */
export async function runInto(folder: string, recipePath: string, store = 'store'): Promise<ReportRun> {
  const loaded = await loadRecipe(recipePath);
  await run({ loaded, store: join(folder, store), until: 'shard', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal });
  return { folder, recipePath, store: join(folder, store) };
}

/** 400 drawn pictures of 20 concepts, some of them damaged, some there twice, some as evaluation set; filtered, deduplicated, decontaminated. */
export async function drawReportRun(folder: string): Promise<ReportRun> {
  const { recipePath } = await drawSmallRun(folder, 400, {
    filters: [{ name: 'blank', flat: {} }],
    dedup: { near: { threshold: 0.985 } },
    decontaminate: [{ name: 'benchmark', sources: [{ folder: './benchmark' }] }],
    sample: { target: 60 },
  });
  const pictures = (await readdir(join(folder, 'pool'), { recursive: true })).filter((name) => name.endsWith('.jpg')).sort();
  for (const to of ['pool/copies', 'benchmark']) await mkdir(join(folder, to));
  for (const [i, name] of pictures.entries()) {
    if (i % 40 === 5) await cp(join(folder, 'pool', name), join(folder, 'pool/copies', `${i}.jpg`));
    if (i % 100 === 50) await cp(join(folder, 'pool', name), join(folder, 'benchmark', `${i}.jpg`));
  }
  return runInto(folder, recipePath);
}

/** A list whose labels, captions and metadata are hostile, and that names files outside its folder. */
export async function drawHostileRun(folder: string): Promise<ReportRun> {
  await drawSmallRun(folder, 120);
  const files = (await readdir(join(folder, 'pool'), { recursive: true })).filter((name) => name.endsWith('.jpg')).sort();
  const rows = files.map((uri, i) => ({ uri, what: HOSTILE[i % HOSTILE.length], caption: HOSTILE[(i + 1) % HOSTILE.length], '<script>globalThis.hit = 5</script>': HOSTILE[(i * 3) % 4], licence: i % 2 === 0 ? 'free' : 'not "free"' }));
  const outside = { uri: '../secret.jpg', what: 'outside', caption: 'outside' };
  await writeFile(join(folder, 'secret.jpg'), 'not for this page');
  await writeFile(join(folder, 'pool', 'list.jsonl'), `${[...rows, outside].map((row) => JSON.stringify(row)).join('\n')}\n`);
  const recipePath = join(folder, 'hostile.yaml');
  await writeFile(recipePath, stringify({ format: 'winnow-recipe/1', name: HOSTILE[0]!, pool: [{ list: './pool/list.jsonl', label: { column: 'what' } }], cluster: { levels: [20, 10, 5] }, sample: { target: 30 } }));
  return runInto(folder, recipePath);
}
