/**
 * How the fetch of a URL can end. Reasons are of two kinds: permanent ones say something of the URL, the answer or a rule of
 * ours; transient ones say something of the moment, and `winnow retry --failed` asks those again.
 */

/** Reasons that asking again would not change. */
export const PERMANENT_REASONS = [
  'url-malformed', // no URL, no scheme, control characters in it, or no text at all
  'url-scheme', // neither http: nor https:
  'url-credentials', // a user or password in it; they are left out of every output
  'url-too-long', // more than 8,192 characters
  'port-refused', // a port that the settings do not name
  'address-refused', // the host has no address but private, loopback, link-local, metadata or other special ones
  'robots-refused', // robots.txt disallows it
  'opted-out', // X-Robots-Tag or TDM-Reservation of an answer says no
  'not-found', // 404 or 410
  'refused', // another 4xx answer
  'redirects', // more redirects than the settings allow, or one to nowhere
  'tls-failed', // a certificate that is not the host's, or no TLS at all
  'bad-response', // not HTTP, headers above 16 KiB, or an encoding of the body that was not asked for and is not known
] as const;

/** Reasons of the moment. */
export const TRANSIENT_REASONS = [
  'unreachable', // no connection, or closed before an answer
  'host-unknown', // the name has no address
  'timed-out', // a time limit passed, or 408
  'cut-off', // the connection ended before the body did
  'server-error', // a 5xx answer
  'rate-limited', // 429, or a wait asked for that is longer than the settings allow
  'robots-unreachable', // robots.txt answered with an error of the server, which RFC 9309 takes for "disallow all"
] as const;

/** What a row of a URL list can end with, besides `ok` and what the bytes themselves say. */
export const DOWNLOAD_REASONS = [...PERMANENT_REASONS, ...TRANSIENT_REASONS] as const;
export type DownloadReason = (typeof DOWNLOAD_REASONS)[number];

/** Reasons that the embed stage gives too, found out earlier: such bytes are not kept. */
export type BytesReason = 'empty' | 'not-an-image' | 'unsupported-format' | 'too-large-file';

/** `unasked` stands in no finished table. */
export type DownloadStatus = 'ok' | 'unasked' | DownloadReason | BytesReason;

/** Whether another try may end otherwise; `unreadable` is the embed stage's word for a file that could not be read. */
export function isTransient(status: string): boolean {
  return status === 'unreadable' || (TRANSIENT_REASONS as readonly string[]).includes(status);
}
