/** Contact sheets of clusters: the largest, those cut most, those kept whole; what was kept of each beside what was left out. */
import type { ClusterSheets, ShownCluster } from '../choose.ts';
import { shownText } from '../page.ts';
import { derive, percent } from '../table.ts';
import type { Thumbnails, WantedImage } from '../thumbnails.ts';
import { type Section, section } from './section.ts';

/** Every image of the section, first to last. */
export function clusterImages({ largest, cut, whole }: ClusterSheets): WantedImage[] {
  return [...largest, ...cut, ...whole].flatMap(({ kept, leftOut }) => [...kept, ...leftOut]).map((row) => ({ table: 'images', row }));
}

/** @param nameOf the most frequent label of a cluster, or null */
export function clustersSection({ largest, cut, whole }: ClusterSheets, thumbnails: Thumbnails, nameOf: (level: number, cluster: number) => string | null): Section {
  const block = (title: string, text: string, shown: readonly ShownCluster[]): string =>
    `<h3>${title}</h3><p>${text}</p>${shown.length === 0 ? '<p class="muted">There is none.</p>' : shown.map((one) => renderCluster(one, thumbnails, nameOf)).join('\n')}`;
  const html = [
    block('Largest clusters', 'What there is most of in the pool.', largest),
    block('Clusters cut most', 'The finest groups, of look-alikes: those of which the smallest share was kept, largest first.', cut),
    block('Clusters kept whole', 'Groups too small to cut: all of their images are in the selection.', whole),
  ].join('\n');
  return section('clusters', ['Clusters', 'Clusters, image by image'], `<p>Images with a blue bar were kept. Which images of a cluster are shown is drawn at random.</p>${html}`, ['clusters/assignment', 'selections/balanced', 'images']);
}

function renderCluster({ level, cluster, images, drawn, kept, leftOut }: ShownCluster, thumbnails: Thumbnails, nameOf: (level: number, cluster: number) => string | null): string {
  const name = nameOf(level, cluster);
  const cells = (rows: readonly number[], mark?: 'kept'): string => rows.map((row) => thumbnails.cell({ table: 'images', row }, mark)).join('');
  const source = `clusters/level-${level}/centroids: size of ${cluster}; selections/balanced`;
  const share = images === 0 ? 0 : drawn / images;
  return `<figure class="cluster"><figcaption>${name === null ? '' : `<b>${shownText(name, 40)}</b> · `}cluster ${cluster} of level ${level}: ${derive(images, source)} images, ${derive(drawn, source)} kept (${derive(share, source, percent)})</figcaption>
<ul class="thumbs strip">${cells(kept, 'kept')}${cells(leftOut)}</ul></figure>`;
}
