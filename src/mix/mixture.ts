/**
 * The noun of the mix stage: which parts make the training set and how a batch draws from them (DINOv3 paper, section
 * 3.1: a homogeneous batch from one part with probability p, else a heterogeneous batch from all the others by ratio).
 */
import type { Manifest } from '../run/manifest.ts';

/** Where selections lie that leave out what earlier parts hold. */
export const DISJOINT = 'disjoint/';

/** Name of the part that balanced sampling makes. */
export const BALANCED_PART = 'balanced';

export interface MixturePart {
  readonly name: string;
  readonly kind: 'balanced' | 'retrieved' | 'raw';
  /** Rows with copies counted: what one pass over the part sees. */
  readonly rows: number;
  readonly uniqueImages: number;
  /** Key prefix of the selection that names the part's rows, where it is not the part's own: what earlier parts left of it. */
  readonly from?: string;
}

/** What a part shares with those before it. */
export interface OverlapCount {
  readonly part: string;
  /** Different images that an earlier part has too, and rows of the part that name them, copies counted. */
  readonly images: number;
  readonly rows: number;
  /** The same images by the first part that has them. */
  readonly with: Readonly<Record<string, number>>;
}

export interface Homogeneous {
  readonly part: string;
  readonly probability: number;
}

/** What the batches of a run of steps are drawn from. */
export interface Draws {
  /** A list only where there are several; their probabilities sum to 1 at most. */
  readonly homogeneous: Homogeneous | readonly Homogeneous[] | null;
  /** Ratios sum to 1; order is that of `parts`. */
  readonly heterogeneous: readonly { readonly part: string; readonly ratio: number }[];
}

export interface Mixture extends Draws {
  /** Absent: independent draws. */
  readonly schedule?: 'exact';
  /** Later phases, by ascending `fromStep`; before the first, the mixture's own draws hold. */
  readonly phases?: readonly (Draws & { readonly fromStep: number })[];
}

export interface MixtureManifest extends Manifest {
  readonly mixtureParts: readonly MixturePart[];
  readonly mixture: Mixture;
}

/** The homogeneous parts as a list, in the order given. */
export function homogeneousOf({ homogeneous }: { readonly homogeneous?: Draws['homogeneous'] | undefined }): readonly Homogeneous[] {
  if (homogeneous === null || homogeneous === undefined) return [];
  return 'part' in homogeneous ? [homogeneous] : homogeneous;
}
