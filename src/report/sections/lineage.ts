/** Where it all comes from, and how to make it again. */
import { canonicalJson } from '../../run/manifest.ts';
import type { ReportFacts } from '../facts.ts';
import { escapeHtml } from '../page.ts';
import { renderTable } from '../table.ts';
import { remakeRecipe } from '../remake.ts';
import { type Section, section } from './section.ts';

/** Manifests with their hashes, the recipe, and the commands. */
export function lineageSection(facts: ReportFacts): Section {
  const { images, embeddings, pool, duplicates, clusters, balanced, retrieved, mixture, dataset } = facts;
  const stored = [images, embeddings, duplicates, pool === embeddings ? null : pool, clusters, balanced, ...retrieved.map(({ selection }) => selection), mixture, dataset].filter((one) => one !== null);
  const rows = stored.map(({ path, sha256, manifest }) => [
    `<code>${escapeHtml(path)}</code>`, code(sha256), code(manifest.configHash), String(manifest.seed),
    manifest.inputs.length === 0 ? 'the sources' : manifest.inputs.map((input) => `${escapeHtml(input.stage)} ${code(input.sha256)}`).join(', '), escapeHtml(manifest.createdBy),
  ]);
  const table = renderTable({ caption: 'Manifests: equal hashes mean equal bytes', head: ['manifest', 'SHA-256', 'settings', 'seed', 'made from', 'by'], rows, numbers: [] });
  const again = dataset === null ? '<p>The run is not finished: run it again and it goes on where it stopped.</p>' : remake(facts, dataset);
  return section('lineage', ['Lineage', 'Where this comes from, and how to make it again'], `${table}${again}`, stored.map(({ path }) => `${path}/manifest.json`));
}

function remake(facts: ReportFacts, dataset: NonNullable<ReportFacts['dataset']>): string {
  const { recipe, places } = remakeRecipe(facts, dataset.manifest.lineage);
  const model = dataset.manifest.lineage['model'];
  return `<h3>The exact commands</h3>
<p>Save the recipe below as <code>recipe.json</code> and put your own places where it says ${places.map((place) => `<code>${escapeHtml(place)}</code>`).join(', ') || 'one'}: no output of Winnow names a folder of anybody's machine.
On the same images and the same instruction set the dataset's manifest has SHA-256 <code>${dataset.sha256}</code> again.</p>
<pre tabindex="0" aria-label="Commands">winnow run recipe.json --store ./again
sha256sum ./again/dataset/manifest.json
winnow report ./again -o report.html</pre>
<details><summary>recipe.json</summary><pre id="recipe" tabindex="0" aria-label="The recipe">${escapeHtml(canonicalJson(recipe))}</pre></details>
<details><summary>The model</summary><pre tabindex="0" aria-label="The model">${escapeHtml(canonicalJson(model))}</pre></details>`;
}

function code(hash: string): string {
  return `<code title="${escapeHtml(hash)}">${escapeHtml(hash.slice(0, 12))}</code>`;
}
