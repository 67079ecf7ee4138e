/** The funnel: every image of the pool, and why it is in or out. */
import { pointerSegment } from '../table.ts';
import { barChart, type Bar } from '../chart.ts';
import type { ReportFacts } from '../facts.ts';
import { cell, cite, type Cited, derive, percent, whole } from '../table.ts';
import { type Section, section } from './section.ts';

/** One step: images that go at it, or that are left. Each stands in a manifest, unless `pointer` is null. */
export interface FunnelStep {
  readonly name: string;
  readonly images: number;
  readonly left: boolean;
  readonly manifest: Cited;
  /** JSON pointer to `images`; null: worked out from the tables named in `how`. */
  readonly pointer: string | null;
  readonly how: string;
}

/** Steps in order; those that go and what is left add up to the images found. */
export function funnelSteps({ images, embeddings, pool, clusters, balanced }: ReportFacts): FunnelStep[] {
  const found = numberAt(images.manifest.stats['rows']);
  const steps: FunnelStep[] = [{ name: 'images found', images: found, left: true, manifest: images, pointer: '/stats/rows', how: '' }];
  const leaves = (name: string, count: number, manifest: Cited, pointer: string | null, how = ''): void => {
    if (count > 0) steps.push({ name, images: count, left: false, manifest, pointer, how });
  };
  const stays = (name: string, manifest: Cited, pointer: string | null, how = '', count?: number): void => {
    const gone = steps.filter((step) => !step.left).reduce((sum, step) => sum + step.images, 0);
    steps.push({ name, images: count ?? found - gone, left: true, manifest, pointer, how });
  };
  if (embeddings === null || pool === null) return steps;
  const rejected = statusesOf(embeddings.manifest);
  for (const [reason, count] of Object.entries(rejected)) if (reason !== 'ok') leaves(`rejected: ${reason}`, count, embeddings, `/stats/statuses/${pointerSegment(reason)}`);
  stays('usable', embeddings, rejected['ok'] === undefined ? null : '/stats/statuses/ok', 'embeddings: status');
  if (pool !== embeddings) {
    for (const [reason, count] of Object.entries(statusesOf(pool.manifest))) {
      const before = rejected[reason] ?? 0;
      if (reason !== 'ok') leaves(`taken out: ${reason}`, count - before, pool, before === 0 ? `/stats/statuses/${pointerSegment(reason)}` : null, 'survivors: status');
    }
    stays('survivors', pool, '/stats/statuses/ok');
  }
  if (clusters === null) return steps;
  const { setAside = 0 } = clusters.manifest.stats as { setAside?: number };
  leaves('set aside: outliers', setAside, clusters, '/stats/setAside');
  stays('in the tree', clusters, '/stats/clustered');
  if (balanced === null) return steps;
  const { unique } = balanced.manifest;
  leaves('not drawn', numberAt(clusters.manifest.stats['clustered']) - unique, balanced, null, 'clusters: /stats/clustered, selections/balanced: /unique');
  stays('kept', balanced, '/unique');
  return steps;
}

/** The funnel as a chart and a table. */
export function funnelSection(facts: ReportFacts): Section {
  const steps = funnelSteps(facts);
  const found = steps[0]!.images;
  let left = found;
  const bars = steps.map(({ name, images, left: stays }): Bar => {
    if (stays) return { name, span: [0, images], ink: 'selection', text: whole(images) };
    left -= images;
    return { name, span: [left, left + images], ink: 'pool', text: `−${whole(images)}` };
  });
  const rows = steps.map(({ name, images, left: stays, manifest, pointer, how }) => [
    cell(name),
    `${stays ? '' : '−'}${pointer === null ? derive(images, how) : cite(manifest, pointer)}`,
    found === 0 ? '' : derive(images / found, 'images: /stats/rows', percent),
  ]);
  const last = steps.at(-1)!;
  const skipped = skippedFiles(facts);
  const chart = barChart(
    {
      id: 'funnel-chart', title: 'Every image of the pool',
      description: `Of ${whole(found)} images, ${whole(last.images)} are ${last.name}. Steps: ${steps.map(({ name, images, left: stays }) => `${name} ${stays ? '' : 'minus '}${whole(images)}`).join('; ')}.`,
      beside: true, source: 'images, embeddings, clusters, selections/balanced',
      table: { caption: 'What became of every image', head: ['step', 'images', 'of all'], rows, numbers: [1, 2] },
    },
    { bars, x: { label: 'images', format: '~s', domain: [0, Math.max(1, found)] }, legend: [{ name: 'left', ink: 'selection' }, { name: 'out at this step', ink: 'pool' }] },
  );
  const note = skipped.length === 0 ? '' : `<p>Beside these images the sources held files that were not listed, by reason: ${skipped.map(({ reason, count, pointers }) => `${cell(reason)} ${derive(count, pointers)}`).join(', ')}.</p>`;
  return section('funnel', ['Funnel', 'Where every image went'], `${note}${chart}`, ['images/manifest.json', 'embeddings/manifest.json', 'clusters/manifest.json', 'selections/balanced/manifest.json']);
}

function skippedFiles({ images }: ReportFacts): { reason: string; count: number; pointers: string }[] {
  const { sources = {} } = images.manifest.stats as { sources?: Record<string, { skipped?: Record<string, number> }> };
  const total = new Map<string, { count: number; pointers: string[] }>();
  for (const [name, { skipped = {} }] of Object.entries(sources)) {
    for (const [reason, count] of Object.entries(skipped)) {
      const one = total.get(reason) ?? { count: 0, pointers: [] };
      total.set(reason, { count: one.count + count, pointers: [...one.pointers, `images: /stats/sources/${name}/skipped/${reason}`] });
    }
  }
  return [...total].map(([reason, { count, pointers }]) => ({ reason, count, pointers: pointers.join(' + ') }));
}

function statusesOf({ stats }: { readonly stats: Readonly<Record<string, unknown>> }): Record<string, number> {
  return (stats['statuses'] ?? {}) as Record<string, number>;
}

function numberAt(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
