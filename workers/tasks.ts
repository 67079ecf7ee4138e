/** Every kind of task there is, by the stage whose queue it goes through. A worker finds a job's kind here by name. */
import { assignRows } from '../src/cluster/assign.ts';
import { clusterCells, measureCells } from '../src/cluster/cell.ts';
import { trainCells } from '../src/cluster/coarse.ts';
import { finishLevel } from '../src/cluster/finish.ts';
import { clusterRound } from '../src/cluster/level.ts';
import { reassignRows } from '../src/cluster/reassign.ts';
import { measureRecall } from '../src/cluster/recall.ts';
import { routeRows } from '../src/cluster/route.ts';
import { mergeSmall, scatterRows } from '../src/cluster/settle.ts';
import { updateLeaves } from '../src/cluster/update.ts';
import { downloadBlock } from '../src/download/block.ts';
import { trainDedupCells } from '../src/dedup/cells.ts';
import { matchIds } from '../src/dedup/exact.ts';
import { readFacts } from '../src/dedup/facts.ts';
import { hashPart } from '../src/dedup/hash-images.ts';
import { findHashPairs } from '../src/dedup/hash-pairs.ts';
import { searchPairs } from '../src/dedup/near-pairs.ts';
import { findTruth } from '../src/dedup/recall.ts';
import { gatherCells, routeSpan } from '../src/dedup/route.ts';
import { referenceTask } from '../src/dedup/search-references.ts';
import { statusTask } from '../src/embed/survivors.ts';
import { embedPart } from '../src/embed/task.ts';
import { verifyImages } from '../src/embed/verify.ts';
import { capPart, filterPart } from '../src/filter/task.ts';
import { drawTiles } from '../src/ingest/tiles-draw.ts';
import { drawClusters } from '../src/retrieve/cluster-draw.ts';
import { scoreRows } from '../src/retrieve/cluster-score.ts';
import { searchTask } from '../src/retrieve/retrieve.ts';
import type { TaskKind } from '../src/run/stage.ts';
import { sampleTask } from '../src/sample/sample.ts';
import { writeShards } from '../src/shard/write.ts';

// Payloads travel as JSON; each kind alone knows the type of its own.
export type AnyTask = TaskKind<never, unknown>;

export const TASKS: Readonly<Record<string, readonly AnyTask[]>> = {
  download: [downloadBlock],
  ingest: [drawTiles],
  embed: [embedPart, verifyImages, statusTask],
  filter: [filterPart, capPart],
  dedup: [readFacts, matchIds, trainDedupCells, routeSpan, gatherCells, findTruth, searchPairs, hashPart, findHashPairs, referenceTask],
  cluster: [clusterRound, finishLevel, trainCells, routeRows, measureCells, clusterCells, updateLeaves, reassignRows, measureRecall, mergeSmall, scatterRows, assignRows],
  sample: [sampleTask],
  retrieve: [searchTask, drawClusters, scoreRows],
  shard: [writeShards],
};

/** @param more kinds beside the built-in ones, by stage */
export function findTask(name: string, more: Readonly<Record<string, readonly AnyTask[]>> = {}): { readonly stage: string; readonly kind: AnyTask } | null {
  for (const [stage, kinds] of [...Object.entries(TASKS), ...Object.entries(more)]) {
    const kind = kinds.find((one) => one.name === name);
    if (kind !== undefined) return { stage, kind };
  }
  return null;
}
