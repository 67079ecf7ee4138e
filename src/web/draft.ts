/**
 * Curation by hand under way: branches that are capped, boosted or excluded, and what that does to the quotas, by sizes
 * alone. The draft outlives the server: it lies beside the atlas's tables until it is thrown away.
 */
import { stringify } from 'yaml';
import { WinnowError } from '../errors.ts';
import { SampleConfig, type BranchOverride, OverridesConfig } from '../sample/config.ts';
import { type QuotaPlan, planQuotas } from '../sample/sample.ts';
import { quotasOfLevels } from '../sample/overrides.ts';
import type { Store } from '../store/store.ts';
import type { Atlas, NodeName } from './atlas.ts';
import { prefixOf } from './open-atlas.ts';

/** Quotas of a draw at every level, level 1 first. */
export interface Quotas extends QuotaPlan {
  readonly byLevel: readonly Float64Array[];
}

export interface Draft {
  /** What the selection in the store was drawn with; a draw with the recipe's defaults where there is none. */
  readonly base: Quotas;
  readonly isDrawn: boolean;
  /** With the branches as they are now. */
  readonly current: Quotas;
  readonly branches: readonly BranchOverride[];
  /** Whether the branches are other ones than those the selection was drawn with. */
  readonly isChanged: boolean;
  /** Sets what is decided of a branch, or with null takes the decision back. @throws {WinnowError} CONFIG_INVALID */
  decide(node: NodeName, what: Omit<BranchOverride, 'level' | 'cluster'> | null): Promise<void>;
  /** Back to what the selection was drawn with. */
  reset(): Promise<void>;
  /** The recipe's key as YAML; null when no branch is decided. */
  toYaml(): string | null;
}

/** Branches that one draft may hold: each costs a pass over the clusters of its level. */
const BRANCHES_MAX = 1000;

/** @param cache where drafts are kept */
export async function openDraft(atlas: Atlas, cache: Store): Promise<Draft> {
  const { clusters, selection } = atlas.manifests;
  const settings = (selection?.manifest.config ?? {}) as { overrides?: OverridesConfig };
  const { overrides: drawn, ...sample } = settings;
  const isOfThisTree = selection?.manifest.inputs.some(({ sha256 }) => sha256 === clusters.sha256) ?? false;
  const config = SampleConfig.parse(isOfThisTree ? sample : {});
  const seed = (isOfThisTree ? selection : clusters)!.manifest.seed;
  const before = isOfThisTree ? (drawn?.branches ?? []) : [];
  const key = `${prefixOf(clusters)}draft.json`;
  const plan = (branches: readonly BranchOverride[]): Quotas => {
    const overrides = branches.length === 0 ? {} : { overrides: { clusters: clusters.sha256, branches: [...branches] } };
    const planned = planQuotas(atlas.tree, clusters, { config, seed, ...overrides });
    return { ...planned, byLevel: quotasOfLevels(atlas.tree, planned.allocations) };
  };
  const base = plan(before);
  let branches: readonly BranchOverride[] = (await readDraft(cache, key)) ?? before;
  let current = branches === before ? base : plan(branches);
  const change = async (next: readonly BranchOverride[]): Promise<void> => {
    current = plan(next);
    branches = next;
    await cache.write(key, new TextEncoder().encode(`${JSON.stringify(next)}\n`));
  };
  return {
    base,
    isDrawn: isOfThisTree,
    get current() {
      return current;
    },
    get branches() {
      return branches;
    },
    get isChanged() {
      return JSON.stringify(branches) !== JSON.stringify(before);
    },
    decide: async ({ level, cluster }, what) => {
      const others = branches.filter((branch) => branch.level !== level || branch.cluster !== cluster);
      const next = what === null ? others : [...others, checkBranch({ level, cluster, ...what })];
      if (next.length > BRANCHES_MAX) throw new WinnowError('CONFIG_INVALID', `Expected at most ${BRANCHES_MAX} branches, got ${next.length}`);
      await change(next.toSorted((a, b) => b.level - a.level || a.cluster - b.cluster));
    },
    reset: () => change(before),
    toYaml: () => (branches.length === 0 ? null : stringify({ overrides: { clusters: clusters.sha256, branches } })),
  };
}

function checkBranch(branch: BranchOverride): BranchOverride {
  const parsed = OverridesConfig.safeParse({ clusters: '0'.repeat(64), branches: [branch] });
  if (parsed.success) return parsed.data.branches[0]!;
  throw new WinnowError('CONFIG_INVALID', `Expected a whole number of images as a cap, a number from 0.001 to 1000 as a boost, or an exclusion: ${parsed.error.issues[0]!.message}`);
}

/** A draft that cannot be read is none: it holds nothing that cannot be decided again. */
async function readDraft(cache: Store, key: string): Promise<BranchOverride[] | null> {
  if ((await cache.head(key)) === null) return null;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(await cache.read(key)));
    if (Array.isArray(value) && value.length === 0) return [];
    return OverridesConfig.parse({ clusters: '0'.repeat(64), branches: value }).branches;
  } catch {
    return null;
  }
}
