/**
 * Charts as inline SVG: the one door to Observable Plot, drawn on the server into linkedom's document. Colours are the page's
 * tokens, so one drawing serves light and dark; each chart has a title, a description and the same figures as a table.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { boundedText, escapeHtml } from './page.ts';
import { type Table, renderTable } from './table.ts';

/** A chart's words: unique id of letters, digits and dashes; where its figures come from. */
export interface ChartWords {
  readonly id: string;
  readonly title: string;
  /** What a reader who cannot see it should know. */
  readonly description: string;
  /** Tables and manifests of the store, as `data-source`. */
  readonly source: string;
  readonly table: Table;
  /** The table stands beside the chart; default: below it, closed. */
  readonly beside?: boolean;
}

/** A colour of the page: its token. */
export type Ink = 'pool' | 'selection' | 'random' | 'muted';

export interface Axis {
  readonly label: string;
  readonly type?: 'linear' | 'log';
  /** A d3 format such as `~s` or `.0%`. */
  readonly format?: string;
  readonly domain?: readonly [number, number];
  /** Marks at these values; default: about five round ones. */
  readonly ticks?: readonly number[];
}

export interface Line {
  readonly name: string;
  readonly ink: Ink;
  /** x and y; on a log axis above 0. */
  readonly points: readonly (readonly [number, number])[];
  readonly dashed?: boolean;
  /** Dots on the points. */
  readonly dots?: boolean;
}

/** Lines over two axes, named at their ends. */
export function lineChart(words: ChartWords, { x, y, lines }: { x: Axis; y: Axis; lines: readonly Line[] }): string {
  const marks = lines.flatMap(({ points, ink, dashed = false, dots = false }) => [
    Plot.line(points as [number, number][], { stroke: colour(ink), strokeWidth: 2, ...(dashed && { strokeDasharray: '5 4' }) }),
    ...(dots ? [Plot.dot(points as [number, number][], { fill: colour(ink), r: 3 })] : []),
  ]);
  const svg = Plot.plot({ ...FRAME, height: 270, marginLeft: 56, marginBottom: 40, x: scaleOf(x), y: scaleOf(y), marks });
  return figure(words, svg.outerHTML, lines.map(({ name, ink, dashed = false }) => ({ name, ink, dashed })));
}

export interface Bar {
  readonly name: string;
  /** From and to on the axis. */
  readonly span: readonly [number, number];
  readonly ink: Ink;
  readonly text: string;
}

/** Horizontal bars, one below the other, with their figures beside them. */
export function barChart(words: ChartWords, { bars, x, legend = [] }: { bars: readonly Bar[]; x: Axis; legend?: readonly { name: string; ink: Ink }[] }): string {
  const rows = bars.map((bar, i) => ({ ...bar, i, x1: bar.span[0], x2: bar.span[1], fill: colour(bar.ink) }));
  const svg = Plot.plot({
    ...FRAME,
    height: bars.length * 26 + 46,
    marginLeft: 182,
    marginRight: 72,
    marginBottom: 40,
    x: scaleOf(x),
    y: { domain: rows.map(({ i }) => i), tickFormat: (i: number) => boundedText(rows[i]!.name, 25), label: null, tickSize: 0 },
    marks: [Plot.barX(rows, { x1: 'x1', x2: 'x2', y: 'i', fill: 'fill', insetTop: 3, insetBottom: 3 }), Plot.text(rows, { x: 'x2', y: 'i', text: 'text', textAnchor: 'start', dx: 6 })],
  });
  return figure(words, svg.outerHTML, legend);
}

export interface Pair {
  readonly name: string;
  readonly pool: number;
  readonly selection: number;
}

/** Two dots a row, joined: a share in the pool and in the selection. */
export function dumbbellChart(words: ChartWords, { pairs, x }: { pairs: readonly Pair[]; x: Axis }): string {
  const rows = pairs.map((pair, i) => ({ ...pair, i }));
  const svg = Plot.plot({
    ...FRAME,
    height: pairs.length * 22 + 46,
    marginLeft: 182,
    marginRight: 20,
    marginBottom: 40,
    x: scaleOf(x),
    y: { domain: rows.map(({ i }) => i), tickFormat: (i: number) => boundedText(rows[i]!.name, 25), label: null, tickSize: 0 },
    marks: [
      Plot.ruleY(rows, { x1: 'pool', x2: 'selection', y: 'i', stroke: 'var(--line)', strokeWidth: 3 }),
      Plot.dot(rows, { x: 'pool', y: 'i', r: 4.5, stroke: colour('pool'), strokeWidth: 2, fill: 'var(--paper)' }),
      Plot.dot(rows, { x: 'selection', y: 'i', r: 4.5, fill: colour('selection') }),
    ],
  });
  return figure(words, svg.outerHTML, [{ name: 'pool (ring)', ink: 'pool' }, { name: 'selection (dot)', ink: 'selection' }]);
}

const { document } = parseHTML('<html><body></body></html>');
const FRAME = { document: document as never, width: 430, style: { fontSize: '12px' } };

function colour(ink: Ink): string {
  return `var(--${ink})`;
}

function scaleOf({ label, type = 'linear', format, domain, ticks = [] }: Axis): Record<string, unknown> {
  return { label, type, grid: true, ticks: ticks.length > 0 ? ticks : 5, labelAnchor: 'center', labelArrow: 'none', ...(format !== undefined && { tickFormat: format }), ...(domain !== undefined && { domain }) };
}

function figure({ id, title, description, source, table, beside = false }: ChartWords, svg: string, legend: readonly { name: string; ink: Ink; dashed?: boolean }[]): string {
  const keys = legend.map(({ name, ink, dashed = false }) => `<li class="key ${ink}${dashed ? ' dashed' : ''}">${escapeHtml(name)}</li>`).join('');
  return `<figure class="chart" id="${id}" data-source="${escapeHtml(source)}">
<figcaption><b>${escapeHtml(title)}</b>${keys === '' ? '' : `<ul class="keys">${keys}</ul>`}</figcaption>
${beside ? `<div class="two"><div>${plainSvg(svg, id, title, description)}</div>${renderTable(table)}</div>` : `${plainSvg(svg, id, title, description)}\n<details><summary>Table</summary>${renderTable(table)}</details>`}
</figure>`;
}

/** Without the style sheet and the styles that the page's policy refuses, with a title and a description, coordinates to 0.01 px. */
function plainSvg(svg: string, id: string, title: string, description: string): string {
  const bare = svg
    .replace(/<style>[\s\S]*?<\/style>/, '')
    .replaceAll(/ (?:aria-[a-z]+|style|class)="[^"]*"/g, '')
    .replaceAll(/<[^>]*>/g, (tag) => tag.replaceAll(/(\.\d{2})\d+/g, '$1'))
    .replaceAll(/<text[^>]*\/>/g, '');
  const head = `<title id="${id}-title">${escapeHtml(title)}</title><desc id="${id}-desc">${escapeHtml(description)}</desc>`;
  return bare.replace(/^<svg([^>]*)font-size="[^"]*"([^>]*)>/, `<svg$1font-size="12"$2 role="img" aria-labelledby="${id}-title ${id}-desc">${head}`);
}
