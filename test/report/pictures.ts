/**
 * Makes the pictures of the README from a report: the two sheets, and the funnel with the balance.
 *
 *   npm start && npx tsx test/report/pictures.ts ./winnow-out/report.html docs
 */
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { openChromium, openOffline } from '../helpers/chromium.ts';

/** A page narrow enough to be read at the width of a README. */
const LOOK = { width: 1120, scheme: 'light' } as const;
/** What a picture does without: what can be opened, and what can be pressed. */
const PICTURE_CSS = 'nav.top, .from, details, #balance > .scroll, #balance > p { display: none !important } h2 { border: 0 !important; margin-top: 16px !important } section { padding: 0 16px 12px } main { padding: 0 !important }';

const [report = './winnow-out/report.html', folder = 'docs'] = process.argv.slice(2);
const browser = await openChromium();
try {
  const { page } = await openOffline(browser, pathToFileURL(resolve(report)).href, LOOK, { bypassCSP: true });
  await page.addStyleTag({ content: PICTURE_CSS });
  await save('before-after', await page.locator('#before-after').screenshot());
  await page.evaluate(() => (globalThis as unknown as { scrollTo(x: number, y: number): void }).scrollTo(0, 0));
  const [top, bottom] = [await page.locator('#funnel').boundingBox(), await page.locator('#balance').boundingBox()];
  await save('funnel', await page.screenshot({ fullPage: true, clip: { x: top!.x, y: top!.y, width: top!.width, height: bottom!.y + bottom!.height - top!.y } }));
} finally {
  await browser.close();
}

/** 128 colours keep photographs of this size recognisable in a fifth of the bytes. */
async function save(name: string, png: Uint8Array): Promise<void> {
  const path = join(folder, `${name}.png`);
  const { size } = await sharp(png).png({ palette: true, colours: 128, dither: 0.6, effort: 10 }).toFile(path);
  process.stdout.write(`${path}: ${Math.round(size / 1000)} kB\n`);
}
