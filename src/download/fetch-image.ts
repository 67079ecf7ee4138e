/**
 * One URL of a list to one end: asks robots.txt, follows redirects with every rule applied to each, tries again after transient
 * failures, and keeps the bytes of a picture.
 */
import { isDecodable, sniffFormat } from '../embed/sniff.ts';
import { createAsker, tryPatiently } from './ask.ts';
import { readBody } from './body.ts';
import { type Answer, createClient } from './client.ts';
import type { DownloadConfig } from './config.ts';
import { createGate } from './gate.ts';
import type { Limits } from './limits.ts';
import { createRobots, isOptedOut, isSilence } from './opt-out.ts';
import { reasonOfStatus } from './reason.ts';
import type { Kept, Spool } from './spool.ts';
import type { DownloadStatus } from './status.ts';
import { faultOf } from './url.ts';

/** How a URL ended. */
export interface Fetched {
  readonly status: DownloadStatus;
  /** Status of the last answer; null without one. */
  readonly http: number | null;
  /** Where redirects led; null without any. */
  readonly final: string | null;
  /** Content-Type of the last answer, as it says. */
  readonly type: string | null;
  /** Null unless the status is `ok`. */
  readonly picture: { readonly body: Kept; /** SHA-256, hex. */ readonly sha256: string; readonly extension: string } | null;
}

export interface Fetcher {
  /** Ends within the limits, whatever the server does. @throws {WinnowError} ABORTED, STORE_FULL, STORE_UNAVAILABLE */
  fetch(url: URL, spool: Spool, signal: AbortSignal): Promise<Fetched>;
  close(): Promise<void>;
}

/** Turns, robots.txt and connections are shared by all that a fetcher fetches: one a process. */
export function createFetcher(config: DownloadConfig): Fetcher {
  const gate = createGate(config);
  const client = createClient(config);
  const asker = createAsker(config, gate, client);
  const robots = config.robots === 'honour' ? createRobots(config, asker, gate) : null;

  const step = (url: URL, spool: Spool, signal: AbortSignal) => asker.ask(url, ACCEPT, signal, (answer, limits) => judge(answer, limits, spool, config));
  const follow = async (first: URL, spool: Spool, signal: AbortSignal): Promise<Ended> => {
    let url = first;
    const ended = (status: DownloadStatus, answered: Partial<Answered>, isFinal = false): Ended => ({
      status, isFinal, host: url.hostname,
      http: answered.http ?? null,
      final: url === first ? null : url.href,
      type: answered.type ?? null,
      picture: answered.picture ?? null,
    });
    for (let redirects = 0; ; redirects++) {
      const refusal = (await robots?.refusalOf(url, signal)) ?? null;
      if (refusal !== null) return ended(refusal.reason, {}, refusal.isFinal);
      const asked = await step(url, spool, signal);
      if ('reason' in asked) return ended(asked.reason, {}, asked.isFinal);
      const { value } = asked;
      if (value.next === null) return ended(value.status, value);
      if (redirects === config.redirectsMax || !URL.canParse(value.next, url.href)) return ended('redirects', value);
      const next = new URL(value.next, url);
      const fault = faultOf(next);
      if (fault !== null) return ended(fault, value);
      url = next;
    }
  };
  return {
    fetch: async (url, spool, signal) => {
      const { isFinal, host, ...fetched } = await tryPatiently(config, signal, () => follow(url, spool, signal));
      if (!isFinal) gate.report(host, isSilence(fetched.status) ? (fetched.status as never) : null);
      return fetched;
    },
    close: () => client.close(),
  };
}

interface Ended extends Fetched {
  readonly isFinal: boolean;
  /** That was asked last. */
  readonly host: string;
}

interface Answered {
  readonly status: DownloadStatus;
  /** Where a redirect leads. */
  readonly next: string | null;
  readonly http: number;
  readonly type: string | null;
  readonly picture: Fetched['picture'];
}

const ACCEPT = 'image/avif,image/webp,image/png,image/jpeg,image/gif,image/tiff;q=0.9,image/*;q=0.8,*/*;q=0.1';
/** What no URL can be made of. */
const NOWHERE = '//';
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

async function judge(answer: Answer, limits: Limits, spool: Spool, config: DownloadConfig): Promise<Answered> {
  const { status: http, headers } = answer;
  const facts = { http, type: headers['content-type']?.slice(0, TYPE_LENGTH_MAX) ?? null, next: null, picture: null };
  if (isOptedOut(headers, config)) return { ...facts, status: 'opted-out' };
  if (REDIRECTS.has(http)) return { ...facts, status: 'redirects', next: headers['location'] ?? NOWHERE };
  if (http === 204) return { ...facts, status: 'empty' };
  const reason = reasonOfStatus(http);
  if (reason !== null) return { ...facts, status: reason };
  const sink = await spool.begin();
  let picture: Fetched['picture'] = null;
  let kept = false;
  try {
    const read = await readBody(answer, config, limits, sink);
    if ('refused' in read) return { ...facts, status: read.refused };
    const kind = sniffFormat(read.head);
    if (kind === 'empty' || kind === 'not-an-image') return { ...facts, status: kind };
    if (!isDecodable(kind) && NO_PICTURES.has(kind)) return { ...facts, status: 'unsupported-format' };
    kept = true;
    picture = { body: sink.keep(), sha256: read.sha256, extension: EXTENSIONS[kind] ?? kind };
    return { ...facts, status: 'ok', picture };
  } finally {
    if (!kept) sink.discard();
  }
}

/** Longest Content-Type that is told. */
const TYPE_LENGTH_MAX = 100;
/** Known kinds that hold no picture or many. Pictures of formats that are not decoded here are kept: another program may. */
const NO_PICTURES: ReadonlySet<string> = new Set(['video', 'flic', 'pdf', 'postscript', 'hdf5']);
const EXTENSIONS: Readonly<Record<string, string>> = { jpeg: 'jpg', tiff: 'tif', postscript: 'ps', 'photo-cd': 'pcd', dicom: 'dcm' };
