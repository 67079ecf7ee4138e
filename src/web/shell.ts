/** What every served page has: the report's look, the navigation, and a policy that allows this server's files and no inline script. */
import { contentPolicy, escapeHtml, page } from '../report/page.ts';
import { PAGE_CSS } from '../report/page-css.ts';
import type { Section } from './route.ts';
import { WEB_CSS } from './web-css.ts';

export interface WebPage {
  /** Plain text. */
  readonly title: string;
  /** HTML of the main part, safe already. */
  readonly main: string;
  /** Path of the section that the page is of. */
  readonly section: string;
  readonly sections: readonly Pick<Section, 'title' | 'path'>[];
  /** Script of the page, by its name under `/static/`. */
  readonly script?: 'atlas.js' | 'live.js';
}

const SOURCES = { 'script-src': ["'self'"], 'img-src': ["'self'"], 'connect-src': ["'self'"], 'form-action': ["'self'"] } as const;

/** The policy as a header: what a page may load, and that nothing may frame it. */
export const PAGE_POLICY = `${contentPolicy({ styles: [PAGE_CSS, WEB_CSS], policy: SOURCES })}; frame-ancestors 'none'`;

/** A whole document. */
export function webPage({ title, main, section, sections, script }: WebPage): string {
  const links = sections.filter((one) => one.title !== null).map((one) => `<li><a href="${escapeHtml(one.path)}"${one.path === section ? ' aria-current="true"' : ''}>${escapeHtml(one.title!)}</a></li>`);
  return page({
    title: `${title} · Winnow`,
    styles: [WEB_CSS],
    policy: SOURCES,
    // The last one counts: a form sent without a referrer would come from nowhere, and be refused.
    head: `<meta name="referrer" content="same-origin">${script === undefined ? '' : `<script type="module" src="/static/${script}"></script>`}`,
    body: `<a class="skip" href="#main">To the content</a>
<nav class="top" aria-label="Site"><ul><li><strong>Winnow</strong></li>${links.join('')}</ul></nav>
<main id="main">${main}</main>`,
  });
}

/** A page that says one thing. */
export function messagePage(title: string, sentence: string): string {
  return webPage({ title, section: '', sections: [], main: `<h1>${escapeHtml(title)}</h1><p>${escapeHtml(sentence)}</p><p><a href="/">To the first page</a></p>` });
}

/** The form that asks for the token. @param fault what was wrong with the last one, plain text */
export function signInPage(fault: string | null): string {
  return webPage({
    title: 'Sign in', section: '', sections: [],
    main: `<h1>Sign in</h1>
<p>This server asks for the token that it was started with.</p>
${fault === null ? '' : `<p class="note error" role="alert">${escapeHtml(fault)}</p>`}
<form method="post" action="/sign-in" class="row"><label>Token <input type="password" name="token" required autocomplete="current-password"></label> <button>Sign in</button></form>`,
  });
}
