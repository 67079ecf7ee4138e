/**
 * Nouns of the filter stage: rules as tasks get them, rows of a part while they are judged, and the table `filters/`. Its parts
 * hold the rows of those of `embeddings/`; `reason` is null where a row stays, and where embedding had refused it before.
 */
import type { Columns } from '../arrow/tables.ts';
import type { ImagePlace } from '../ingest/image.ts';
import type { Manifest } from '../run/manifest.ts';
import type { FilterConfig } from './config.ts';

/** Key prefix of the table. */
export const FILTERS = 'filters';

type Settings<K extends keyof FilterConfig> = NonNullable<FilterConfig[K]>;

interface Named {
  readonly name: string;
  /** What the manifest records beside the settings: hashes, versions, counts. Names no path of a machine. */
  readonly identity: Readonly<Record<string, unknown>>;
}

export type SizeRule = Named & { readonly kind: 'size'; readonly size: Settings<'size'> };
export type BlurRule = Named & { readonly kind: 'blur'; readonly blur: Settings<'blur'> };
export type FlatRule = Named & { readonly kind: 'flat'; readonly flat: Settings<'flat'> };
/** `score.model` is the resolved reference. */
export type ScoreRule = Named & { readonly kind: 'score'; readonly score: Settings<'score'> };
/** The entries lie in the store, at `list`. */
export type ListRule = Named & { readonly kind: 'allow' | 'deny'; readonly list: string };
/** `files` are the absolute paths of the words that name files, in the order of the words. */
export type CommandRule = Named & { readonly kind: 'command'; readonly command: Settings<'command'>; readonly folder: string };
export type CapRule = Named & { readonly kind: 'cap'; readonly cap: Settings<'cap'> };

/** A rule that is decided by a row alone (or, for a command, by the rows of its part). */
export type RowRule = SizeRule | BlurRule | FlatRule | ScoreRule | ListRule | CommandRule;
export type Rule = RowRule | CapRule;

export interface FiltersManifest extends Manifest {
  /** In order: rows that each rule rejected, of those that the rules before it had left. */
  readonly rules: readonly { readonly name: string; readonly kind: string; readonly rejected: number }[];
}

/** What is known of the rows of one part before any rule is asked. */
export interface PartRows {
  readonly firstRow: number;
  readonly rowCount: number;
  readonly id: readonly (string | null)[];
  /** As embedding left them. */
  readonly status: readonly string[];
  readonly width: Uint32Array;
  readonly height: Uint32Array;
  readonly uri: readonly string[];
  readonly source: readonly string[];
  readonly label: readonly (string | null)[];
  /** JSON text; null where there is none, or where no rule asked for it. */
  readonly meta: readonly (string | null)[];
  readonly place: readonly ImagePlace[];
  /** Bytes of each image as listed, or −1. */
  readonly sizeBytes: Float64Array;
  /** Dimensions of a vector; 0 when no rule asked for vectors. */
  readonly d: number;
  /** rowCount × d; zeros where the status is not ok. */
  readonly vectors: Float32Array;
}

/** What the rules have said so far, by position in the part. */
export interface Judged {
  readonly reason: (string | null)[];
  readonly detail: (string | null)[];
  /** By column, without its prefix; NaN where nothing was measured. */
  readonly scores: Map<string, Float32Array>;
  /** Rows rejected since their image could not be had a second time. */
  unread: number;
}

/** Nothing said yet. */
export function createJudged(rowCount: number, scores: readonly string[]): Judged {
  return {
    reason: new Array<null>(rowCount).fill(null),
    detail: new Array<null>(rowCount).fill(null),
    scores: new Map(scores.map((name) => [name, new Float32Array(rowCount).fill(Number.NaN)])),
    unread: 0,
  };
}

/** The reason that a rule gives to a row. */
export function reasonOf(rule: { readonly name: string }): string {
  return `filter:${rule.name}`;
}

/** Positions of rows that embedding took and no rule has rejected yet, ascending. */
export function undecided({ status }: Pick<PartRows, 'status'>, { reason }: Judged): number[] {
  return status.flatMap((one, i) => (one === 'ok' && reason[i] === null ? [i] : []));
}

/** Rejects a row. @param detail what the rule saw, for people */
export function reject(judged: Judged, rule: { readonly name: string }, i: number, detail: string | null): void {
  judged.reason[i] = reasonOf(rule);
  judged.detail[i] = detail;
}

/** Rejects a row whose image could not be had a second time. */
export function rejectUnread(judged: Judged, rule: { readonly name: string }, i: number, fault: string): void {
  reject(judged, rule, i, fault);
  judged.unread++;
}

/** The columns of `filters/`: `reason`, `detail`, and `score.<name>` of every rule that measures. */
export function judgedColumns({ reason, detail, scores }: Judged): Columns {
  const measured = [...scores].map(([name, values]) => {
    const valid = Uint8Array.from(values, (value) => (Number.isNaN(value) ? 0 : 1));
    return [`score.${name}`, { type: 'float32', values: values.map((value) => (Number.isNaN(value) ? 0 : value)), valid }] as const;
  });
  return { reason: { type: 'dictionary', values: reason }, detail: { type: 'utf8', values: detail }, ...Object.fromEntries(measured) };
}
