/** The atlas and the live page in a real browser: walked, dropped on, curated, followed, looked at. */
import { mkdtempSync } from 'node:fs';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { parse, stringify } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LOOKS, type Look, PATIENCE_MS, axeViolations, openChromium, screenshotPath, withoutChromium } from '../helpers/chromium.ts';
import { drawSmallRun } from '../helpers/small-run.ts';
import { startWinnow } from '../helpers/winnow.ts';
import { MADE, makeStore, serveLiveSite, serveSite } from './made-site.ts';

const why = withoutChromium();
if (why !== null) process.stderr.write(`pages.browser.test.ts: ${why}\n`);

/** What this file needs of the page's own globals. */
declare const document: { readonly documentElement: { readonly scrollWidth: number }; querySelectorAll(selector: string): ArrayLike<{ readonly complete: boolean; readonly naturalWidth: number }> };
declare const PerformanceObserver: new (seen: (list: { getEntries(): { value: number; hadRecentInput: boolean }[] }) => void) => { observe(options: object): void };

interface Open {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Errors and warnings of the console, what was thrown, and requests to elsewhere. */
  readonly faults: string[];
}

async function open(browser: Browser, url: string, { width, scheme }: Look, options: { bypassCSP?: boolean } = {}): Promise<Open> {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const faults: string[] = [];
  const page = await context.newPage();
  page.on('console', (message) => (message.type() === 'error' || message.type() === 'warning') && faults.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => faults.push(`threw ${error.message}`));
  page.on('request', (request) => new URL(request.url()).origin !== new URL(url).origin && !request.url().startsWith('data:') && faults.push(`asked for ${request.url()}`));
  await page.goto(url);
  return { page, context, faults };
}

/** Nothing sticks out, and no picture that has been asked for is broken. */
async function expectWhole(page: Page, width: number): Promise<void> {
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
  // Pictures further down are asked for when somebody comes near.
  await page.waitForTimeout(400);
  const broken = await page.evaluate(() => Array.from(document.querySelectorAll('img')).filter(({ complete, naturalWidth }) => complete && naturalWidth === 0).length);
  expect(broken).toBe(0);
}

