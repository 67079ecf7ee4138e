/** The command that completes the others: what it tells the shell is read off the commands themselves. */
import { Argument, type Command } from 'commander';
import { type CompletedVerb, SHELLS, type Shell, completionScript } from '../completion.ts';

/** Adds `completion`. To be added last: it knows the commands that are there when it runs. */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'the shell it is for').choices([...SHELLS]))
    .addHelpText('after', '\nExample:\n  winnow completion bash > ~/.local/share/bash-completion/completions/winnow\n')
    .action((shell: Shell) => {
      process.stdout.write(completionScript(shell, program.commands.map(describe)));
    });
}

function describe(command: Command): CompletedVerb {
  return {
    name: command.name(),
    about: command.description(),
    options: command.options.map(({ long = null, short = null, description, required, optional, argChoices = [] }) => ({ long, short, about: description, takesValue: required || optional, choices: argChoices })),
    choices: command.registeredArguments[0]?.argChoices ?? [],
  };
}
