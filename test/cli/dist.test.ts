/** The package as it is built and installed: JavaScript under `dist/`, recipes beside it, worker threads with a model. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { colourModel } from '../helpers/colour-model.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

describe('the built package', () => {
  let folder: string;
  let cli: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'winnow-dist-'));
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(folder, 'dist')], { stdio: 'pipe' });
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
    await mkdir(join(folder, 'pipelines'));
    await cp(join(ROOT, 'pipelines', 'recipes'), join(folder, 'pipelines', 'recipes'), { recursive: true });
    const { bin } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { bin: { winnow: string } };
    cli = join(folder, bin.winnow);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const node = (...args: string[]): Promise<{ stdout: string; stderr: string }> => promisify(execFile)(process.execPath, [cli, ...args], { cwd: tmpdir() });

  it('shows its help', async () => {
    expect((await node('--help')).stdout).toContain('Usage: winnow');
  });

  it('draws the demo and curates it', async () => {
    const { stdout } = await node('demo', '--count', '150', '--store', join(folder, 'demo'), '--quiet');
    expect(stdout).toMatch(/Funnel\n {2}images found +150\n/);
  });

  it('serves its pages with the scripts that belong to them', async () => {
    const server = spawn(process.execPath, [cli, 'atlas', join(folder, 'demo'), '--port', '0'], { stdio: ['ignore', 'ignore', 'pipe'] });
    try {
      let said = '';
      const url = await new Promise<string>((resolve, reject) => {
        server.stderr.setEncoding('utf8').on('data', (text: string) => {
          said += text;
          const address = /is at (http:\S+)/.exec(said)?.[1];
          if (address !== undefined) resolve(address);
        });
        server.on('close', () => reject(new Error(said)));
      });
      for (const name of ['atlas.js', 'live.js']) {
        const script = await fetch(`${url}/static/${name}`);
        expect(script.headers.get('content-type')).toMatch(/^text\/javascript/);
        expect(await script.text()).toMatch(/addEventListener/);
      }
    } finally {
      server.kill('SIGTERM');
    }
  });

  it('runs a model on worker threads', async () => {
    await writeFile(join(folder, 'colour.onnx'), colourModel({ limit: 256 }));
    const recipe = { format: 'winnow-recipe/1', name: 'built', pool: [{ folder: './demo/corpus' }], embed: { model: './colour.onnx' }, execution: { threads: 2 } };
    await writeFile(join(folder, 'recipe.yaml'), stringify(recipe));
    const { stdout, stderr } = await node('run', join(folder, 'recipe.yaml'), '--store', join(folder, 'store'));
    expect(stderr).toMatch(/^colour\.onnx gives 6 dimensions .* runs on cpu$/m);
    expect(stdout).toMatch(/images found +150\n/);
    expect(await readdir(join(folder, 'store', 'dataset'))).toEqual(expect.arrayContaining(['manifest.json', 'shards']));
  });

  it('is a library too', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', `import { SILENT, SILENT_PROGRESS, loadRecipe, openFsStore, run, summarise } from 'winnow';
      const store = ${JSON.stringify(join(folder, 'library'))};
      const loaded = await loadRecipe(${JSON.stringify(join(folder, 'recipe.yaml'))});
      await run({ loaded, store, until: 'shard', force: [], progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal });
      console.log((await summarise(await openFsStore(store))).funnel.listed);`], { cwd: folder });
    expect(stdout).toBe('150\n');
  });
});
