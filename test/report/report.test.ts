import { mkdtempSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHTML } from 'linkedom';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportStore } from '../../src/cli/report.ts';
import { type Report, makeReport } from '../../src/report/report.ts';
import { openByteReader } from '../../src/ingest/bytes.ts';
import { openStore } from '../../src/store/open.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { HOSTILE, type ReportRun, drawHostileRun, drawReportRun, runInto } from './report-run.ts';

const signal = new AbortController().signal;
const FLAGS = { source: [], sizeMb: 8, steps: 1000 };

let small: ReportRun;
let html: string;
beforeAll(async () => {
  small = await drawReportRun(mkdtempSync(join(tmpdir(), 'winnow-report-')));
  const output = join(small.folder, 'report.html');
  await reportStore(small.store, { ...FLAGS, output }, signal);
  html = await readFile(output, 'utf8');
});
afterAll(() => rm(small.folder, { recursive: true, force: true }));

async function report(store: string, locations: Record<string, string> = {}, sizeBytesMax = 8e6): Promise<Report> {
  const reader = openByteReader(locations);
  try {
    return await makeReport(await openStore(store, { readOnly: true }), { reader, sizeBytesMax, signal });
  } finally {
    await reader.close();
  }
}

const locations = (): Record<string, string> => ({ pool: join(small.folder, 'pool'), seeds: join(small.folder, 'seeds'), raw: join(small.folder, 'raw') });

