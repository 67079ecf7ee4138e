import { describe, expect, it } from 'vitest';
import { type Summary, renderSummary } from '../../src/report/summary.ts';

const balance = { images: 1, labels: 1, effective: 1, entropy: 1 };
const change = { label: `a label that goes on and on \u001b[31m${'x'.repeat(500)}`, pool: 12_345, selected: 123 };

describe('renderSummary', () => {
  it('keeps to 80 columns, and takes no commands for the terminal from labels', () => {
    const summary: Summary = {
      store: '/store',
      funnel: { listed: 10, rejected: { corrupt: 1 }, setAside: 0, notDrawn: 4, selected: 5 },
      tree: [{ level: 1, k: 3, effective: 2, largestShare: 0.5, small: 0 }],
      warnings: ['level 5, where quotas start, is degenerate: 43 % of the images are in one of 20 clusters and get 1/20 of the target; use levels: auto, fewer levels, or a larger top level'],
      selection: { requested: 5, selected: 5, unique: 5, shortfall: 0 },
      balance: { pool: balance, random: balance, randomSeeds: 5, selection: balance, gains: [change, change, change], losses: [change] },
      parts: [],
    };
    const text = renderSummary(summary);
    expect(text.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(text).not.toContain('\u001b');
    expect(text.match(/123\/12345/g)).toHaveLength(4);
  });
});
