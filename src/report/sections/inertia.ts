/** What the clustering minimised: inertia by level, round and iteration. */
import { type Ink, lineChart } from '../chart.ts';
import type { ReportFacts } from '../facts.ts';
import { cite, derive, thousandth, whole } from '../table.ts';
import { type Section, section } from './section.ts';

interface RoundStats {
  readonly n: number;
  readonly k: number;
  readonly sampled: number;
  readonly inertia: number;
  readonly ended?: string;
  readonly iterations: readonly { readonly inertia: number; readonly changed: number; readonly empty: number }[];
}

const INKS: readonly Ink[] = ['pool', 'selection', 'random'];
/** Levels that are drawn in one chart. */
const TOGETHER = 3;

/** Null when the tree kept no record of its iterations. */
export function inertiaSection({ clusters }: ReportFacts): Section | null {
  const levels = (clusters?.manifest.stats['rounds'] ?? []) as readonly (readonly RoundStats[])[];
  if (clusters === null || !levels.some((rounds) => rounds.some(({ iterations }) => iterations.length > 0))) return null;
  const charts: string[] = [];
  for (let first = 0; first < levels.length; first += TOGETHER) charts.push(chartOf(levels, first, Math.min(levels.length, first + TOGETHER)));
  const html = `<p>Inertia is the sum of squared distances of points to their centroids; k-means lowers it at every step. Each line starts at 1; a round after the first works on a sample and begins anew.</p>
<div class="two">${charts.join('\n')}</div>`;
  return section('inertia', ['Convergence', 'How the clustering converged'], html, ['clusters/manifest.json']);

  function chartOf(all: readonly (readonly RoundStats[])[], first: number, end: number): string {
    const some = all.slice(first, end);
    const source = `clusters/manifest.json#/stats/rounds`;
    const lines = some.map((rounds, i) => {
      const start = rounds[0]?.iterations[0]?.inertia ?? 1;
      const points = (rounds[0]?.iterations ?? []).map(({ inertia }, at): [number, number] => [at, start === 0 ? 1 : inertia / start]);
      return { name: `level ${first + i + 1}`, ink: INKS[i]!, points, dashed: i === 1, dots: points.length < 20 };
    });
    const rows = some.flatMap((rounds, i) =>
      rounds.map((round, r) => {
        const at = `/stats/rounds/${first + i}/${r}`;
        const began = round.iterations[0]?.inertia;
        return [
          `level ${first + i + 1}, round ${r}`, cite(clusters!, `${at}/n`, whole), cite(clusters!, `${at}/k`, whole),
          derive(round.iterations.length, `${source}/${first + i}/${r}/iterations`), round.ended ?? '',
          began === undefined ? '' : cite(clusters!, `${at}/iterations/0/inertia`, significant), cite(clusters!, `${at}/inertia`, significant),
        ];
      }),
    );
    const falls = lines.map(({ name, points }) => `${name} to ${thousandth(points.at(-1)?.[1] ?? 1)} in ${points.length} assignments`).join(', ');
    return lineChart(
      {
        id: `inertia-${first + 1}`, title: some.length === 1 ? `Level ${first + 1}` : `Levels ${first + 1} to ${end}`, description: `Inertia of the first round, relative to its start: ${falls}.`, source,
        table: { caption: 'Rounds', head: ['', 'points', 'clusters', 'assignments', 'ended by', 'inertia at the start', 'of all points at the end'], rows, numbers: [1, 2, 3, 5, 6] },
      },
      { x: { label: 'assignment', format: 'd', ticks: wholeTicks(Math.max(1, ...lines.map(({ points }) => points.length - 1))) }, y: { label: 'inertia / first' }, lines },
    );
  }
}

/** About five whole numbers from 0 to `most`. */
function wholeTicks(most: number): number[] {
  const step = Math.max(1, Math.ceil(most / 5));
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

function significant(value: number): string {
  return value === 0 ? '0' : value >= 1e5 ? whole(value) : value.toPrecision(5);
}
