/** What runs the product: the files are well formed by the schemas there are, and agree with the code and with each other. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { createFeedMetrics, createLoad } from '../../src/batch/feed-metrics.ts';
import { createWorkerMetrics, createQueueMetrics } from '../../workers/metrics.ts';
import { PREFIX, QUEUE_STAGES } from '../../workers/queue.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const at = (...path: string[]): string => join(ROOT, 'infra', ...path);
const text = (...path: string[]): string => readFileSync(at(...path), 'utf8');
const require = createRequire(import.meta.url);

interface Document {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: never;
}

const documents = readdirSync(at('k8s')).flatMap((file) => parseAllDocuments(text('k8s', file)).map((document) => ({ file, value: document.toJS() as Document })));

/** Containers of every pod there is. */
const pods = documents.flatMap(({ value }) => {
  const spec = value.spec as { template?: { spec: Pod } } | undefined;
  return spec?.template === undefined ? [] : [{ name: value.metadata.name, pod: spec.template.spec }];
});

interface Pod {
  readonly terminationGracePeriodSeconds?: number;
  readonly containers: readonly { readonly image: string; readonly args?: readonly string[]; readonly command?: readonly string[]; readonly resources: { requests: object; limits: object }; readonly securityContext?: object }[];
}

describe('the Kubernetes manifests', () => {
  it('hold by the schemas of Kubernetes and KEDA', () => {
    expect(documents.length).toBeGreaterThan(12);
    for (const { file, value } of documents) {
      const [group, version] = value.apiVersion.includes('/') ? value.apiVersion.split('/') : ['', value.apiVersion];
      const module = group === 'keda.sh' ? `@kubernetes-models/keda/keda.sh/${version}` : `kubernetes-models${group === '' ? '' : `/${group}`}/${version}`;
      const models = require(module) as Record<string, new (value: unknown) => { validate(): void }>;
      expect(() => new models[value.kind]!(value).validate(), `${file}: ${value.kind} ${value.metadata.name}`).not.toThrow();
    }
  });

  it('notice a manifest that is wrong', () => {
    const { Deployment } = require('kubernetes-models/apps/v1') as Record<string, new (value: unknown) => { validate(): void }>;
    expect(() => new Deployment!({ metadata: { name: 'x' }, spec: { replicas: 'many' } }).validate()).toThrow();
  });

  it('give workers longer than their drain, requests of each, and no privileges', () => {
    expect(pods.map(({ name }) => name).sort()).toEqual(['board', 'redis', 'run', 'worker-cpu', 'worker-download', 'worker-gpu']);
    for (const { name, pod } of pods) {
      for (const { image, args = [], resources, securityContext } of pod.containers) {
        expect(resources.requests, name).toMatchObject({ cpu: expect.anything(), memory: expect.anything() });
        expect(resources.limits, name).toMatchObject({ memory: expect.anything() });
        if (image.startsWith('winnow')) expect(securityContext, name).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true });
        if (args[0] !== 'worker') continue;
        const drain = Number(args[args.indexOf('--drain') + 1]);
        expect(pod.terminationGracePeriodSeconds! - drain, name).toBeGreaterThanOrEqual(20);
      }
    }
  });

  it('serve every stage there is, and scale by queues that exist', () => {
    const served = pods.flatMap(({ pod }) => pod.containers).flatMap(({ args = [] }) => (args[0] === 'worker' ? args[args.indexOf('--stages') + 1]!.split(',') : []));
    expect(served.sort()).toEqual([...QUEUE_STAGES].sort());
    const lists = [...text('k8s', 'keda.yaml').matchAll(/listName: "([^"]+)"/g)].map(([, name]) => name!);
    expect(lists.length).toBeGreaterThan(2);
    for (const list of lists) expect(QUEUE_STAGES.map((stage) => `${PREFIX}:${stage}:prioritized`)).toContain(list);
  });
});

