/** The page of what is decided by hand: each branch with its effect, and the recipe's key to copy or to download. */
import { escapeHtml } from '../report/page.ts';
import { atlasPage, decisionOf, nameOf, quotaText, whole } from './atlas-html.ts';
import { sizeOf } from './atlas.ts';
import { ATLAS_PATH, type AtlasSite, nodePath } from './atlas-site.ts';

/** Decisions, what they change, and how to keep them. */
export function overridesPage(site: AtlasSite): string {
  const { atlas, draft } = site;
  const yaml = draft.toYaml();
  const undo = draft.isChanged ? `<form class="row" method="post" action="${ATLAS_PATH}/overrides/reset"><button>Take back all that was not drawn with</button></form>` : '';
  if (yaml === null) return atlasPage(site, 'By hand', [], `<p>No branch is decided by hand. Open a cluster and cap it, boost it or exclude it.</p>${undo}`);
  const rows = draft.branches.map((branch) => {
    const { level, cluster } = branch;
    return `<tr><td><a href="${nodePath(branch)}">${nameOf(branch)}</a></td><td>${decisionOf(site, branch)}</td><td class="n">${whole(sizeOf(atlas, branch))}</td><td class="n">${quotaText(site, branch)}</td><td><form method="post" action="${ATLAS_PATH}/decide"><input type="hidden" name="level" value="${level}"><input type="hidden" name="cluster" value="${cluster}"><input type="hidden" name="action" value="clear"><input type="hidden" name="back" value="overrides"><button aria-label="Take back the decision of ${nameOf(branch).toLowerCase()}">Take back</button></form></td></tr>`;
  });
  const { effect, requested } = draft.current;
  const total = draft.current.byLevel[0]!.reduce((sum, quota) => sum + quota, 0);
  return atlasPage(site, 'By hand', [], `
<p>Against a draw without them, these decisions take ${whole(effect?.moved ?? 0)} images from where they were; ${whole(total)} of the ${whole(requested)} wanted are given.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Branches"><table><caption>Quotas as the selection in the store has them, and as they would be</caption><thead><tr><th scope="col">Branch</th><th scope="col">Decision</th><th scope="col" class="n">Images</th><th scope="col" class="n">Quota</th><th scope="col"><span class="muted">Undo</span></th></tr></thead><tbody>${rows.join('')}</tbody></table></div>
${undo}
<h2>For the recipe</h2>
<p>Put this key into the recipe and draw again: <code>winnow run recipe.yaml --store …</code>. It names the tree it was made for, and fails on any other.</p>
<pre tabindex="0" aria-label="The key overrides as YAML">${escapeHtml(yaml)}</pre>
<p><a class="button" href="${ATLAS_PATH}/overrides.yaml" download="overrides.yaml">Download overrides.yaml</a></p>`);
}
