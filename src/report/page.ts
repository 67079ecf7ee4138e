/**
 * The shell of every page that Winnow makes: one look in light and dark, no network, a strict content-security policy. Pages are
 * built as text: whatever comes from a corpus passes `escapeHtml` or `shownText` on its way in.
 */
import { createHash } from 'node:crypto';
import { PAGE_CSS } from './page-css.ts';

export interface PageOptions {
  /** Plain text. */
  readonly title: string;
  /** HTML of the body, safe already. */
  readonly body: string;
  /** More HTML for the head, safe already. */
  readonly head?: string;
  /** Style sheets after the page's own. Styles in attributes are refused by the policy. */
  readonly styles?: readonly string[];
  /** Inline scripts, run as modules at the end of the body. Each is allowed by its hash; handlers in attributes are not. */
  readonly scripts?: readonly string[];
  /** Directives of the policy that a served page needs on top, such as `connect-src: ["'self'"]`. */
  readonly policy?: Readonly<Record<string, readonly string[]>>;
}

/** A whole HTML document. Equal options give equal bytes. */
export function page({ title, body, head = '', styles = [], scripts = [], policy = {} }: PageOptions): string {
  const sheets = [PAGE_CSS, ...styles];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(contentPolicy({ styles: sheets, scripts, policy }))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
${sheets.map((sheet) => `<style>${sheet}</style>`).join('\n')}
${head}
</head>
<body>
${body}
${scripts.map((script) => `<script type="module">${script}</script>`).join('\n')}
</body>
</html>
`;
}

/** The policy of a page as one line, also for a response's header: nothing but what is inline and known by its hash, and images as data. */
export function contentPolicy({ styles = [PAGE_CSS], scripts = [], policy = {} }: Pick<PageOptions, 'styles' | 'scripts' | 'policy'>): string {
  const directives: Record<string, readonly string[]> = {
    'default-src': ["'none'"],
    'img-src': ['data:'],
    'style-src': styles.map(hashSource),
    'script-src': scripts.length === 0 ? ["'none'"] : scripts.map(hashSource),
    'base-uri': ["'none'"],
    'form-action': ["'none'"],
  };
  for (const [name, sources] of Object.entries(policy)) {
    const before = (directives[name] ?? []).filter((source) => source !== "'none'");
    directives[name] = [...before, ...sources];
  }
  return Object.entries(directives).map(([name, sources]) => `${name} ${sources.join(' ')}`).join('; ');
}

/** Text as HTML text or as the value of a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/**
 * Text of a stranger (a file name, a caption, a label) as HTML: at most `charactersMax` code points, control characters and
 * halves of pairs as U+FFFD, and isolated, so that right-to-left text and overrides end where it ends.
 */
export function shownText(text: string, charactersMax = 120): string {
  return `<bdi>${escapeHtml(boundedText(text, charactersMax))}</bdi>`;
}

/** The same as plain text, for attributes and charts; overrides of direction are taken out. The end of a cut text is `…`. */
export function boundedText(text: string, charactersMax = 120): string {
  // A code point is at most two units, so that 10 kB are never walked to show 120 characters.
  const head = [...text.slice(0, 2 * charactersMax + 2)];
  const cut = head.length > charactersMax || text.length > 2 * charactersMax + 2;
  const kept = cut ? [...head.slice(0, charactersMax - 1), '…'] : head;
  return kept.join('').replaceAll(BIDI_CONTROLS, '').replaceAll(UNPRINTABLE, '\ufffd');
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const BIDI_CONTROLS = /[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/gu;
/** Controls, lone surrogates, and what is no character. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Cn}]/gu;

function hashSource(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
