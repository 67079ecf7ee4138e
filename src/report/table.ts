/** Tables of a page, and the numbers in them: each number names the manifest field or the table it comes from. */
import { createHash } from 'node:crypto';
import assert from 'node:assert/strict';
import { escapeHtml, shownText } from './page.ts';

/** A cell is HTML already: `cite`, `derive` or `shownText` made it. */
export interface Table {
  readonly caption: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Columns of numbers, from 0. */
  readonly numbers: readonly number[];
}

export type Format = (value: number) => string;

/** 1,234 */
export const whole: Format = (value) => Math.round(value).toLocaleString('en');
/** 12.3 */
export const tenth: Format = (value) => value.toLocaleString('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
/** 0.812 */
export const thousandth: Format = (value) => value.toFixed(3);
/** 12.3 %; small shares keep two digits. */
export const percent: Format = (value) => `${value === 0 || value >= 0.0995 ? (100 * value).toFixed(value === 0 ? 0 : 1) : (100 * value).toPrecision(2)} %`;

/** What a number can be traced to. */
export interface Cited {
  readonly path: string;
  readonly manifest: object;
}

/** A number that stands in a manifest, with the JSON pointer to it. @throws {AssertionError} when there is no number */
export function cite({ path, manifest }: Cited, pointer: string, format: Format = whole): string {
  const value = valueAt(manifest, pointer);
  assert(typeof value === 'number', `Expected a number at ${pointer} of ${path}/manifest.json, got ${String(value)}`);
  return number(value, `${path}/manifest.json#${pointer}`, format);
}

/** The same where the manifest has the field; otherwise the value as it was worked out from `source`. */
export function citeOr(cited: Cited, pointer: string, value: number, source: string, format: Format = whole): string {
  return hasNumber(cited, pointer) ? cite(cited, pointer, format) : derive(value, source, format);
}

/** Whether a manifest has a number there. */
export function hasNumber({ manifest }: Cited, pointer: string): boolean {
  return typeof valueAt(manifest, pointer) === 'number';
}

/** A number worked out from tables of the store. @param source the tables, such as `clusters/assignment, selections/balanced` */
export function derive(value: number, source: string, format: Format = whole): string {
  return number(value, source, format);
}

/** A name as one segment of a JSON pointer. */
export function pointerSegment(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** In a box of its own that scrolls sideways, reachable by keyboard. */
export function renderTable({ caption, head, rows, numbers }: Table): string {
  const isNumber = (i: number): string => (numbers.includes(i) ? ' class="n"' : '');
  const cells = rows.map((row) => `<tr>${row.map((cell, i) => (i === 0 ? `<th scope="row">${cell}</th>` : `<td${isNumber(i)}>${cell}</td>`)).join('')}</tr>`);
  return `<div class="scroll" role="region" tabindex="0" aria-label="${escapeHtml(caption)}"><table><caption>${escapeHtml(caption)}</caption>
<thead><tr>${head.map((name, i) => `<th scope="col"${isNumber(i)}>${escapeHtml(name)}</th>`).join('')}</tr></thead>
<tbody>${cells.join('\n')}</tbody></table></div>`;
}

/** A value of the corpus as a cell. */
export function cell(text: string): string {
  return shownText(text, 60);
}

/** An id for a chart from a name of the corpus: equal names give equal ids, and no name leaves the attribute. */
export function idOf(kind: string, name: string): string {
  return `${kind}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}

function valueAt(manifest: object, pointer: string): unknown {
  return pointer.split('/').slice(1).reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], manifest);
}

function number(value: number, source: string, format: Format): string {
  return `<data value="${value}" data-source="${escapeHtml(source)}">${escapeHtml(format(value))}</data>`;
}
