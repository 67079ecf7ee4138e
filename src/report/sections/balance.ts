/** Balance of the clusters at each level, pool against selection. */
import { lineChart } from '../chart.ts';
import { type LevelBalance, lorenzCurve, rankCurve } from '../level-balance.ts';
import type { ReportFacts } from '../facts.ts';
import { cite, derive, percent, renderTable, tenth, thousandth, whole } from '../table.ts';
import { type Section, section } from './section.ts';

/** Two charts a level, and one table for all. */
export function balanceSection({ clusters, balanced }: ReportFacts, levels: readonly LevelBalance[], drawLevel: number): Section {
  const source = (level: number): string => `clusters/level-${level}/centroids: size; clusters/assignment; selections/balanced`;
  const stats = (balanced?.manifest.stats['levels'] ?? []) as readonly unknown[];
  const rows = levels.map(({ level, k, pool, selection, before, after }, l) => {
    const isDrawn = balanced !== null && l < stats.length;
    const untouched = pool.reduce((sum, size, c) => sum + (size > 0 && selection[c] === 0 ? 1 : 0), 0);
    return [
      `${level}${level === drawLevel ? ' (quotas start here)' : ''}`,
      cite(clusters!, `/levels/${l}/k`, whole),
      isDrawn ? cite(balanced, `/stats/levels/${l}/before/effective`, tenth) : derive(before.effective, source(level), tenth),
      isDrawn ? cite(balanced, `/stats/levels/${l}/after/effective`, tenth) : derive(after.effective, source(level), tenth),
      derive(before.entropy, source(level), thousandth),
      derive(after.entropy, source(level), thousandth),
      derive(before.gini, source(level), thousandth),
      derive(after.gini, source(level), thousandth),
      isDrawn ? cite(balanced, `/stats/levels/${l}/untouched`) : derive(untouched, source(level)),
      derive(Math.max(0, ...pool) / Math.max(1, before.images), source(level), percent),
      k === 0 || after.images === 0 ? '' : derive(Math.max(0, ...selection) / after.images, source(level), percent),
    ];
  });
  const table = renderTable({
    caption: 'Evenness of each level, pool → selection. Effective: how many equal clusters would be as even.',
    head: ['level', 'clusters', 'effective, pool', 'selection', 'entropy, pool', 'selection', 'Gini, pool', 'selection', 'clusters without an image kept', 'largest, of pool', 'of selection'],
    rows,
    numbers: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  });
  const shown = balanced === null ? levels : [...levels].sort((a, b) => Number(b.level === drawLevel) - Number(a.level === drawLevel) || a.level - b.level);
  const charts = shown.map((level) => `<h3>Level ${level.level}: ${whole(level.k)} clusters${level.level === drawLevel ? ', where quotas start' : ''}</h3><div class="two">${sizesChart(level, source(level.level))}${lorenzChart(level, source(level.level))}</div>`);
  const [first, ...rest] = charts;
  const html = `<p>A flat line of sizes means that every kind of picture has its place; a steep one means that few kinds fill the set. Normalised entropy is 1 when all clusters hold the same.</p>
${table}${first ?? ''}${rest.length === 0 ? '' : `<details><summary>The other levels</summary>${rest.join('\n')}</details>`}`;
  return section('balance', ['Balance', 'Balance of clusters, before and after'], html, ['clusters/manifest.json', 'clusters/assignment', 'selections/balanced/manifest.json']);
}

function sizesChart({ level, k, pool, selection, before, after }: LevelBalance, source: string): string {
  const [ofPool, ofSelection] = [rankCurve(pool), rankCurve(selection)];
  const sizeAt = (curve: readonly (readonly [number, number])[], rank: number): string => {
    const found = curve.find(([at]) => at === rank);
    return found === undefined ? '' : derive(found[1], source);
  };
  const ranks = [...new Set([...ofPool, ...ofSelection].map(([rank]) => rank))].sort((a, b) => a - b);
  const rows = ranks.filter((_, i) => i % Math.ceil(ranks.length / 20) === 0).map((rank) => [whole(rank), sizeAt(ofPool, rank), sizeAt(ofSelection, rank)]);
  return lineChart(
    {
      id: `sizes-${level}`, title: 'Cluster sizes, largest first',
      description: `Level ${level}, ${k} clusters. The largest holds ${whole(ofPool[0]?.[1] ?? 0)} images of the pool's ${whole(before.images)}; in the selection the largest holds ${whole(ofSelection[0]?.[1] ?? 0)} of ${whole(after.images)}, and ${whole(after.used)} clusters have an image. Both axes are logarithmic.`,
      source, table: { caption: `Sizes by rank, level ${level}`, head: ['rank', 'pool', 'selection'], rows, numbers: [1, 2] },
    },
    { x: { label: 'rank of the cluster', type: 'log', format: '~s' }, y: { label: 'images', type: 'log', format: '~s' }, lines: [{ name: 'pool', ink: 'pool', points: ofPool }, { name: 'selection', ink: 'selection', points: ofSelection, dashed: true }] },
  );
}

function lorenzChart({ level, pool, selection, before, after }: LevelBalance, source: string): string {
  const [ofPool, ofSelection] = [lorenzCurve(pool), lorenzCurve(selection)];
  const at = (curve: readonly (readonly [number, number])[], share: number): number => curve.filter(([x]) => x <= share + 1e-9).at(-1)?.[1] ?? 0;
  const rows = Array.from({ length: 11 }, (_, i) => [percent(i / 10), derive(at(ofPool, i / 10), source, percent), derive(at(ofSelection, i / 10), source, percent)]);
  return lineChart(
    {
      id: `lorenz-${level}`, title: 'Share of images held by the smallest clusters (Lorenz curve)',
      description: `Level ${level}. The diagonal is perfect balance. The smallest half of the clusters holds ${percent(at(ofPool, 0.5))} of the pool and ${percent(at(ofSelection, 0.5))} of the selection. Gini ${thousandth(before.gini)} before, ${thousandth(after.gini)} after.`,
      source, table: { caption: `Lorenz curve, level ${level}`, head: ['smallest clusters', 'of the pool', 'of the selection'], rows, numbers: [1, 2] },
    },
    {
      x: { label: 'share of clusters, smallest first', format: '.0%', domain: [0, 1] }, y: { label: 'share of images', format: '.0%', domain: [0, 1] },
      lines: [{ name: 'perfectly even', ink: 'muted', points: [[0, 0], [1, 1]], dashed: true }, { name: 'pool', ink: 'pool', points: ofPool }, { name: 'selection', ink: 'selection', points: ofSelection, dashed: true }],
    },
  );
}
