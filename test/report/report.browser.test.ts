/** The report in a real browser, from a file, with the network off. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportStore } from '../../src/cli/report.ts';
import { LOOKS, axeViolations, openChromium, openOffline, screenshotPath, withoutChromium } from '../helpers/chromium.ts';
import { drawHostileRun, drawReportRun } from './report-run.ts';

const why = withoutChromium();
if (why !== null) process.stderr.write(`report.browser.test.ts: ${why}\n`);

/** What this file needs of the page's own globals. */
interface Box { readonly width: number; readonly height: number }
interface Node { readonly id: string; getBoundingClientRect(): Box; querySelectorAll(selector: string): ArrayLike<Node>; querySelector(selector: string): Node | null }
declare const document: Node & { readonly documentElement: { readonly scrollWidth: number } };

describe.skipIf(why !== null)('the report in a browser', () => {
  let browser: Browser;
  let folder: string;
  let url: string;
  beforeAll(async () => {
    browser = await openChromium();
    folder = mkdtempSync(join(tmpdir(), 'winnow-report-browser-'));
    const { store } = await drawReportRun(folder);
    url = await writeReport(store, 'report.html');
  });
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function writeReport(store: string, name: string): Promise<string> {
    const output = join(folder, name);
    await reportStore(store, { output, source: [], sizeMb: 8, steps: 1000 }, new AbortController().signal);
    return pathToFileURL(output).href;
  }

  it.each(LOOKS)('opens offline without a fault at $width px, $scheme: every chart has its data, nothing sticks out', async (look) => {
    const { page, context, faults } = await openOffline(browser, url, look);
    const charts = await page.evaluate(() =>
      Array.from(document.querySelectorAll('figure.chart')).map((figure) => ({
        id: figure.id,
        marks: figure.querySelectorAll('svg [stroke^="var(--"] path, svg path[stroke^="var(--"], svg rect, svg circle').length,
        rows: figure.querySelectorAll('tbody tr').length,
        title: figure.querySelectorAll('svg > title, svg > desc').length,
        width: figure.querySelector('svg')!.getBoundingClientRect().width,
      })),
    );
    expect(charts.length).toBeGreaterThan(10);
    for (const { id, marks, rows, title, width } of charts) {
      expect(marks, id).toBeGreaterThan(0);
      expect(rows, id).toBeGreaterThan(0);
      expect(title, id).toBe(2);
      expect(width, id).toBeLessThanOrEqual(look.width);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(look.width);
    expect(await page.locator('#before-after img').count()).toBe(96 + 60);
    expect(faults).toEqual([]);
    await page.screenshot({ path: await screenshotPath(`report-${look.width}-${look.scheme}`), fullPage: true });
    await context.close();
  });

  it.each(LOOKS.slice(0, 2))('has nothing that axe calls serious, $scheme, tables and other levels opened', async (look) => {
    const { page, context } = await openOffline(browser, url, look, { bypassCSP: true });
    await page.evaluate(() => {
      for (const one of Array.from(document.querySelectorAll('details'))) (one as unknown as { open: boolean }).open = true;
    });
    expect(await axeViolations(page)).toEqual([]);
    await context.close();
  });

  it('lets the tree be walked by mouse and by keyboard, down to a leaf and back', async () => {
    const { page, context, faults } = await openOffline(browser, url, LOOKS[0]!);
    const path = page.locator('.map-path button');
    expect(await path.allTextContents()).toEqual(['All images']);
    const size = async (): Promise<number> => Number(/: ([\d,]+) images/.exec((await page.locator('.map-said').textContent()) ?? '')?.[1]?.replaceAll(',', ''));
    await page.locator('.map-field button').first().click();
    const first = await size();
    expect(await path.count()).toBe(2);
    // Focus is on the first group inside; Enter opens it.
    await page.keyboard.press('Enter');
    const second = await size();
    expect(second).toBeLessThanOrEqual(first);
    expect(await path.count()).toBe(3);
    while ((await page.locator('.map-field button').count()) > 0) await page.locator('.map-field button').first().press('Enter');
    expect(await path.count()).toBeGreaterThanOrEqual(5);
    for (let depth = await path.count(); depth > 1; depth--) await page.keyboard.press('Escape');
    expect(await path.allTextContents()).toEqual(['All images']);
    const before = await page.locator('.map-cell').first().getAttribute('aria-label');
    await page.locator('input[value="d"]').check();
    const kept = await page.locator('.map-cell').evaluateAll((cells) => cells.map((cell) => (cell as unknown as { getAttribute(name: string): string }).getAttribute('aria-label')));
    expect(kept).toContain(before);
    expect(faults).toEqual([]);
    await context.close();
  });

  it('shows the tree as a list where scripts are off', async () => {
    const { page, context } = await openOffline(browser, url, LOOKS[0]!, { javaScriptEnabled: false });
    expect(await page.locator('#map').isVisible()).toBe(false);
    await page.locator('#tree > details > summary').click();
    expect(await page.locator('#tree > details data').count()).toBeGreaterThan(10);
    await context.close();
  });

  it('runs nothing that hostile names, captions and metadata bring along', async () => {
    const hostile = mkdtempSync(join(folder, 'hostile-'));
    const { store } = await drawHostileRun(hostile);
    const { page, context, faults } = await openOffline(browser, await writeReport(store, 'hostile.html'), LOOKS[2]!);
    for (const summary of await page.locator('summary:visible').all()) await summary.click();
    await page.locator('.map-field button').first().click();
    expect(await page.evaluate(() => (globalThis as unknown as { hit?: number }).hit ?? null)).toBeNull();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(400);
    expect(faults).toEqual([]);
    await page.screenshot({ path: await screenshotPath('report-hostile'), fullPage: true });
    await context.close();
  });
});
