/** What a server of batches tells Prometheus: counted since it began, read by nothing of the product. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { Feed } from './feed.ts';

/** What the server is doing and has done. */
export interface Load {
  streams: number;
  reservedBytes: number;
  requests: number;
  refused: number;
  /** Streams that ended before their last batch: clients that vanished, images that could not be had under `strict`. */
  broken: number;
  sentBytes: number;
}

/** Of a server that has done nothing yet. */
export function createLoad(): Load {
  return { streams: 0, reservedBytes: 0, requests: 0, refused: 0, broken: 0, sentBytes: 0 };
}

export interface FeedMetrics {
  readonly contentType: string;
  /** Prometheus text. */
  render(): Promise<string>;
}

/** Both are read anew at each scrape. */
export function createFeedMetrics({ counts }: Pick<Feed, 'counts'>, load: Readonly<Load>): FeedMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, read: () => number): Counter =>
    new Counter({
      name: `winnow_${name}`, help, registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name: `winnow_${name}`, help, registers,
      collect() {
        this.set(read());
      },
    });
  counter('batches_total', 'Batches made.', () => counts.batches);
  counter('rows_total', 'Images in them.', () => counts.rows);
  counter('image_bytes_total', 'Bytes of images in them.', () => counts.imageBytes);
  counter('substituted_total', 'Images put in the place of others that could not be read.', () => counts.substituted);
  counter('sent_bytes_total', 'Bytes of Arrow streams handed to clients.', () => load.sentBytes);
  counter('streams_total', 'Streams begun.', () => load.requests);
  counter('streams_refused_total', 'Streams told to come again.', () => load.refused);
  counter('streams_broken_total', 'Streams that ended before their last batch.', () => load.broken);
  gauge('streams', 'Streams under way.', () => load.streams);
  gauge('reserved_bytes', 'Bytes that they are expected to hold at most.', () => load.reservedBytes);
  return { contentType: registry.contentType, render: () => registry.metrics() };
}
