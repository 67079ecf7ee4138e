/** The work `sample`: quotas of a five-level tree by sizes alone, without images. No peer that is packaged does this. */
import { type ClusterTree, NO_CLUSTER, type TreeLevel } from '../cluster/tree.ts';
import { randomStream } from '../random.ts';
import { allocateTree } from '../sample/allocate.ts';
import { type Contender, type Contest, timed } from './contest.ts';
import type { Workbench } from './workbench.ts';

const LEAVES = 10_000_000;
/** Children of a cluster of levels 2 to 5 on average, as in the paper. */
const CHILDREN = [25, 10, 8, 4];
const IMAGES_PER_LEAF = 100;
const TARGET_SHARE = 0.1;

/** One contest: a tenth of 100 images a leaf. Sizes and families have long tails. */
export async function sampleContests({ sizes, note }: Workbench): Promise<(() => Promise<Contest>)[]> {
  const leaves = sizes.n ?? LEAVES;
  note(`sample: making a tree of ${leaves} leaves`);
  const { ours, images, target, levels } = prepareSampling(leaves);
  return [async () => ({
    work: 'sample', what: `${target} of ${images} images over ${leaves} leaves in ${levels.length} levels, sizes only`, unit: 'leaves', settings: { leaves, images, target, levels },
    ours,
    peers: [], missing: [], warm: 'never',
  })];
}

/** Quotas of a tenth of the images of a made-up tree; the tree is made before. */
export function sampleContender(leaves: number): Contender {
  return prepareSampling(leaves).ours;
}

function prepareSampling(leaves: number): { ours: Contender; images: number; target: number; levels: number[] } {
  const tree = madeTree(leaves);
  const images = tree.levels[0]!.size.reduce((sum, size) => sum + size, 0);
  const target = Math.round(images * TARGET_SHARE);
  const run = async (): Promise<{ selected: number; emptied: number }> => {
    const [first] = allocateTree(tree, target, 1, 0);
    const { size } = tree.levels[0]!;
    let selected = 0;
    let emptied = 0;
    first!.quota.forEach((quota, leaf) => {
      selected += quota;
      if (quota === size[leaf]) emptied++;
    });
    return { selected, emptied };
  };
  return { ours: { name: 'winnow', amount: leaves, run: () => timed(run), close: async () => undefined }, images, target, levels: tree.levels.map(({ k }) => k) };
}

/** Leaf sizes with a Pareto tail that sum to about 100 a leaf; early parents have more children. */
function madeTree(leaves: number): ClusterTree {
  const ks = [leaves];
  for (const children of CHILDREN) ks.push(Math.max(1, Math.round(ks.at(-1)! / children)));
  const levels: TreeLevel[] = [];
  const draw = randomStream(0, 'bench', 'sizes');
  ks.forEach((k, l) => {
    const below = levels.at(-1);
    const size = new Float64Array(k);
    if (below === undefined) for (let i = 0; i < k; i++) size[i] = Math.min(1e6, Math.ceil((IMAGES_PER_LEAF / 3) * (1 - draw.uniform(i)) ** (-2 / 3)));
    else below.parent.forEach((parent, i) => (size[parent]! += below.size[i]!));
    const above = ks[l + 1];
    const family = randomStream(0, 'bench', 'family', l);
    // The first `above` clusters have a parent each, so that none stays without children.
    const parent = Uint32Array.from({ length: k }, (_, i) => (above === undefined ? NO_CLUSTER : i < above ? i : Math.floor(above * family.uniform(i) ** 2)));
    levels.push({ k, size, parent });
  });
  return { d: 1, levels };
}
