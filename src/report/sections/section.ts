/** A section of the report: a heading that can be linked to, and what the figures under it come from. */
import { escapeHtml } from '../page.ts';

export interface Section {
  /** For links: letters and dashes. */
  readonly id: string;
  /** A word or two, for the list of sections. */
  readonly short: string;
  readonly html: string;
}

/** @param from tables and manifests of the store, named under the section */
export function section(id: string, [short, title]: readonly [short: string, title: string], html: string, from: readonly string[]): Section {
  return {
    id,
    short,
    html: `<section id="${id}" aria-labelledby="${id}-h">
<h2 id="${id}-h">${escapeHtml(title)}</h2>
${html}
<p class="from"><small>From ${from.map((one) => `<code>${escapeHtml(one)}</code>`).join(', ')}</small></p>
</section>`,
  };
}
