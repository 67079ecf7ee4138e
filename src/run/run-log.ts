/**
 * `run-log.ndjson`: what manifests must not hold, namely clock times, the host and the folders that names stood for.
 * One line an event, appended at the end of each command; for people, read by no stage.
 */
import { arch, cpus, hostname, platform } from 'node:os';
import type { Store } from '../store/store.ts';

const KEY = 'run-log.ndjson';

/** Appends lines to the store's run log, each with the time and the host. */
export async function appendRunLog(store: Store, events: readonly Readonly<Record<string, unknown>>[]): Promise<void> {
  const before = (await store.head(KEY)) === null ? new Uint8Array(0) : await store.read(KEY);
  const facts = { host: hostname(), node: process.version, platform: `${platform()}-${arch()}`, cores: cpus().length };
  const lines = events.map((event) => `${JSON.stringify({ ...event, ...facts })}\n`).join('');
  await store.write(KEY, Buffer.concat([before, Buffer.from(lines)]));
}
