/** Balance by what is known of the images beside their pixels; none of it is used to choose. */
import { dumbbellChart } from '../chart.ts';
import { escapeHtml, shownText } from '../page.ts';
import type { ColumnBalance } from '../scan-images.ts';
import { cell, derive, idOf, percent, renderTable, tenth, thousandth, whole } from '../table.ts';
import { type Section, section } from './section.ts';

/** Values of a column that are shown. */
const SHOWN = 24;
const IN_TABLE = 200;

/** One chart and two tables a column. */
export function columnsSection(columns: readonly ColumnBalance[]): Section {
  const html = columns.map(renderColumn).join('\n');
  return section('columns', ['Labels', 'Balance by what is known of the images'], `<p>Labels, sources and metadata never choose images; they only show what the choice did. The random subset has the size of the selection.</p>${html}`, ['images', 'selections/balanced']);
}

function renderColumn({ name, source, values, pool, random, selection, without }: ColumnBalance): string {
  const from = `${source}; selections/balanced`;
  const share = (count: number, of: { images: number }): number => (of.images === 0 ? 0 : count / of.images);
  const shown = chosen(values);
  const rows = (some: readonly ColumnBalance['values'][number][]): string[][] => some.map((one) => [cell(one.value), derive(one.pool, from), derive(one.random, from), derive(one.selection, from), derive(share(one.pool, pool), from, percent), derive(share(one.selection, selection), from, percent)]);
  const measures = renderTable({
    caption: `Evenness of ${name}. Effective: how many equally frequent values would be as even.`,
    head: ['', 'images', 'values', 'effective', 'normalised entropy'],
    rows: ([['pool', pool], ['random subset', random], ['selection', selection]] as const).map(([title, one]) => [title, derive(one.images, from), derive(one.labels, from), derive(one.effective, from, tenth), derive(one.entropy, from, thousandth)]),
    numbers: [1, 2, 3, 4],
  });
  const gain = random.effective === 0 ? 1 : selection.effective / random.effective;
  const cut = values.length > shown.length ? ` Shown are the ${SHOWN / 2} most frequent in the pool and the ${SHOWN / 2} whose share grew most.` : '';
  const most = Math.max(...shown.flatMap((one) => [share(one.pool, pool), share(one.selection, selection)]));
  const chart = dumbbellChart(
    {
      id: idOf('column', source), title: `Share of images by ${name}`,
      description: `${whole(values.length)} values of ${name}. Effective number of values: pool ${tenth(pool.effective)}, random subset ${tenth(random.effective)}, selection ${tenth(selection.effective)}.${cut}`,
      source: from,
      table: { caption: `${name}: images by value${values.length > IN_TABLE ? `, the ${IN_TABLE} most frequent` : ''}`, head: ['value', 'pool', 'random', 'selection', 'share of pool', 'share of selection'], rows: rows(values.slice(0, IN_TABLE)), numbers: [1, 2, 3, 4, 5] },
    },
    { pairs: shown.map((one) => ({ name: one.value, pool: share(one.pool, pool), selection: share(one.selection, selection) })), x: { label: 'share of images', format: most < 0.05 ? '.1%' : '.0%', domain: [0, Math.max(most, 1e-9)] } },
  );
  return `<h3>${shownText(name, 40)}</h3>
<p>The selection is as even as ${derive(selection.effective, from, tenth)} equally frequent values, ${derive(gain, from, (value) => value.toFixed(2))} times a random subset of the same size${without === 0 ? '' : `; ${derive(without, from)} images have no value`}.${escapeHtml(cut)}</p>
<div class="two"><div>${chart}</div><div>${measures}</div></div>`;
}

/** The most frequent values, and those whose share grew most, by share of the pool. */
function chosen(values: ColumnBalance['values']): ColumnBalance['values'] {
  if (values.length <= SHOWN) return values;
  const frequent = values.slice(0, SHOWN / 2);
  const others = values.slice(SHOWN / 2).sort((a, b) => (b.selection * a.pool - a.selection * b.pool) || b.pool - a.pool || (a.value < b.value ? -1 : 1)).slice(0, SHOWN / 2);
  return [...frequent, ...others.sort((a, b) => b.pool - a.pool || (a.value < b.value ? -1 : 1))];
}
