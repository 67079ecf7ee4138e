/**
 * What owners say of their pictures: robots.txt (RFC 9309), X-Robots-Tag, and TDM-Reservation (W3C TDM Reservation Protocol). A
 * robots.txt that is not there allows all; one whose server fails disallows all for now.
 */
import robotsParser from 'robots-parser';
import { type Asker, tryPatiently } from './ask.ts';
import { readText } from './body.ts';
import type { DownloadConfig } from './config.ts';
import { GIVE_UP_MS, type Gate } from './gate.ts';
import { type DownloadReason, isTransient } from './status.ts';
import { faultOf } from './url.ts';

export interface Robots {
  /** Null when the URL may be asked for. The file of an origin is fetched once and kept while there is room. */
  refusalOf(url: URL, signal: AbortSignal): Promise<{ readonly reason: DownloadReason; readonly isFinal: boolean } | null>;
}

interface RobotsFile {
  isAllowed(url: string, agent: string): boolean | undefined;
  /** Seconds. */
  getCrawlDelay(agent: string): number | undefined;
}

/** A function; the package's types take it for a namespace. */
const parseRobots = robotsParser as unknown as (url: string, text: string) => RobotsFile;

/** What one robots.txt says. */
type Rules = { readonly file: RobotsFile; /** Of the text, and of its lines with stars. */ readonly length: number; readonly starredLength: number } | { readonly refused: DownloadReason } | 'allow all';

/** RFC 9309 asks that at least this much is read; what is after it does not count. */
const ROBOTS_BYTES_MAX = 500 * 1024;
/** Text of all files that are kept. */
const KEPT_LENGTH_MAX = 2 ** 25;
/** A file may cost this many steps a URL: hostile patterns with stars cost their length times the URL's. */
const STEPS_MAX = 2e7;
const REDIRECTS_MAX = 5;
/** RFC 9309, 2.4: not much longer than a day. */
const KEEP_MS = 24 * 3_600_000;
const CRAWL_DELAY_MAX_MS = 30_000;

/** @param config `robotsAgent` is the name that groups of rules go by */
export function createRobots(config: DownloadConfig, asker: Asker, gate: Gate): Robots {
  const kept = new Map<string, { readonly rules: Promise<Rules>; length: number; expires: number }>();
  let keptLength = 0;
  const keep = (length: number): void => {
    keptLength += length;
    for (const [origin, { length: old }] of kept) {
      if (keptLength <= KEPT_LENGTH_MAX) return;
      kept.delete(origin); // one that is still being fetched is heard by whoever waits for it
      keptLength -= old;
    }
  };
  const rulesOf = (url: URL, signal: AbortSignal): Promise<Rules> => {
    const known = kept.get(url.origin);
    if (known !== undefined && performance.now() < known.expires) return known.rules;
    if (known !== undefined) keptLength -= known.length;
    kept.delete(url.origin);
    const entry = { rules: fetchRules(url, config, asker, signal), length: ENTRY_LENGTH, expires: performance.now() + KEEP_MS };
    kept.set(url.origin, entry);
    keep(entry.length);
    entry.rules.then(
      (rules) => {
        if (rules === 'allow all') return;
        if ('refused' in rules) {
          entry.expires = performance.now() + GIVE_UP_MS;
          return;
        }
        gate.slow(url.hostname, Math.min(CRAWL_DELAY_MAX_MS, 1000 * (rules.file.getCrawlDelay(config.robotsAgent) ?? 0)));
        if (kept.get(url.origin) !== entry) return;
        entry.length += rules.length;
        keep(rules.length);
      },
      () => {
        if (kept.get(url.origin) !== entry) return;
        kept.delete(url.origin);
        keptLength -= entry.length;
      },
    );
    return entry.rules;
  };
  return {
    refusalOf: async (url, signal) => {
      const rules = await rulesOf(url, signal);
      if (rules === 'allow all') return null;
      if ('refused' in rules) return { reason: rules.refused, isFinal: true };
      if (rules.starredLength * url.href.length > STEPS_MAX) return { reason: 'robots-refused', isFinal: true };
      return rules.file.isAllowed(url.href, config.robotsAgent) === false ? { reason: 'robots-refused', isFinal: true } : null;
    },
  };
}

