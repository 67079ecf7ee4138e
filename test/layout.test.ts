/**
 * The import rules and budgets of the design, as a test: base below stages, each stage below the next, one door to each
 * library, no cycles, files and functions of bounded length, one word for a stage in every place.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAGES = ['ingest', 'embed', 'filter', 'dedup', 'cluster', 'sample', 'retrieve', 'mix', 'shard', 'batch'];

/** What later stages and pipelines may import of a stage: its nouns, its settings, and the ports it offers. */
const PUBLIC: Record<string, string[]> = {
  ingest: ['image.ts', 'bytes.ts'],
  embed: ['embedding.ts', 'config.ts', 'model.ts', 'encoder.ts', 'decode.ts', 'second-read.ts'],
  filter: ['filter.ts', 'config.ts', 'command.ts', 'command-process.ts'],
  dedup: ['duplicates.ts', 'config.ts'],
  cluster: ['tree.ts', 'config.ts'],
  sample: ['selection.ts', 'config.ts'],
  retrieve: ['config.ts'],
  mix: ['mixture.ts'],
  shard: ['shard.ts', 'read.ts'],
  batch: ['batch.ts', 'config.ts'],
};

/** Files that may import a library; a prefix ending in `/` stands for a folder. */
const DOORS: Record<string, string[]> = {
  'onnxruntime-node': ['src/onnx/session.ts'],
  geotiff: ['src/ingest/raster-tiff.ts', 'src/ingest/tiff-codecs.ts', 'src/ingest/tiff-layout.ts'],
  sharp: ['src/embed/decode.ts', 'src/ingest/raster-picture.ts', 'src/demo/write.ts', 'src/report/contact-sheet.ts', 'src/report/thumbnail.ts'],
  'apache-arrow': ['src/arrow/ipc.ts'],
  pino: ['src/log.ts', 'src/cli/session.ts'],
  commander: ['src/cli.ts', 'src/cli/options.ts', 'src/cli/commands/'],
  fastify: ['src/batch/serve.ts', 'src/web/server.ts', 'workers/'],
  '@aws-sdk/client-s3': ['src/store/s3-client.ts', 'src/store/s3-read.ts', 'src/store/s3-write.ts'],
  '@aws-sdk/lib-storage': ['src/store/s3-write.ts'],
  'hyparquet-writer': ['src/export/parquet.ts'],
  'prom-client': ['src/batch/feed-metrics.ts', 'workers/metrics.ts'],
  bullmq: ['workers/'],
  ioredis: ['workers/'],
  '@observablehq/plot': ['src/report/chart.ts'],
  linkedom: ['src/report/chart.ts'],
  'cli-progress': ['src/cli/progress.ts'],
  yaml: ['src/config.ts', 'src/web/draft.ts'],
  'umap-js': ['src/web/map.ts'],
  'csv-parse': ['src/ingest/'],
  hyparquet: ['src/ingest/'],
  '@huggingface/hub': ['src/embed/'],
  '@huggingface/tokenizers': ['src/retrieve/tokenizer.ts'],
  undici: ['src/download/client.ts'],
  'ipaddr.js': ['src/download/address.ts'],
  'robots-parser': ['src/download/opt-out.ts'],
};

interface Source {
  readonly path: string;
  readonly text: string;
  readonly lines: string[];
  /** Relative imports, as paths from the root. */
  readonly local: string[];
  /** Package names. */
  readonly packages: string[];
}

