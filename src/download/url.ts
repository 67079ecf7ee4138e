/** Entries of a URL list: which of them are asked for, and how each is shown in outputs. URLs are read as browsers do (WHATWG). */
import type { DownloadReason } from './status.ts';

/** Longest URL that is asked for, and longest text of an entry in an output. */
export const URL_LENGTH_MAX = 8_192;

/** The URL of an entry, or why there is none to ask. Spaces around it and a fragment do not count. */
export function parseEntry(entry: string): { readonly url: URL } | { readonly reason: DownloadReason } {
  const text = entry.trim();
  if (text.length > URL_LENGTH_MAX) return { reason: 'url-too-long' };
  if (CONTROL.test(text) || !URL.canParse(text)) return { reason: 'url-malformed' };
  const url = new URL(text);
  const fault = faultOf(url);
  return fault === null ? { url } : { reason: fault };
}

/** Why a URL, of a list or a redirect, is not asked; its port and address are looked at elsewhere. */
export function faultOf(url: URL): DownloadReason | null {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'url-scheme';
  if (url.username !== '' || url.password !== '') return 'url-credentials';
  if (url.hostname === '') return 'url-malformed';
  if (url.href.length > 3 * URL_LENGTH_MAX) return 'url-too-long'; // percent-encoding may treble it
  url.hash = '';
  return null;
}

/** The port that is asked. */
export function portOf({ port, protocol }: URL): number {
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
}

/** The entry for outputs: as it stands, but without credentials, and cut where it is too long for a URL. */
export function shownEntry(entry: string): string {
  const cut = entry.length <= URL_LENGTH_MAX ? entry : `${entry.slice(0, CUT_LENGTH)}…`;
  return Buffer.from(cut).toString().replace(CREDENTIALS, '$1'); // lone surrogates as U+FFFD
}

const CUT_LENGTH = 256;
const CONTROL = /[\u0000-\u001f\u007f]/;
/** User and password of an authority, whatever else of the URL is wrong; browsers skip control characters, so this does too. */
const CREDENTIALS = /^([\s\u0000-\u001f]*[a-z][a-z0-9+.\u0000-\u001f-]*:[\\/\u0000-\u001f]*)[^\\/?#]*@/i;
