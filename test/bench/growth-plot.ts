/**
 * Draws docs/growth.svg: how time grows with the pool, beside straight and squared growth from the first point on.
 *
 *   for n in 125000 250000 500000 1000000; do winnow bench tree --n $n --rounds 1; done      # k = n / 20 leaves
 *   npx tsx test/bench/growth-plot.ts 125000:12.8 250000:37.9 500000:70.9 1000000:146.6      # vectors:seconds
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

const points = process.argv.slice(2).map((text) => text.split(':').map(Number) as [number, number]);
const [n0, s0] = points[0]!;
const [n1, s1] = points.at(-1)!;
const exponent = Math.log(s1 / s0) / Math.log(n1 / n0);
const curve = (power: number): { n: number; s: number }[] => points.map(([n]) => ({ n, s: s0 * (n / n0) ** power }));
const label = (text: string, power: number): Plot.Markish => Plot.text([{ n: n1, s: s0 * (n1 / n0) ** power }], { x: 'n', y: 's', text: () => text, textAnchor: 'start', dx: 8, fill: '#555' });
const svg = Plot.plot({
  document: parseHTML('<html></html>').document as never,
  width: 640, height: 360, marginLeft: 60, marginRight: 130, marginBottom: 44,
  style: { background: '#fff', color: '#222', fontFamily: 'sans-serif', fontSize: '12px' },
  x: { type: 'log', label: 'vectors of 384 dimensions, k = n / 20', ticks: points.map(([n]) => n), tickFormat: '~s', domain: [n0, n1] },
  y: { type: 'log', label: 'seconds, five levels and a draw', grid: true, tickFormat: '~s' },
  marks: [
    Plot.line(curve(1), { x: 'n', y: 's', stroke: '#999', strokeDasharray: '3,3' }),
    Plot.line(curve(2), { x: 'n', y: 's', stroke: '#999', strokeDasharray: '3,3' }),
    Plot.line(points.map(([n, s]) => ({ n, s })), { x: 'n', y: 's', stroke: '#0a58ca', strokeWidth: 2 }),
    Plot.dot(points.map(([n, s]) => ({ n, s })), { x: 'n', y: 's', fill: '#0a58ca', r: 4 }),
    label('n²: brute force', 2), label('n', 1),
    Plot.text([{ n: n1, s: s1 }], { x: 'n', y: 's', text: () => `winnow: n^${exponent.toFixed(2)}`, textAnchor: 'start', dx: 8, dy: -12, fill: '#0a58ca', fontWeight: 'bold' }),
  ],
});
svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
svg.setAttribute('role', 'img');
const title = svg.ownerDocument.createElementNS('http://www.w3.org/2000/svg', 'title');
title.textContent = `Seconds for five levels and a draw against the number of vectors: they grow as n^${exponent.toFixed(2)}, brute force as n^2`;
svg.prepend(title);
writeFileSync(fileURLToPath(new URL('../../docs/growth.svg', import.meta.url)), `${svg.outerHTML}\n`);