describe('report', () => {
  it('has every section of a finished run', async () => {
    const { sections, outdated } = await report(small.store, locations());
    expect(sections).toEqual(['before-after', 'funnel', 'balance', 'columns', 'tree', 'clusters', 'duplicates', 'rejected', 'retrieval', 'mixture', 'inertia', 'lineage']);
    expect(outdated).toEqual([]);
  });

  it('shows every number that names a manifest field as it stands in that field', async () => {
    const { document } = parseHTML(html);
    const cited = [...document.querySelectorAll('data[data-source*="manifest.json#/"]')];
    expect(cited.length).toBeGreaterThan(60);
    for (const one of cited) {
      const [path, pointer] = one.getAttribute('data-source')!.split('#/');
      if (!/^[\w./-]+manifest\.json$/.test(path!)) continue;
      const manifest = JSON.parse(await readFile(join(small.store, path!), 'utf8')) as unknown;
      const found = pointer!.split('/').reduce((at: unknown, key: string) => (at as Record<string, unknown> | undefined)?.[key], manifest);
      if (typeof found === 'number') expect(Number(one.getAttribute('value')), `${path}#/${pointer}`).toBe(found);
    }
    // None is without a source.
    expect([...document.querySelectorAll('data')].filter((one) => (one.getAttribute('data-source') ?? '') === '')).toEqual([]);
  });

  it('adds up: what is found is what is out and what is kept', () => {
    const { document } = parseHTML(html);
    const rows = [...document.querySelectorAll('#funnel tbody tr')].map((row) => ({ name: row.querySelector('th')!.textContent, images: Number(row.querySelector('data')!.getAttribute('value')), out: row.querySelector('td')!.textContent!.startsWith('−') }));
    const of = (name: string): number => rows.find((row) => row.name === name)!.images;
    const out = rows.filter((row) => row.out).reduce((sum, row) => sum + row.images, 0);
    expect(of('images found') - out).toBe(of('kept'));
    expect(of('kept')).toBe(60);
    expect(of('taken out: exact-duplicate')).toBeGreaterThanOrEqual(10);
    expect(rows.some(({ name }) => name!.startsWith('rejected: '))).toBe(true);
  });

  it('measures balance as the selection\'s own manifest does', async () => {
    const { stats } = JSON.parse(await readFile(join(small.store, 'selections/balanced/manifest.json'), 'utf8')) as { stats: { depth: number; levels: { before: { effective: number }; after: { effective: number; entropy: number } }[] } };
    const { document } = parseHTML(html);
    const rows = [...document.querySelectorAll('#balance table')][0]!.querySelectorAll('tbody tr');
    stats.levels.forEach(({ after }, l) => {
      const cells = [...rows[l]!.querySelectorAll('data')].map((one) => Number(one.getAttribute('value')));
      const [k, , effective, , entropy] = cells;
      expect(effective).toBe(after.effective);
      expect(entropy).toBeCloseTo(after.entropy / Math.log(k!), 9);
    });
  });

  it('gives the same bytes again, and names no folder of this machine', async () => {
    expect((await report(small.store, locations())).html).toBe((await report(small.store, locations())).html);
    expect(html).not.toContain(small.folder);
    expect(html).not.toContain(tmpdir());
  });

  it('asks for nothing from anywhere: no reference but to itself and to data', () => {
    const { document } = parseHTML(html);
    const references = [...document.querySelectorAll('[src], [href], link, iframe, object, embed, form')].flatMap((one) => [one.getAttribute('src'), one.getAttribute('href')]).filter((one) => one !== null);
    expect(references.filter((one) => !one!.startsWith('data:') && !one!.startsWith('#'))).toEqual([]);
    expect(html).not.toMatch(/url\(|@import|https?:\/\/(?!www\.w3\.org)/);
    expect(document.querySelector('meta[http-equiv="Content-Security-Policy"]')!.getAttribute('content')).toMatch(/^default-src 'none'; img-src data:; style-src 'sha256-[^;]+'; script-src 'sha256-[^;]+'; base-uri 'none'/);
  });

  it('makes the dataset again, byte for byte, with the recipe it shows', async () => {
    const { document } = parseHTML(html);
    await writeFile(join(small.folder, 'recipe.json'), document.querySelector('#recipe')!.textContent!);
    const { store } = await runInto(small.folder, join(small.folder, 'recipe.json'), 'again');
    expect(await readFile(join(store, 'dataset/manifest.json'), 'utf8')).toBe(await readFile(join(small.store, 'dataset/manifest.json'), 'utf8'));
  });

  it('keeps to its size by leaving thumbnails out, those of the least important section first', async () => {
    const whole = await report(small.store, locations());
    const tight = await report(small.store, locations(), 1_900_000);
    expect(whole.thumbnails.leftOut).toBe(0);
    expect(tight.thumbnails.leftOut).toBeGreaterThan(0);
    expect(tight.thumbnails.bytes).toBeLessThanOrEqual(400_000);
    expect(Buffer.byteLength(tight.html)).toBeLessThan(1_900_000);
    const { document } = parseHTML(tight.html);
    const missing = (id: string): number => document.querySelectorAll(`#${id} .missing`).length / document.querySelectorAll(`#${id} .cell`).length;
    expect(missing('before-after')).toBeLessThan(missing('retrieval'));
    expect(missing('retrieval')).toBeGreaterThan(0.5);
  });

  it('says which images are not at hand, and shows the rest', async () => {
    const { html: without, thumbnails } = await report(small.store, { pool: join(small.folder, 'gone') });
    expect([...thumbnails.faults.keys()].sort()).toEqual(['pool', 'seeds']);
    expect(without).toContain('--source pool=FOLDER');
    expect(parseHTML(without).document.querySelectorAll('#balance svg').length).toBeGreaterThan(0);
  });

  it('reports what is finished, and leaves out what was made from something older', async () => {
    const folder = await temporaryFolder();
    const { store } = await runInto(folder, small.recipePath);
    const selection = join(store, 'selections/balanced/manifest.json');
    const manifest = JSON.parse(await readFile(selection, 'utf8')) as { inputs: { sha256: string }[] };
    await writeFile(selection, JSON.stringify({ ...manifest, inputs: [{ stage: 'cluster', sha256: '0'.repeat(64) }] }));
    const stale = await report(store, locations());
    expect(stale.outdated).toContain('selections/balanced');
    expect(stale.sections).toEqual(expect.arrayContaining(['funnel', 'balance', 'tree', 'inertia', 'lineage']));
    expect(stale.sections).not.toContain('before-after');
    for (const path of ['selections', 'clusters', 'mixture', 'dataset', 'embeddings']) await rm(join(store, path), { recursive: true });
    const listed = await report(store, locations());
    expect(listed.sections).toEqual(['funnel', 'columns', 'lineage']);
    await rm(join(store, 'images'), { recursive: true });
    await expect(report(store)).rejects.toMatchObject({ code: 'INPUT_MISSING', message: expect.stringContaining('winnow ingest') });
  });

  it('says in one sentence that it cannot write', async () => {
    await expect(reportStore(small.store, { ...FLAGS, output: join(small.folder, 'no', 'such', 'folder.html') }, signal)).rejects.toMatchObject({ code: 'STORE_DENIED', message: expect.stringContaining('-o') });
  });
});

describe('report of hostile names', () => {
  it('shows them inert and bounded, and reads nothing outside the source', async () => {
    const { store, folder } = await drawHostileRun(await temporaryFolder());
    const { html: page } = await report(store, { list: join(folder, 'pool') });
    const { document } = parseHTML(page);
    // One script of ours and one block of data; no element that a text brought along.
    expect([...document.querySelectorAll('script')].map((one) => one.getAttribute('type'))).toEqual(['application/json', 'module']);
    expect([...document.querySelectorAll('*')].flatMap((one) => [...one.attributes]).filter(({ name }) => name.startsWith('on'))).toEqual([]);
    expect([...document.querySelectorAll('img')].filter((one) => !one.getAttribute('src')!.startsWith('data:image/webp;base64,'))).toEqual([]);
    expect(page).not.toContain('x'.repeat(300));
    expect(page).not.toMatch(/[\u202a-\u202e]/);
    expect(page).not.toContain(Buffer.from('not for this page').toString('base64'));
    // They are shown, though: as text.
    const text = document.querySelector('main')!.textContent!;
    expect(text).toContain(HOSTILE[0]);
    expect(text).toContain('👩‍👩‍👧‍👦');
    expect(document.querySelector('h1')!.textContent).toContain(HOSTILE[0]);
  });
});
