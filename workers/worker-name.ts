/** A worker's name on its connections, which is how others see it: no registry to fall out of step with who is there. */

export interface WorkerFacts {
  readonly host: string;
  readonly pid: number;
  readonly concurrency: number;
  readonly providers: readonly string[];
  readonly version: string;
}

/** Free of spaces and of BullMQ's own separators. */
export function workerName({ host, pid, concurrency, providers, version }: WorkerFacts): string {
  return [host.replaceAll(/[^\w.-]/g, '_'), pid, concurrency, providers.join('+'), version].join('~');
}

/** @returns null for a name that is not one of ours */
export function parseWorkerName(name: string): WorkerFacts | null {
  const [host, pid, concurrency, providers, version, ...rest] = name.split('~');
  if (host === undefined || version === undefined || rest.length > 0) return null;
  return { host, pid: Number(pid), concurrency: Number(concurrency), providers: providers!.split('+'), version };
}
