/** `winnow bench`: the works, each against its peers, and what came of it. */
import { WinnowError } from '../errors.ts';
import { assignContests } from './assign.ts';
import { type Contest, type ContestResult, hold } from './contest.ts';
import { kmeansContests, treeContests } from './kmeans.ts';
import { type Machine, describeMachine } from './machine.ts';
import { decodeContests, embedContests } from './pictures.ts';
import { sampleContests } from './sample.ts';
import { batchContests, shardContests } from './shard.ts';
import { type Sizes, type Workbench, withScratch } from './workbench.ts';

export const WORKS = ['assign', 'kmeans', 'tree', 'sample', 'decode', 'embed', 'shard', 'batch'] as const;
export type Work = (typeof WORKS)[number];

export interface BenchRequest {
  readonly works: readonly Work[];
  readonly rounds: number;
  readonly sizes: Sizes;
  /** Folder of the peers' scripts, null in an installed package; and of the evaluation data, where it lies beside the checkout. */
  readonly peers: string | null;
  readonly data: string | null;
  readonly signal: AbortSignal;
  note(text: string): void;
}

export interface BenchReport {
  readonly machine: Machine;
  /** Load averages after the last round. */
  readonly loadAfter: readonly number[];
  readonly rounds: number;
  readonly results: readonly ContestResult[];
}

/**
 * Holds every contest of the works, one after the other.
 *
 * @throws {WinnowError} ABORTED; CONFIG_INVALID for a size of zero or less; what a work throws
 */
export async function runBench(request: BenchRequest): Promise<BenchReport> {
  const { works, rounds, sizes, signal, note } = request;
  for (const [name, value] of Object.entries(sizes)) {
    for (const size of [value].flat()) if (!Number.isSafeInteger(size) || size < 1) throw new WinnowError('CONFIG_INVALID', `Expected --${name} to be a whole number from 1 up, got ${size}`);
  }
  const machine = describeMachine();
  const results: ContestResult[] = [];
  for (const work of works) {
    await withScratch(async (scratch) => {
      for (const open of await contestsOf(work, { ...request, scratch }, request.data)) {
        const contest = await open();
        note(`${contest.what}: ${rounds} round${rounds === 1 ? '' : 's'} of ${['winnow', ...contest.peers.map(({ name }) => name)].join('; ')}`);
        results.push(await hold(contest, rounds, signal));
      }
    });
  }
  return { machine, loadAfter: describeMachine().loadAverage, rounds, results };
}

function contestsOf(work: Work, bench: Workbench, data: string | null): Promise<(() => Promise<Contest>)[]> {
  switch (work) {
    case 'assign': return assignContests(bench);
    case 'kmeans': return kmeansContests(bench);
    case 'tree': return treeContests(bench);
    case 'sample': return sampleContests(bench);
    case 'decode': return decodeContests(bench);
    case 'embed': return embedContests(bench, data);
    case 'shard': return shardContests(bench);
    case 'batch': return batchContests(bench);
  }
}