describe('compose.yaml', () => {
  interface Service {
    readonly image: string;
    readonly command: readonly string[];
    readonly stop_grace_period?: string;
    readonly ports?: readonly string[];
  }
  const { services } = parse(text('compose.yaml'), { merge: true }) as { services: Record<string, Service> };

  it('keeps tasks in Redis, whatever happens', () => {
    const { command } = services['redis']!;
    expect(command[command.indexOf('--maxmemory-policy') + 1]).toBe('noeviction');
    expect(command[command.indexOf('--appendonly') + 1]).toBe('yes');
  });

  it('gives workers longer than their drain, publishes to this machine alone, and holds no secret', () => {
    const { command, stop_grace_period: grace } = services['worker']!;
    expect(Number.parseInt(grace!, 10)).toBeGreaterThan(Number(command[command.indexOf('--drain') + 1]) + 5);
    for (const [name, { ports = [], image }] of Object.entries(services)) {
      for (const port of ports) expect(port, name).toMatch(/^127\.0\.0\.1:/);
      expect(image, name).toMatch(/:(?!latest)[\w.-]+$/);
    }
    const wanted = [...text('compose.yaml').matchAll(/\$\{(\w+)/g)].map(([, name]) => name!);
    const named = [...text('.env.example').matchAll(/^(\w+)=/gm)].map(([, name]) => name!);
    expect([...new Set(wanted)].sort()).toEqual(named.sort());
    expect(readFileSync(join(ROOT, '.gitignore'), 'utf8').split('\n')).toContain('infra/.env');
  });
});

describe('the images', () => {
  it.each(['Dockerfile', 'Dockerfile.cuda'])('%s copies what is there, and what .dockerignore lets in', (file) => {
    const ignored = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
    const copied = [...text('docker', file).matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names]) => names!.split(' '));
    expect(copied.length).toBeGreaterThan(5);
    for (const name of copied) {
      expect(existsSync(join(ROOT, name)), name).toBe(true);
      expect(ignored, name).toContain(`!${name}`);
    }
    expect(text('docker', file)).toMatch(/^USER (node|1000:1000)$/m);
  });
});

describe('the dashboard', () => {
  it('asks for metrics that exist, by labels that they have', async () => {
    const worker = createWorkerMetrics();
    worker.observe({ of: 'image', status: 'ok', sizeBytes: 1 });
    worker.observe({ of: 'model-batch', seconds: 1 });
    worker.observe({ of: 'inertia', level: 1, inertia: 1 });
    worker.endTask({ stage: 'embed', kind: 'embed-part', outcome: 'done', seconds: 1 });
    const stage = { stage: 'embed', waiting: 1, active: 0, delayed: 0, failed: 0, done: 0, perMinute: null, etaSeconds: null };
    const queues = createQueueMetrics(async () => ({ runs: [], stages: [stage], workers: [], failures: [] }));
    const feed = createFeedMetrics({ counts: { batches: 1, rows: 1, imageBytes: 1, substituted: 0 } }, createLoad());
    const lines = (await Promise.all([worker, queues, feed].map((metrics) => metrics.render()))).join('\n');
    const { panels } = JSON.parse(text('grafana', 'winnow.json')) as { panels: { title: string; targets: { expr: string }[] }[] };
    const exprs = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    expect(exprs.length).toBeGreaterThan(12);
    for (const expr of exprs) {
      const names = expr.match(/\b(?:winnow|process)_\w+/g)!;
      expect(names.length, expr).toBeGreaterThan(0);
      for (const name of names) expect(new RegExp(`^${name}(?:\\{| |$)`, 'm').test(lines), `${name} of ${expr}`).toBe(true);
      for (const [, labels] of expr.matchAll(/by \(([^)]+)\)/g)) {
        for (const label of labels!.split(', ')) expect(new RegExp(`^${names[0]}\\{[^}]*\\b${label}="`, 'm').test(lines), `label ${label} of ${expr}`).toBe(true);
      }
    }
  });
});
