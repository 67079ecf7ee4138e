#!/usr/bin/env node
/** The command line: parses, wires, prints, and is the only place that decides exit codes (0 done, 2 the user's, 1 else). */
import { Command, CommanderError } from 'commander';
import { addCompletion } from './cli/commands/completion.ts';
import { addContaminated } from './cli/commands/contaminated.ts';
import { addFeed } from './cli/commands/feed.ts';
import { addLook } from './cli/commands/look.ts';
import { addMeasure } from './cli/commands/measure.ts';
import { addQueue } from './cli/commands/queue.ts';
import { addRoad } from './cli/commands/road.ts';
import { hideProgress, writeAbove } from './cli/progress.ts';
import { WinnowError, isUserFault } from './errors.ts';
import { VERSION } from './version.ts';

async function main(argv: readonly string[]): Promise<number> {
  const stop = new AbortController();
  let interrupts = 0;
  const interrupt = (signal: NodeJS.Signals): void => {
    if (++interrupts > 1) {
      hideProgress();
      process.exit(130);
    }
    writeAbove('Stopping after the work under way; press again to stop at once.\n');
    stop.abort(new Error(signal));
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  // A reader that has seen enough closes the pipe; that is an end, not a fault.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const program = commands(stop.signal);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return 0;
  } catch (error) {
    hideProgress();
    return report(error, stop.signal);
  }
}

function commands(signal: AbortSignal): Command {
  const program = new Command('winnow')
    .description('Curates image corpora for self-supervised pre-training.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`${text.trim().replace(/\n/, ' ')}; try --help\n`) })
    .showSuggestionAfterError(true);
  addRoad(program, signal);
  addFeed(program, signal);
  addLook(program, signal);
  addContaminated(program, signal);
  addMeasure(program, signal);
  addQueue(program, signal);
  addCompletion(program);
  return program;
}

/** One sentence on stderr, and the exit code. */
function report(error: unknown, signal: AbortSignal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (signal.aborted || (error instanceof WinnowError && error.code === 'ABORTED')) {
    process.stderr.write('Stopped. The next run goes on from here.\n');
    return 130;
  }
  if (error instanceof WinnowError) {
    process.stderr.write(`${error.code}: ${error.message}\n`);
    return isUserFault(error) ? 2 : 1;
  }
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}

process.exitCode = await main(process.argv.slice(2));
