/** Settings of the download of a URL list. Those that `decisiveSettings` names decide what is kept; the others are manners and patience. */
import { z } from 'zod';

const milliseconds = (standard: number): z.ZodDefault<z.ZodInt> => z.int().min(1).max(3_600_000).default(standard);

/** What opts a picture out when an answer says it. `none` stands for noindex and nofollow; `tdm-reservation` for the header of that name with value 1. */
export const OPT_OUTS = ['noai', 'noimageai', 'noindex', 'noimageindex', 'none', 'tdm-reservation'] as const;

export const DownloadConfig = z.strictObject({
  concurrency: z.int().min(1).max(1024).default(64).describe('Requests at once in one process.'),
  hostConnections: z.int().min(1).max(64).default(2).describe('Requests at once to one host, from one process.'),
  hostDelayMs: z.int().min(0).max(3_600_000).default(100).describe('Least time between the starts of two requests to one host; a longer Crawl-delay of its robots.txt goes before, up to 30 s.'),
  hostFailuresMax: z.int().min(1).default(20).describe('After this many URLs of a host in a row were not answered, those of the next ten minutes are given up with the same reason.'),
  retries: z.int().min(0).max(10).default(2).describe('More tries after a transient failure.'),
  retryDelayMs: milliseconds(1_000).describe('Wait before the second try; doubled for each one after it.'),
  retryAfterMaxMs: milliseconds(60_000).describe('Longest Retry-After that is waited for; where a host asks for more, its other URLs are left for `winnow retry`.'),
  connectTimeoutMs: milliseconds(10_000).describe('Limit of finding the host and connecting to it.'),
  headersTimeoutMs: milliseconds(20_000).describe('Limit of connecting and of the whole head of an answer.'),
  idleTimeoutMs: milliseconds(15_000).describe('Longest pause within a body.'),
  totalTimeoutMs: milliseconds(60_000).describe('Limit of one request, to the last byte. Waiting for a turn does not count.'),
  sizeBytesMax: z.int().min(1).max(2 ** 32).default(2 ** 25).describe('Largest body in bytes, counted as it comes and after decompression.'),
  redirectsMax: z.int().min(0).max(20).default(5).describe('Redirects that are followed.'),
  ports: z.array(z.int().min(1).max(65_535)).min(1).default([80, 443]).describe('Ports that may be asked.'),
  robots: z.enum(['honour', 'ignore']).default('honour').describe('Whether robots.txt (RFC 9309) is asked first.'),
  robotsAgent: z.string().regex(/^[A-Za-z_-]+$/, 'letters, "_" and "-" only').default('winnow').describe('Name that groups of robots.txt and directives of X-Robots-Tag go by.'),
  optOut: z.array(z.enum(OPT_OUTS)).default([...OPT_OUTS]).describe('Directives of X-Robots-Tag, and the TDM-Reservation header, that leave a picture out; []: none.'),
  userAgent: z.string().regex(/^[\x20-\x7e]{1,400}$/, 'printable ASCII, 400 characters at most').default('Mozilla/5.0 (compatible; winnow/0.1)').describe('User-Agent header. Name a page about you and an address in it.'),
  allowPrivate: z.array(z.union([z.cidrv4(), z.cidrv6()])).default([]).describe('Networks, such as 10.1.0.0/16, that may be asked although they are private. Default: none.'),
  blockRows: z.int().min(1).max(65_536).default(1_024).describe('URLs of one task: what a killed run asks for again, and the rows that share tars.'),
  shardBytesMax: z.int().min(2 ** 10).max(2 ** 32).default(2 ** 28).describe('Largest tar in bytes, unless one picture alone is larger.'),
});
export type DownloadConfig = z.infer<typeof DownloadConfig>;

/** The settings that decide which bytes are kept and where: with others, everything is fetched anew. */
export function decisiveSettings({ sizeBytesMax, redirectsMax, ports, robots, robotsAgent, optOut, allowPrivate, blockRows, shardBytesMax }: DownloadConfig): Record<string, unknown> {
  const sorted = <T extends string | number>(values: readonly T[]): T[] => [...new Set(values)].sort((a, b) => (a < b ? -1 : 1));
  return { sizeBytesMax, redirectsMax, ports: sorted(ports), robots, robotsAgent, optOut: sorted(optOut), allowPrivate: sorted(allowPrivate), blockRows, shardBytesMax };
}