describe.skipIf(why !== null)('the pages in a browser', () => {
  let browser: Browser;
  let folder: string;
  let site: { url: string; close(): Promise<void> };
  beforeAll(async () => {
    browser = await openChromium();
    folder = mkdtempSync(join(tmpdir(), 'winnow-pages-'));
    const { store } = await makeStore(folder, 600);
    site = await serveSite(store);
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it.each(LOOKS)('are whole and without a fault at $width px, $scheme', async (look) => {
    const { page, context, faults } = await open(browser, `${site.url}/atlas`, look);
    for (const [name, path] of [['top', '/atlas'], ['node', '/atlas/node/5/0'], ['leaf', '/atlas/node/1/0'], ['image', '/atlas/image/7'], ['near', '/atlas/near/row/7'], ['by-hand', '/atlas/overrides'], ['live', '/live']] as const) {
      await page.goto(`${site.url}${path}`, { waitUntil: 'load' });
      await expectWhole(page, look.width);
      await page.screenshot({ path: await screenshotPath(`pages-${name}-${look.width}-${look.scheme}`), fullPage: true });
    }
    expect(faults).toEqual([]);
    await context.close();
  });

  it.each(LOOKS.slice(0, 2))('have nothing that axe calls serious, $scheme', async (look) => {
    const { page, context } = await open(browser, `${site.url}/atlas`, look, { bypassCSP: true });
    for (const path of ['/atlas', '/atlas/node/5/0', '/atlas/node/1/0', '/atlas/image/7', '/atlas/near/row/7', '/atlas/overrides', '/live', '/no-such-page']) {
      await page.goto(`${site.url}${path}`);
      if (path === '/atlas') expect(await page.locator('svg.map a').count()).toBeGreaterThan(5);
      expect(await axeViolations(page), path).toEqual([]);
    }
    await context.close();
  });

  it('let the tree be walked three levels down by keyboard, without a shift of what is shown', async () => {
    const { page, context, faults } = await open(browser, `${site.url}/atlas`, LOOKS[0]!);
    for (let level = 5; level >= 3; level--) {
      const link = page.locator('.nodes h3 a').first();
      await link.focus();
      await page.keyboard.press('Enter');
      await page.waitForURL(`**/atlas/node/${level}/*`);
      expect(await page.locator('h1').textContent()).toMatch(new RegExp(`^Cluster \\d+ of level ${level}$`));
      expect(await page.locator('nav.crumbs li').count()).toBe(7 - level);
    }
    await page.waitForTimeout(300);
    const shift = await page.evaluate(() => new Promise<number>((resolve) => {
      let sum = 0;
      new PerformanceObserver((list) => {
        for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) sum += value;
      }).observe({ type: 'layout-shift', buffered: true });
      setTimeout(() => resolve(sum), 200);
    }));
    expect(shift).toBeLessThan(0.02);
    await page.locator('nav.crumbs a').first().click();
    await page.waitForURL('**/atlas');
    await page.keyboard.press('Tab');
    expect(await page.locator(':focus').textContent()).toBe('To the content');
    expect(faults).toEqual([]);
    await context.close();
  });

  it('find the like of a picture that is dropped', async () => {
    const concept = (await readdir(join(folder, 'pool'), { withFileTypes: true })).find((entry) => entry.isDirectory())!.name;
    const name = (await readdir(join(folder, 'pool', concept))).find((one) => one.endsWith('.jpg'))!;
    const { page, context, faults } = await open(browser, `${site.url}/atlas`, LOOKS[0]!);
    const bytes = (await readFile(join(folder, 'pool', concept, name))).toString('base64');
    const transfer = await page.evaluateHandle((encoded) => {
      type Transfer = { items: { add(file: unknown): void } };
      const { DataTransfer, File, atob } = globalThis as unknown as { DataTransfer: new () => Transfer; File: new (parts: unknown[], name: string, options: object) => unknown; atob(text: string): string };
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0))], 'dropped.jpg', { type: 'image/jpeg' }));
      return data;
    }, bytes);
    await page.dispatchEvent('main', 'drop', { dataTransfer: transfer });
    await page.waitForURL('**/atlas/near/picture/*');
    expect(await page.locator('h1').textContent()).toBe('Like your picture');
    expect(await page.locator('.pictures img').first().getAttribute('alt')).toBe(`pool/${concept}/${name}`);
    await expectWhole(page, 1280);
    expect(faults).toEqual([]);
    await context.close();
  });

  it('show the quota change when a branch is excluded, and give the YAML to keep it', async () => {
    const { page, context, faults } = await open(browser, `${site.url}/atlas/node/5/0`, LOOKS[0]!);
    const quota = async (): Promise<string> => (await page.locator('dl.facts dd').nth(1).textContent()) ?? '';
    const before = await quota();
    expect(Number(before)).toBeGreaterThan(0);
    await page.getByRole('button', { name: /Exclude/ }).click();
    await expect.poll(quota).toBe(`${before} → 0`);
    await page.goto(`${site.url}/atlas`);
    expect(await page.locator('.nodes li.decided').count()).toBe(1);
    await page.screenshot({ path: await screenshotPath('pages-excluded'), fullPage: true });
    await page.getByRole('link', { name: /Look at it and save it/ }).click();
    expect(parse((await page.locator('pre').textContent())!)).toMatchObject({ overrides: { branches: [{ level: 5, cluster: 0, exclude: true }] } });
    await page.screenshot({ path: await screenshotPath('pages-by-hand-decided'), fullPage: true });
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: /Download/ }).click()]);
    expect(parse(await readFile(await download.path(), 'utf8'))).toMatchObject({ overrides: { branches: [{ exclude: true }] } });
    await page.getByRole('button', { name: /Take back the decision/ }).click();
    await page.waitForSelector('text=No branch is decided by hand');
    expect(faults).toEqual([]);
    await context.close();
  });

  it('follow a run from its start to its end, and through a lost connection', async () => {
    const { recipePath } = await drawSmallRun(join(folder, 'followed'), 700, MADE);
    const recipe = parse(await readFile(recipePath, 'utf8')) as Record<string, unknown>;
    await writeFile(recipePath, stringify({ ...recipe, execution: { concurrency: 1, threads: 1 } }));
    const store = join(folder, 'followed', 'store');
    await mkdir(store);
    const live = await serveLiveSite(store);
    const { page, context, faults } = await open(browser, `${live.url}/live`, LOOKS[0]!);
    await page.waitForSelector('text=no run yet');
    await page.waitForSelector('text=Connected');
    const running = startWinnow(['run', recipePath, '--store', store, '--quiet']);
    await page.waitForSelector('#state .state.running');
    await page.waitForFunction(() => (globalThis as unknown as { document: { title: string } }).document.title.includes('%'));
    await page.screenshot({ path: await screenshotPath('pages-live-running'), fullPage: true });
    await live.close();
    await page.waitForSelector('text=The connection is lost');
    const again = await serveLiveSite(store, Number(new URL(live.url).port));
    await page.waitForSelector('text=Connected');
    await page.waitForSelector('#state .state.done');
    expect((await running.ended).code).toBe(0);
    const stages = await page.locator('#stages tbody th').allTextContents();
    expect(stages).toEqual(expect.arrayContaining(['embeddings done', 'cluster done', 'shard done']));
    expect(await page.locator('#rates svg').count()).toBeGreaterThan(0);
    await page.screenshot({ path: await screenshotPath('pages-live-ended'), fullPage: true });
    expect(faults.filter((fault) => !/net::ERR_/.test(fault))).toEqual([]);
    await context.close();
    await again.close();
  });
});
