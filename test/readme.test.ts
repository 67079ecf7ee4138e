/** The README is executed: its recipes parse, its commands run in order, its Python reads the output, its tree exists. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { STAGES } from '../pipelines/curate.ts';
import { parseRecipe, recipeJsonSchema } from '../src/config.ts';
import { drawCorpus } from '../src/demo/draw.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

function blocks(language: string): string[] {
  return [...README.matchAll(/^```(.*)\n([\s\S]*?)^```/gm)].filter((match) => match[1] === language).map((match) => match[2]!);
}

describe('README', () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'winnow-readme-'));
    await drawCorpus(join(folder, 'pictures'), { images: 300, concepts: 12 });
    const [first, second] = (await readdir(join(folder, 'pictures'), { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
    await cp(join(folder, 'pictures', first!), join(folder, 'seeds'), { recursive: true });
    await mkdir(join(folder, 'labelled'));
    await cp(join(folder, 'pictures', second!), join(folder, 'labelled', second!), { recursive: true });
    await writeFile(join(folder, 'recipe.yaml'), blocks('yaml recipe').join(''));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('shows recipes that are valid', () => {
    expect(blocks('yaml recipe').length).toBeGreaterThan(0);
    for (const text of blocks('yaml recipe')) parseRecipe(parse(text), 'README');
  });

  it('shows commands that run, in the order they stand, and Python that reads what they made', (context) => {
    const commands = blocks('sh run').flatMap((block) => block.trim().split('\n')).map((line) => line.replace(/\s+#.*$/, ''));
    expect(commands.length).toBeGreaterThan(5);
    for (const command of commands) {
      const local = command.replace(/^npx winnow/, `"${process.execPath}" --import "${import.meta.resolve('tsx')}" "${join(ROOT, 'src/cli.ts')}"`);
      const { status, stderr } = spawnSync('sh', ['-c', local], { cwd: folder, encoding: 'utf8' });
      expect(status, `${command}\n${stderr}`).toBe(0);
    }
    const python = pythonWithArrow();
    if (python === null) return context.skip('commands ran; no python3 with pyarrow here, so the Python block was not run');
    const output = execFileSync(python, ['-c', blocks('python').join('\n'), join(folder, 'my-dataset'), join(folder, 'batches.arrows')], { encoding: 'utf8' });
    expect(output).toMatch(/^balanced \d+ \['id', 'uri', 'row'/m);
  });

  it('names only files and folders that exist, and all of the top of src', async () => {
    const tree = blocks('tree').join('');
    const named: string[] = [];
    let parent = '';
    for (const line of tree.trim().split('\n')) {
      const indented = line.startsWith('  ');
      for (const word of line.split(/\s{3,}/)[0]!.trim().split(/\s+/)) {
        if (!/[./]/.test(word)) continue;
        if (!indented) parent = word;
        named.push(indented ? `${parent}${word}` : word);
      }
    }
    for (const path of named) expect(existsSync(join(ROOT, path)), path).toBe(true);
    for (const entry of await readdir(join(ROOT, 'src'), { withFileTypes: true })) {
      if (entry.isDirectory() && (await readdir(join(ROOT, 'src', entry.name))).length === 0) continue;
      expect(named, entry.name).toContain(`src/${entry.name}${entry.isDirectory() ? '/' : ''}`);
    }
  });

  it('has a heading for each stage, and links that lead somewhere', () => {
    for (const stage of [...STAGES, 'batch']) expect(README).toContain(`\n### ${stage}\n`);
    for (const [, target] of README.matchAll(/\]\(([^)#]+)\)/g)) expect(existsSync(join(ROOT, target!)), target).toBe(true);
  });

  it('starts with the two commands that CI runs', async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    const [first] = blocks('sh');
    expect(first).toMatch(/^npm ci && npm start /);
    const ci = await readFile(join(ROOT, '.ci/run'), 'utf8');
    for (const command of ['npm ci', 'npm start', 'npm test']) expect(ci).toContain(command);
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['start', 'test']));
  });
});

describe('recipes', () => {
  it.each(['demo', 'folder', 'lvd-1689m', 'sat-493m'])('%s is valid', async (name) => {
    parseRecipe(parse(await readFile(join(ROOT, `pipelines/recipes/${name}.yaml`), 'utf8')), name);
  });

  it('lie beside the JSON Schema of this version (npm run schema)', async () => {
    expect(JSON.parse(await readFile(join(ROOT, 'pipelines/recipes/recipe.schema.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(recipeJsonSchema())));
  });
});

function pythonWithArrow(): string | null {
  for (const python of ['python3', '/usr/bin/python3']) {
    if (spawnSync(python, ['-c', 'import pyarrow']).status === 0) return python;
  }
  return null;
}
