/**
 * Server-sent events of the live page (WHATWG HTML, section 9.2). One reader for all who watch, and none while nobody does. Every
 * change of a piece raises a version, and an event's id is the version it brings a page to: whoever comes back with
 * the last id it saw gets the pieces that changed since, and everything from another server or an older life of this one.
 */
import type { WebEvent } from './route.ts';

export interface LiveFeed<Name extends string> {
  /** All pieces as they are now, and the id that a page made of them starts from. */
  now(): Promise<{ readonly id: string; readonly pieces: Readonly<Record<Name, string>> }>;
  /** Changes after the event of that id, until the client goes. */
  follow(lastId: string, signal: AbortSignal): AsyncIterable<WebEvent>;
}

export interface FeedOptions<Name extends string> {
  render(): Promise<Record<Name, string>>;
  /** Milliseconds from one look to the next. */
  readonly everyMs: number;
  /** Tells one life of the server from another. */
  readonly epoch: string;
}

/** Something is sent at least so often, so that a dead connection is noticed. */
const STILL_HERE_MS = 15_000;

/** Looks only while somebody watches. */
export function createLiveFeed<Name extends string>({ render, everyMs, epoch }: FeedOptions<Name>): LiveFeed<Name> {
  const held = new Map<Name, { html: string; version: number }>();
  let version = 0;
  let watchers = 0;
  let looking: Promise<void> | null = null;
  let lookedAt = -Infinity;
  const look = (): Promise<void> => {
    looking ??= render()
      .then((pieces) => {
        const changed = (Object.entries(pieces) as [Name, string][]).filter(([name, html]) => held.get(name)?.html !== html);
        if (changed.length > 0) version++;
        for (const [name, html] of changed) held.set(name, { html, version });
      })
      .finally(() => {
        looking = null;
        lookedAt = performance.now();
      });
    return looking;
  };
  const idOf = (): string => `${epoch}.${version}`;
  return {
    now: async () => {
      await look();
      return { id: idOf(), pieces: Object.fromEntries([...held].map(([name, { html }]) => [name, html])) as Record<Name, string> };
    },
    follow: async function* (lastId, signal) {
      if (watchers >= WATCHERS_MAX) return;
      watchers++;
      try {
        let seen = versionOf(lastId, epoch);
        let sent = performance.now();
        while (!signal.aborted) {
          // Those who watch at the same time share one look.
          if (performance.now() - lookedAt >= everyMs * 0.9) await look().catch(() => undefined);
          const changed = [...held].filter(([, piece]) => piece.version > seen);
          if (changed.length > 0) {
            seen = version;
            sent = performance.now();
            yield { id: idOf(), event: 'pieces', data: JSON.stringify(Object.fromEntries(changed.map(([name, { html }]) => [name, html]))) };
          } else if (performance.now() - sent > STILL_HERE_MS) {
            sent = performance.now();
            yield { id: '', event: '', data: '' };
          }
          await pause(everyMs, signal);
        }
      } finally {
        watchers--;
      }
    },
  };
}

const WATCHERS_MAX = 200;

/** −1 for an id of another life: everything is new to it. */
function versionOf(id: string, epoch: string): number {
  const [, life, version] = /^(.+)\.(\d{1,15})$/.exec(id) ?? [];
  return life === epoch ? Number(version) : -1;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}
