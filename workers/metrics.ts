/**
 * What a worker and a queue tell Prometheus. Names are those that the dashboard under `infra/`
 * asks for. Counters are of this process since it began; nothing here is read by the product.
 */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { Measure } from '../src/run/stage.ts';
import type { QueueStatus } from './status.ts';

export interface Metrics {
  readonly contentType: string;
  /** Prometheus text. */
  render(): Promise<string>;
}

export interface WorkerMetrics extends Metrics {
  observe(measure: Measure): void;
  endTask(task: { readonly stage: string; readonly kind: string; readonly outcome: string; readonly seconds: number }): void;
}

const TASK_SECONDS = [0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600];
const BATCH_SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15];

/** Counters of one worker, all zero; also Node's own of memory, event loop and processor. */
export function createWorkerMetrics(): WorkerMetrics {
  const registers = [new Registry()];
  const registry = registers[0]!;
  const images = new Counter({ name: 'winnow_images_total', help: 'Images read and decoded, by how each ended.', labelNames: ['status'], registers });
  const imageBytes = new Counter({ name: 'winnow_image_bytes_total', help: 'Bytes of the images read.', registers });
  const batches = new Histogram({ name: 'winnow_model_batch_seconds', help: 'Time from handing images to the model until their vectors are there.', buckets: BATCH_SECONDS, registers });
  const inertia = new Gauge({ name: 'winnow_inertia', help: 'Inertia of the newest k-means iteration, in scaled units.', labelNames: ['level'], registers });
  const tasks = new Histogram({ name: 'winnow_task_seconds', help: 'Time of a task, by stage, kind and outcome.', labelNames: ['stage', 'kind', 'outcome'], buckets: TASK_SECONDS, registers });
  collectDefaultMetrics({ register: registry });
  return {
    ...rendered(registry),
    observe: (measure) => {
      switch (measure.of) {
        case 'image':
          images.inc({ status: measure.status });
          imageBytes.inc(measure.sizeBytes);
          return;
        case 'model-batch':
          batches.observe(measure.seconds);
          return;
        case 'inertia':
          inertia.set({ level: String(measure.level) }, measure.inertia);
      }
    },
    endTask: ({ seconds, ...labels }) => tasks.observe(labels, seconds),
  };
}

/**
 * Depth, failures and workers of every queue, asked for anew at each scrape.
 *
 * @param read such as `readStatus`; when it fails, `winnow_redis_up` is 0 and nothing else is told
 */
export function createQueueMetrics(read: () => Promise<QueueStatus>): Metrics {
  const registers = [new Registry()];
  const registry = registers[0]!;
  const up = new Gauge({ name: 'winnow_redis_up', help: 'Whether Redis answered.', registers });
  const jobs = new Gauge({ name: 'winnow_queue_jobs', help: 'Tasks in a queue, by stage and state.', labelNames: ['stage', 'state'], registers });
  const done = new Gauge({ name: 'winnow_queue_done', help: 'Tasks ever done in a queue.', labelNames: ['stage'], registers });
  const workers = new Gauge({ name: 'winnow_workers', help: 'Workers that serve a stage.', labelNames: ['stage'], registers });
  const text = rendered(registry);
  return {
    contentType: text.contentType,
    render: async () => {
      const status = await read().catch(() => null);
      up.set(status === null ? 0 : 1);
      for (const gauge of [jobs, done, workers]) gauge.reset();
      for (const { stage, done: count, ...states } of status?.stages ?? []) {
        for (const state of ['waiting', 'active', 'delayed', 'failed'] as const) jobs.set({ stage, state }, states[state]);
        done.set({ stage }, count);
        workers.set({ stage }, status!.workers.filter(({ stages }) => stages.includes(stage)).length);
      }
      return text.render();
    },
  };
}

function rendered(registry: Registry): Metrics {
  return { contentType: registry.contentType, render: () => registry.metrics() };
}