/** What a file without text counts for. */
const ENTRY_LENGTH = 512;

async function fetchRules(url: URL, config: DownloadConfig, asker: Asker, signal: AbortSignal): Promise<Rules> {
  const once = async (): Promise<{ status: string; isFinal: boolean; rules: Rules }> => {
    let at = new URL('/robots.txt', url);
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
      const asked = await asker.ask(at, 'text/plain, */*;q=0.1', signal, async (answer, limits) => {
        const { status, headers, body } = answer;
        if (status >= 300 && status < 400) return { next: headers['location'] };
        if (status === 429 || status >= 500) return { status };
        return { text: status >= 200 && status < 300 ? await readText(body, ROBOTS_BYTES_MAX, limits, config.idleTimeoutMs) : null };
      });
      if ('reason' in asked) return { status: asked.reason, isFinal: asked.isFinal, rules: { refused: asked.reason } };
      const { next, status, text } = asked.value;
      if (status !== undefined) return { status: 'robots-unreachable', isFinal: false, rules: { refused: 'robots-unreachable' } };
      if (text !== undefined) return { status: 'ok', isFinal: true, rules: text === null ? 'allow all' : parse(url, text) };
      if (next === undefined || !URL.canParse(next, at.href)) break;
      at = new URL(next, at);
      if (faultOf(at) !== null) break;
    }
    return { status: 'ok', isFinal: true, rules: 'allow all' };
  };
  return (await tryPatiently(config, signal, once)).rules;
}

function parse(url: URL, text: string): Rules {
  // Lines are bounded so that the parser's patterns are; no rule that a site means is as long.
  const lines = text.replace(/^\uFEFF/, '').split(/\r\n|\r|\n/).filter((line) => line.length <= 4_096);
  const starredLength = lines.filter((line) => line.includes('*') && !/^\s*user-agent/i.test(line)).reduce((sum, line) => sum + line.length, 0);
  return { file: parseRobots(new URL('/robots.txt', url).href, lines.join('\n')), length: text.length, starredLength };
}

/** Whether the head of an answer opts its picture out, for every crawler or for one of the name `robotsAgent`. */
export function isOptedOut(headers: Readonly<Record<string, string>>, { optOut, robotsAgent }: Pick<DownloadConfig, 'optOut' | 'robotsAgent'>): boolean {
  const wanted = new Set<string>(optOut);
  if (wanted.has('tdm-reservation') && headers['tdm-reservation']?.trim() === '1') return true;
  // "googlebot: noindex, nofollow": a name holds for the directives after it, up to the next name.
  let isMeant = true;
  for (const part of (headers['x-robots-tag'] ?? '').toLowerCase().split(',')) {
    const colon = part.indexOf(':');
    const before = colon < 0 ? '' : part.slice(0, colon).trim();
    const isName = NAME.test(before) && !WITH_VALUES.has(before);
    if (isName) isMeant = before === robotsAgent.toLowerCase() || before === '*';
    const directive = (isName ? part.slice(colon + 1) : part).trim();
    if (isMeant && wanted.has(directive)) return true;
  }
  return false;
}

/** What stands before a colon and is a crawler's name; the time of a date is not. */
const NAME = /^[a-z*][\w.*/-]*$/;
/** Directives that have a value after a colon, which therefore name no crawler. */
const WITH_VALUES = new Set(['max-snippet', 'max-image-preview', 'max-video-preview', 'unavailable_after']);

/** Whether no answer came at all: what counts toward giving a host up. */
export function isSilence(status: string): boolean {
  return isTransient(status) && (status === 'unreachable' || status === 'host-unknown' || status === 'timed-out');
}
