/** Debian's Chromium, driven by playwright-core, where it is installed; and what must hold of any page of ours. */
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
/** What a browser may take over one thing on a busy machine. */
export const PATIENCE_MS = 120_000;
/** Git ignores it. */
export const SCREENSHOTS = fileURLToPath(new URL('../../test-output', import.meta.url));

/** Why browser tests are skipped, or null when there is a browser. */
export function withoutChromium(): string | null {
  return PATHS.some((path) => existsSync(path)) ? null : `no Chromium at ${PATHS.join(', ')}: skipped; on Debian, apt-get install chromium`;
}

export function openChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: PATHS.find((path) => existsSync(path))!, args: ['--no-sandbox', '--disable-dev-shm-usage'], timeout: PATIENCE_MS });
}

export interface Look {
  readonly width: number;
  readonly scheme: 'light' | 'dark';
}

export const LOOKS: readonly Look[] = [{ width: 1280, scheme: 'light' }, { width: 1280, scheme: 'dark' }, { width: 400, scheme: 'light' }, { width: 400, scheme: 'dark' }];

export interface OpenPage {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Errors and warnings of the console, and requests that were refused. */
  readonly faults: string[];
}

/** A page with the network off: anything it asks for but the file itself is a fault. */
export async function openOffline(browser: Browser, url: string, { width, scheme }: Look, options: { bypassCSP?: boolean; javaScriptEnabled?: boolean } = {}): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  await context.setOffline(true);
  const faults: string[] = [];
  await context.route('**', (route) => {
    const asked = route.request().url();
    if (asked === url || asked.startsWith('data:')) return route.continue();
    faults.push(`asked for ${asked}`);
    return route.abort();
  });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') faults.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`threw ${error.message}`));
  page.on('dialog', (dialog) => {
    faults.push(`dialog ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(url);
  return { page, context, faults };
}

/** Serious and critical violations that axe-core finds. The page must have been opened with `bypassCSP`. */
export async function axeViolations(page: Page): Promise<string[]> {
  await page.addScriptTag({ content: await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8') });
  const found = await page.evaluate(async () => {
    type Results = { violations: { id: string; impact: string; nodes: { html: string; failureSummary?: string }[] }[] };
    const { axe } = globalThis as unknown as { axe: { run(): Promise<Results> } };
    return (await axe.run()).violations;
  });
  return found.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary?.slice(0, 200) ?? ''}`).join(' | ')} (${nodes.length})`);
}

/** Where a screenshot goes. */
export async function screenshotPath(name: string): Promise<string> {
  await mkdir(SCREENSHOTS, { recursive: true });
  return join(SCREENSHOTS, `${name}.png`);
}
