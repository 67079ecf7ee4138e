/** Every verb has help with an example, and the shells complete what the commands declare. */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { type CompletedVerb, SHELLS, completionScript } from '../../src/cli/completion.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { winnow } from '../helpers/winnow.ts';

const COMMANDS = fileURLToPath(new URL('../../src/cli/commands', import.meta.url));

/** Every command there is: those of all files of the folder, which `cli.ts` adds too. */
async function allCommands(): Promise<Command> {
  const program = new Command('winnow');
  const cli = readFileSync(join(COMMANDS, '../../cli.ts'), 'utf8');
  for (const file of readdirSync(COMMANDS).sort()) {
    const exported = Object.entries((await import(pathToFileURL(join(COMMANDS, file)).href)) as Record<string, unknown>).filter(([name]) => name.startsWith('add'));
    for (const [name, add] of exported) {
      expect(cli, `${file} exports ${name}`).toContain(`${name}(program`);
      (add as (program: Command, signal: AbortSignal) => void)(program, new AbortController().signal);
    }
  }
  return program;
}

/** What a user sees after `--help`, at 80 columns. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (more) => (text += more), getOutHelpWidth: () => 80 });
  command.outputHelp();
  return text;
}

describe('--help', () => {
  it('of every verb says what it does, and has an example of it', async () => {
    const { commands } = await allCommands();
    expect(commands.length).toBeGreaterThan(25);
    for (const command of commands) {
      const help = helpOf(command);
      expect(command.description(), command.name()).not.toBe('');
      expect(help, command.name()).toMatch(new RegExp(`Examples?:\\n  winnow ${command.name()}( |$)`, 'm'));
      for (const { description, flags } of command.options) expect(description, `${command.name()} ${flags}`).not.toBe('');
    }
  });

  it('keeps to 80 columns, but for examples to copy', async () => {
    const program = await allCommands();
    for (const command of [program, ...program.commands]) {
      const [before] = helpOf(command).split(/\nExamples?:/);
      expect(before!.split('\n').filter((line) => line.length > 80), command.name()).toEqual([]);
    }
  });

  it('has examples whose options the verb knows', async () => {
    const { commands } = await allCommands();
    for (const command of commands) {
      const lines = helpOf(command).split(/\nExamples?:\n/)[1]!.split('\n').filter((line) => line.startsWith('  winnow '));
      const known = command.options.flatMap(({ long, short }) => [long, short]);
      // What comes after a pipe or a comment is another program's.
      for (const example of lines.map((line) => line.split(/[|>#]|&&/)[0]!)) {
        for (const flag of example.match(/(?<= )--?[a-z][a-z-]*/g) ?? []) expect(known, example.trim()).toContain(flag);
      }
    }
  });
});

describe('completion', () => {
  /** What bash offers for the last of the words. */
  let script: string | null = null;
  async function offers(words: readonly string[]): Promise<string[]> {
    const folder = await temporaryFolder();
    script ??= (await winnow(['completion', 'bash'])).stdout;
    await writeFile(join(folder, 'winnow.bash'), script);
    const program = `source ./winnow.bash; COMP_WORDS=(winnow "$@"); COMP_CWORD=$#; _winnow; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p winnow`;
    const { stdout: said, stderr } = spawnSync('bash', ['--norc', '--noprofile', '-euc', program, 'bash', ...words], { cwd: folder, encoding: 'utf8' });
    expect(stderr).toBe('');
    return said.split('\n').filter((line) => line !== '' && !line.startsWith('complete '));
  }

  it('of bash offers verbs, options, and the values of an option', async () => {
    expect(await offers(['re'])).toEqual(expect.arrayContaining(['report', 'retrieve']));
    expect(await offers(['report', './store', '--s'])).toEqual(expect.arrayContaining(['--source', '--size-mb', '--steps']));
    expect(await offers(['index', './store', '--metric', ''])).toEqual(['l2', 'cosine']);
    expect(await offers(['completion', 'z'])).toEqual(['zsh']);
    // A folder or file: left to the shell.
    expect(await offers(['run', 'reci'])).toEqual([]);
  });

  const hostile: CompletedVerb[] = [{ name: 'verb', about: `a 'quoted' [about]: $(touch hit) \`touch hit\``, options: [{ long: '--what', short: '-w', about: "it's $HOME", takesValue: true, choices: ['one', 'two'] }, { long: '--flag', short: null, about: 'x', takesValue: false, choices: [] }], choices: ['here'] }];

  it.each(SHELLS)('of %s is a script the shell can read, and runs nothing a description says', async (shell) => {
    const script = completionScript(shell, hostile);
    for (const word of ['verb', 'what', 'flag', 'one', 'two', 'here']) expect(script).toContain(word);
    if (spawnSync(shell, ['-c', 'true']).status !== 0) {
      process.stderr.write(`completion.test.ts: no ${shell} here, so its script was not read by it\n`);
      return;
    }
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'script'), script);
    expect(spawnSync(shell, ['-n', join(folder, 'script')], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
    if (shell === 'zsh') return;
    expect(spawnSync(shell, [...(shell === 'bash' ? ['--norc', '--noprofile'] : []), '-c', 'source ./script'], { cwd: folder, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
    expect(readdirSync(folder)).toEqual(['script']);
  });

  it('says which shells there are when asked for another', async () => {
    const { code, stderr } = await winnow(['completion', 'csh']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/bash, zsh, fish/);
  });
});