function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return filesBelow(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

function readSource(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const imports = [...text.matchAll(/^\s*(?:import|export)\b[^;'"]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm)].map((match) => (match[1] ?? match[2] ?? match[3])!);
  return {
    path,
    text,
    lines: text.split('\n'),
    local: imports.filter((name) => name.startsWith('.')).map((name) => normalize(join(dirname(path), name))),
    packages: imports.filter((name) => !name.startsWith('.') && !name.startsWith('node:')).map((name) => name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/')),
  };
}

const sources = [...filesBelow('src'), ...filesBelow('pipelines'), ...filesBelow('workers')].map(readSource);
const stageOf = (path: string): string | null => STAGES.find((stage) => path.startsWith(`src/${stage}/`)) ?? null;

describe('layout', () => {
  it('lets a stage import the base, itself, and the public files of earlier stages', () => {
    const wrong: string[] = [];
    for (const { path, local } of sources) {
      const own = stageOf(path);
      if (own === null) continue;
      for (const target of local) {
        const other = stageOf(target);
        if (other === own) continue;
        if (target.startsWith('pipelines/') || target.startsWith('src/cli') || target === 'src/config.ts' || target.startsWith('src/report/')) wrong.push(`${path} imports ${target}`);
        if (other === null) continue;
        if (STAGES.indexOf(other) > STAGES.indexOf(own)) wrong.push(`${path} imports the later stage ${target}`);
        else if (!PUBLIC[other]?.includes(relative(`src/${other}`, target))) wrong.push(`${path} imports ${target}, which is not public`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('keeps the base free of stages', () => {
    const base = /^src\/(errors|random|log|version)\.ts$|^src\/(store|arrow|run|vector|onnx)\//;
    const wrong = sources.filter(({ path }) => base.test(path)).flatMap(({ path, local }) => local.filter((target) => !base.test(target)).map((target) => `${path} imports ${target}`));
    expect(wrong).toEqual([]);
  });

  it('has one door to each library', () => {
    const wrong: string[] = [];
    for (const { path, packages } of sources) {
      for (const name of packages) {
        const doors = DOORS[name];
        if (doors !== undefined && !doors.some((door) => (door.endsWith('/') ? path.startsWith(door) : path === door))) wrong.push(`${path} imports ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('uses only declared dependencies at run time', () => {
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
    const used = new Set(sources.flatMap(({ packages }) => packages));
    expect([...used].filter((name) => !(name in dependencies))).toEqual([]);
    const idle = Object.keys(dependencies).filter((name) => !used.has(name) && name !== 'tsx');
    expect(idle).toEqual([]);
  });

  it('has no import cycle', () => {
    const graph = new Map(sources.map(({ path, local }) => [path, local]));
    const state = new Map<string, 'open' | 'done'>();
    const cycles: string[] = [];
    const visit = (path: string, trail: string[]): void => {
      if (state.get(path) === 'done') return;
      if (state.get(path) === 'open') {
        cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
        return;
      }
      state.set(path, 'open');
      for (const target of graph.get(path) ?? []) if (graph.has(target)) visit(target, [...trail, path]);
      state.set(path, 'done');
    };
    for (const path of graph.keys()) visit(path, []);
    expect(cycles).toEqual([]);
  });

  it('keeps files to 300 lines and functions to 60', () => {
    const long = sources.filter(({ lines }) => lines.length > 301).map(({ path, lines }) => `${path}: ${lines.length} lines`);
    for (const { path, lines } of sources) {
      lines.forEach((line, start) => {
        if (!/^(export )?(async )?function/.test(line)) return;
        const end = lines.findIndex((other, i) => i >= start && other.startsWith('}'));
        if (end - start + 1 > 60) long.push(`${path}:${start + 1}: a function of ${end - start + 1} lines`);
      });
    }
    expect(long).toEqual([]);
  });

  it('opens every file with a comment, and documents every exported function', () => {
    const bare = sources.filter(({ lines }) => !(lines[0]!.startsWith('/**') || lines[1]?.startsWith('/**'))).map(({ path }) => path);
    for (const { path, lines } of sources) {
      lines.forEach((line, i) => {
        if (/^export (async )?function\*? /.test(line) && !lines[i - 1]?.trimEnd().endsWith('*/')) bare.push(`${path}:${i + 1}: ${line}`);
      });
    }
    expect(bare).toEqual([]);
  });

  it('has no drawer called utils, helpers, common or manager in src', () => {
    expect(sources.map(({ path }) => path).filter((path) => /(^|[/-])(utils?|helpers?|common|manager|misc)([./-]|$)/i.test(path))).toEqual([]);
  });

  it('names each stage the same in src, pipelines and test', () => {
    const pipelines = readdirSync(join(ROOT, 'pipelines')).filter((name) => /^\d-/.test(name));
    for (const name of pipelines) {
      const [number, stage] = [Number(name[0]), name.slice(2, -3)];
      // Step three is two words: who stays is for rules to say, then for duplicates.
      expect(STAGES.filter((word) => stage === 'filter' || word !== 'filter')[number - 1]).toBe(stage);
      expect(readdirSync(join(ROOT, 'src', stage)).length).toBeGreaterThan(0);
      expect(readdirSync(join(ROOT, 'test', stage)).some((file) => file.endsWith('.test.ts'))).toBe(true);
    }
  });

  it('leaves console to nobody', () => {
    expect(sources.filter(({ text }) => /\bconsole\./.test(text)).map(({ path }) => path)).toEqual([]);
  });
});
