/** Lists of ids and of patterns of uris, from a recipe or a file, and whether an image is on one. */
import { readFile } from 'node:fs/promises';
import { WinnowError } from '../errors.ts';
import type { FilterConfig } from './config.ts';
import { type Judged, type ListRule, type PartRows, reject, undecided } from './filter.ts';

/** Entries in order and without repeats, so that equal lists have equal hashes. */
export interface ListEntries {
  /** First 32 hex digits of SHA-256. */
  readonly ids: readonly string[];
  /** Whole uris. */
  readonly uris: readonly string[];
  /** Patterns with at least one `*`. */
  readonly patterns: readonly string[];
}

/** Each row is held against each pattern. */
const PATTERNS_MAX = 10_000;

/** Entries of the recipe and of the file it names. @param path absolute. @throws {WinnowError} INPUT_MISSING, CONFIG_INVALID */
export async function readEntries(name: string, list: NonNullable<FilterConfig['allow']>, path: string | null): Promise<ListEntries> {
  const ids = new Set((list.ids ?? []).map(toId));
  const uris = new Set(list.uris ?? []);
  if (path !== null) {
    const text = await readFile(path, 'utf8').catch((cause: unknown) => {
      throw new WinnowError('INPUT_MISSING', `Expected the list of filter "${name}" at ${path}, could not read it: ${(cause as NodeJS.ErrnoException).code}`, { cause });
    });
    for (const line of text.split('\n')) {
      const entry = line.trim();
      if (entry === '' || entry.startsWith('#')) continue;
      if (/^[0-9a-f]{32}([0-9a-f]{32})?$/i.test(entry)) ids.add(toId(entry));
      else uris.add(entry);
    }
  }
  const patterns = [...uris].filter((uri) => uri.includes('*')).sort();
  if (patterns.length > PATTERNS_MAX) throw new WinnowError('CONFIG_INVALID', `Expected at most ${PATTERNS_MAX} patterns with * in filter "${name}", got ${patterns.length}`);
  return { ids: [...ids].sort(), uris: [...uris].filter((uri) => !uri.includes('*')).sort(), patterns };
}

/** A list made ready to be asked. */
export interface Matcher {
  /** The entry that names the image, or null. */
  match(id: string | null, uri: string): string | null;
}

/** Holds the list; a look-up costs two hashes and one pass a pattern. */
export function createMatcher({ ids, uris, patterns }: ListEntries): Matcher {
  const exact = new Set([...ids, ...uris]);
  return {
    match: (id, uri) => {
      if (id !== null && exact.has(id)) return id;
      if (exact.has(uri)) return uri;
      return patterns.find((pattern) => matches(pattern, uri)) ?? null;
    },
  };
}

/** Rejects what a deny list names, or what an allow list does not. */
export function judgeList(rule: ListRule, matcher: Matcher, rows: PartRows, judged: Judged): void {
  for (const i of undecided(rows, judged)) {
    const entry = matcher.match(rows.id[i]!, rows.uri[i]!);
    if (rule.kind === 'deny' && entry !== null) reject(judged, rule, i, `listed: ${entry}`);
    if (rule.kind === 'allow' && entry === null) reject(judged, rule, i, 'not listed');
  }
}

/**
 * Whether a pattern fits the whole text: `*` is any run of characters. Pieces between stars are looked for from left to right,
 * the first place each time, which is enough and needs no way back: time is that of `indexOf`, never exponential.
 */
export function matches(pattern: string, text: string): boolean {
  const pieces = pattern.split('*');
  const first = pieces[0]!;
  const last = pieces.at(-1)!;
  if (pieces.length === 1) return pattern === text;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  const end = text.length - last.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = text.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}

function toId(hex: string): string {
  return hex.toLowerCase().slice(0, 32);
}
