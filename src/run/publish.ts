/**
 * A change of several stages at once, all or nothing: everything new is written under a staging prefix while the store stays
 * as it was; one object, written last, says what goes where; from then on the change is carried through, by this run
 * or by the next one (a redo log). Before that object is there, nothing has happened.
 */
import type { Store } from '../store/store.ts';

export interface Publication {
  /** Staged keys and where they go. */
  readonly copies: readonly Move[];
  /** Staged manifests and where they go, in the order in which they are committed, after all copies. */
  readonly manifests: readonly Move[];
}

export interface Move {
  readonly from: string;
  readonly to: string;
}

/** Commits a publication whose keys are all staged under `prefix`, which ends in `/`, and carries it through. */
export async function publish(store: Store, prefix: string, publication: Publication): Promise<void> {
  await store.write(`${prefix}${READY}`, new TextEncoder().encode(`${JSON.stringify(publication)}\n`));
  await finishPublication(store, prefix);
}

/**
 * Carries through what was committed and not finished; may itself be stopped and called again. Manifests that are to be
 * replaced go first, so that no reader takes a stage that is half old and half new for a whole one.
 *
 * @returns whether there was anything to carry through
 */
export async function finishPublication(store: Store, prefix: string): Promise<boolean> {
  const key = `${prefix}${READY}`;
  if ((await store.head(key)) === null) return false;
  const { copies, manifests } = JSON.parse(new TextDecoder().decode(await store.read(key))) as Publication;
  for (const { to } of [...manifests].reverse()) await store.remove(to);
  for (const { from, to } of [...copies, ...manifests]) await store.write(to, await store.read(from));
  await store.remove(key);
  await discardStaged(store, prefix);
  return true;
}

/** Removes what is staged under `prefix` and its task records: a change that is done with, or given up. */
export async function discardStaged(store: Store, prefix: string): Promise<void> {
  await store.remove(`work/${prefix}`);
  await store.remove(prefix);
}

const READY = 'ready.json';
