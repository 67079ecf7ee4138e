/** Winnow's batches in TypeScript, on `fetch` and apache-arrow: `for await (const { metadata, batch } of feed(url, { steps: 10 }))`. */
import { type RecordBatch, RecordBatchReader } from 'apache-arrow';

export interface FeedQuery {
  readonly step?: number;
  readonly steps: number;
  readonly every?: number;
  readonly rank?: number;
  readonly worldSize?: number;
  readonly images?: 0 | 1;
}

/** Batches in order of step; a lost connection is asked for again from the step that is due, a few times. */
export async function* feed(url: string, query: FeedQuery, triesMax = 20): AsyncGenerator<{ metadata: Record<string, string>; batch: RecordBatch }> {
  const { every = 1, steps } = query;
  let done = 0;
  for (let tries = 0; done < steps; tries++) {
    const asked = new URLSearchParams(Object.entries({ ...query, step: (query.step ?? 0) + done * every, steps: steps - done }).map(([key, value]): [string, string] => [key, String(value)]));
    const response = await fetch(`${url}/batches?${asked}`).catch(() => null);
    if (response !== null && !response.ok && response.status !== 503) throw new Error(await response.text());
    if (response?.ok === true) {
      try {
        for await (const batch of await RecordBatchReader.from(response)) {
          tries = 0;
          done += 1;
          yield { metadata: Object.fromEntries(batch.metadata), batch };
        }
      } catch (error) {
        if (tries >= triesMax) throw error;
      }
    }
    if (done < steps && tries >= triesMax) throw new Error(`expected ${steps} batches from ${url}, got ${done}`);
    if (done < steps) await new Promise((resolve) => setTimeout(resolve, 50 * (tries + 1)));
  }
}
