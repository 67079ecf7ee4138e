/**
 * The noun of decontamination: which images of the pool show the same picture as an image of an evaluation set.
 *
 * `contamination/` is a table by row whose parts hold the rows of those of `embeddings/`. `contamination/<set>/` says the same
 * from the other side: a row for each image of the set, with the nearest image of the pool where there is one above the threshold.
 */
import { z } from 'zod';
import { decodeTable } from '../arrow/ipc.ts';
import { SourceConfig } from '../ingest/image.ts';
import { type Manifest, type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { DESCRIPTOR_THRESHOLD, SEMANTIC_THRESHOLD, poolThreshold } from './config.ts';

/** Key prefix of the table, and of the evaluation sets' own tables. */
export const CONTAMINATION = 'contamination';
export const EVALUATION = 'evaluation';

/** Above it an image counts as one of the set, in an embedding made to find copies (reference section 3.1); in others see `poolThreshold`. */
const CONTAMINATION_THRESHOLD = 0.45;

/** The default. @param own whether the vectors are those of `dedup.near.embed` @param encoder as their manifest says */
export function contaminationThreshold(own: boolean, encoder: Readonly<Record<string, unknown>> | null): number {
  return own && encoder?.name !== 'descriptor' ? CONTAMINATION_THRESHOLD : poolThreshold(encoder);
}

export const DecontaminateConfig = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]*$/, 'lower-case letters, digits, ".", "_" and "-" only').describe('Name of the evaluation set in reports.'),
  sources: z.array(SourceConfig).min(1).describe('The images of the set: train and test splits.'),
  threshold: z.number().gt(0).lt(1).optional().describe(`Cosine similarity above which, strictly, an image of the pool counts as one of the set. Lower: more altered copies go, and more images that only look alike. Default: ${CONTAMINATION_THRESHOLD}, as published, with a model made to find copies (dedup.near.embed), else ${SEMANTIC_THRESHOLD}, or ${DESCRIPTOR_THRESHOLD} with the descriptor.`),
  mode: z.enum(['drop', 'fail']).default('drop').describe('drop: matching images leave the pool, with everything in their groups of duplicates. fail: a match ends the run, and the report says which.'),
});
export type DecontaminateConfig = z.infer<typeof DecontaminateConfig>;

/** Why a row goes: it is near an image of a set; it is in one group of duplicates with a row that is. */
export const CONTAMINATION_REASONS = ['contaminated', 'contaminated-group'] as const;
export type ContaminationReason = (typeof CONTAMINATION_REASONS)[number];

export interface ContaminationManifest extends Manifest {
  readonly sets: readonly ContaminationSet[];
  readonly stats: Readonly<Record<string, unknown>> & {
    /** Rows by reason, and those of them that no earlier step had taken out. */
    readonly dropped: Readonly<Record<ContaminationReason, number>>;
    readonly leaving: number;
  };
}

/** One evaluation set. */
export interface ContaminationSet {
  readonly name: string;
  readonly threshold: number;
  /** Images of the set, those with a vector, and those of them that are in the pool. */
  readonly images: number;
  readonly compared: number;
  readonly matched: number;
  /** Rows of the pool above the threshold. */
  readonly rows: number;
  /** Most similar first, then by reference: at most 20. */
  readonly top: readonly ContaminationPair[];
  /** The table by image of the set. */
  readonly references: readonly Part[];
}

export interface ContaminationPair {
  readonly reference: number;
  readonly referenceUri: string;
  readonly row: number;
  readonly uri: string;
  readonly similarity: number;
}

/** Rows firstRow … of one part. */
export interface ContaminationBlock {
  readonly firstRow: number;
  readonly rowCount: number;
  readonly reason: readonly (ContaminationReason | null)[];
  /** Name of the set. */
  readonly evaluation: readonly (string | null)[];
  /** Row of the image in the set; −1 without one. */
  readonly reference: Float64Array;
  /** The row of the pool that is near it: the row itself, or another of its group; −1 without one. */
  readonly via: Float64Array;
  readonly similarity: Float32Array;
}

/** @throws {WinnowError} CHECKSUM_MISMATCH, INPUT_MALFORMED */
export async function readContamination(store: Store, part: Part): Promise<ContaminationBlock> {
  const view = decodeTable(await readPart(store, part), part.path);
  const orMissing = (name: string): Float64Array => {
    const valid = view.validity(name);
    return Float64Array.from(view.numbers(name), (value, i) => (valid?.[i] === 0 ? -1 : value));
  };
  return {
    firstRow: part.firstRow,
    rowCount: part.rowCount,
    reason: view.strings('reason') as (ContaminationReason | null)[],
    evaluation: view.strings('evaluation'),
    reference: orMissing('reference'),
    via: orMissing('via'),
    similarity: Float32Array.from(view.numbers('similarity')),
  };
}
