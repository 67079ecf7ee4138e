/**
 * The report: one HTML file that shows what a run did to its images, opens without a network and is small enough to mail. Made
 * from the store alone; the same store gives the same bytes where the images can be read.
 *
 * Memory: about 40 bytes a row of the pool, one part of a table, the thumbnails. No table of vectors is read.
 */
import { NO_CLUSTER } from '../cluster/tree.ts';
import { throwIfAborted } from '../errors.ts';
import type { ByteReader } from '../ingest/image.ts';
import { drawDistinct, randomStream } from '../random.ts';
import type { Store } from '../store/store.ts';
import { type ClusterSheets, type BeforeAfter, ancestors, chooseBeforeAfter, chooseClusters, chooseRejected } from './choose.ts';
import { type ReportFacts, readReportFacts } from './facts.ts';
import { type LevelBalance, measureLevels } from './level-balance.ts';
import { page } from './page.ts';
import { type PoolRows, readPoolRows } from './pool-rows.ts';
import { REPORT_CSS } from './report-css.ts';
import { type ImageFacts, type ImageScan, type RowWeights, readImageFacts, scanImages } from './scan-images.ts';
import { balanceSection } from './sections/balance.ts';
import { beforeAfterImages, beforeAfterSection } from './sections/before-after.ts';
import { clusterImages, clustersSection } from './sections/clusters.ts';
import { columnsSection } from './sections/columns.ts';
import { type ShownDuplicates, chooseDuplicates, duplicateImages, duplicatesSection } from './sections/duplicates.ts';
import { funnelSection } from './sections/funnel.ts';
import { inertiaSection } from './sections/inertia.ts';
import { lineageSection } from './sections/lineage.ts';
import { mixtureSection } from './sections/mixture.ts';
import { overview } from './sections/overview.ts';
import { type Rejected, rejectedImages, rejectedSection } from './sections/rejected.ts';
import { type ShownRetrieval, chooseRetrieval, retrievalImages, retrievalSection } from './sections/retrieval.ts';
import type { Section } from './sections/section.ts';
import { treeImages, treeSection } from './sections/tree.ts';
import { type Thumbnails, type WantedImage, drawThumbnails } from './thumbnails.ts';
import { type MapNode, buildTreeMap, nameClusters } from './tree-map.ts';
import { TREE_SCRIPT } from './tree-script.ts';

export interface ReportOptions {
  readonly reader: ByteReader;
  /** Bytes that the file is to stay under; thumbnails are left out to keep it. Default 8 MB. */
  readonly sizeBytesMax?: number;
  /** Steps of the training run that is rehearsed. Default 100,000. */
  readonly steps?: number;
  readonly signal: AbortSignal;
}

export interface Report {
  readonly html: string;
  readonly sections: readonly string[];
  readonly thumbnails: Pick<Thumbnails, 'shown' | 'bytes' | 'leftOut' | 'faults'>;
  /** Stages left out because they were made from something else than what the store holds now. */
  readonly outdated: readonly string[];
}

const SIZE_BYTES_MAX = 8e6;
const STEPS = 100_000;
/** What the page takes beside its thumbnails at most, by the bounds of its parts. */
const TEXT_BYTES = 1.5e6;
const REJECTED = 8;

/** What is shown of a tree. */
interface ShownTree {
  readonly levels: readonly LevelBalance[];
  /** Level where quotas start. */
  readonly drawLevel: number;
  readonly nodes: readonly MapNode[];
  /** Null before a selection is drawn. */
  readonly sheets: ClusterSheets | null;
  readonly beforeAfter: BeforeAfter | null;
}

interface Shown {
  readonly tree: ShownTree | null;
  readonly rejected: Rejected;
  readonly retrieval: readonly ShownRetrieval[];
  readonly duplicates: ShownDuplicates | null;
}

/** @throws {WinnowError} INPUT_MISSING when the store lists no images, CHECKSUM_MISMATCH, ABORTED */
export async function makeReport(store: Store, options: ReportOptions): Promise<Report> {
  const { signal, sizeBytesMax = SIZE_BYTES_MAX, steps = STEPS } = options;
  const facts = await readReportFacts(store);
  const seed = facts.balanced?.manifest.seed ?? 0;
  const rows = await readPoolRows(store, facts, signal);
  const shown = await choose(store, facts, rows, seed, signal);
  const wanted = wantedImages(shown);
  const scan = await scanImages(store, facts.images.manifest, weigh(rows, facts, seed), rowsOf(wanted, 'images'), signal);
  const thumbnails = await drawThumbnails(wanted, { reader: options.reader, signal, budgetBytes: Math.max(0, sizeBytesMax - TEXT_BYTES), facts: await factsOfAll(store, facts, scan, wanted) });
  throwIfAborted(signal);
  const sections = makeSections(facts, shown, scan, rows, thumbnails, steps);
  const body = overview(facts, sections, thumbnails, { sizeBytesMax, columns: scan.columns, levels: shown.tree?.levels ?? [], drawLevel: shown.tree?.drawLevel ?? 0 });
  const html = page({ title: 'Winnow report', body, styles: [REPORT_CSS], scripts: shown.tree === null ? [] : [TREE_SCRIPT] });
  return { html, sections: sections.map(({ id }) => id), thumbnails, outdated: facts.outdated };
}

async function choose(store: Store, facts: ReportFacts, rows: PoolRows, seed: number, signal: AbortSignal): Promise<Shown> {
  const retrieval: ShownRetrieval[] = [];
  for (const retrieved of facts.retrieved) retrieval.push(await chooseRetrieval(store, retrieved, seed));
  return {
    tree: facts.tree === null ? null : chooseFromTree(facts, rows, seed),
    rejected: new Map([...chooseRejected(rows, REJECTED, seed)].filter(([reason]) => !SHOWN_ELSEWHERE.has(reason))),
    retrieval,
    duplicates: facts.duplicates === null ? null : await chooseDuplicates(store, facts.duplicates, rows.n, seed, signal),
  };
}

const SHOWN_ELSEWHERE: ReadonlySet<string> = new Set(['exact-duplicate', 'near-duplicate']);

function chooseFromTree({ tree, clusters, balanced }: ReportFacts, rows: PoolRows, seed: number): ShownTree {
  const levels = measureLevels(tree!, rows);
  const drawLevel = Math.min(levels.length, (balanced?.manifest.stats['depth'] as number | undefined) ?? clusters!.manifest.draw.depth);
  const up = ancestors(tree!, drawLevel);
  const ofDraw = levels[drawLevel - 1]!;
  return {
    levels, drawLevel,
    nodes: buildTreeMap(tree!, levels, rows),
    sheets: balanced === null ? null : chooseClusters(rows, ofDraw, levels[0]!, up, seed),
    beforeAfter: balanced === null ? null : chooseBeforeAfter(rows, ofDraw, up, seed),
  };
}

/** In order of priority: what shows the effect first. */
function wantedImages({ tree, rejected, retrieval, duplicates }: Shown): WantedImage[] {
  return [
    ...(tree?.beforeAfter == null ? [] : beforeAfterImages(tree.beforeAfter)),
    ...(tree?.sheets == null ? [] : clusterImages(tree.sheets)),
    ...(duplicates === null ? [] : duplicateImages(duplicates)),
    ...rejectedImages(rejected),
    ...retrieval.flatMap(retrievalImages),
    ...(tree === null ? [] : treeImages(tree.nodes)),
  ];
}

/** The pool of a column: images in the tree, or before there is one, usable ones. */
function weigh({ n, leaf, reason, copies }: PoolRows, { tree }: ReportFacts, seed: number): RowWeights {
  const pool = Uint8Array.from({ length: n }, (_, row) => (tree === null ? Number(reason[row] === 0) : Number(leaf[row] !== NO_CLUSTER)));
  const members = Uint32Array.from({ length: n }, (_, row) => row).filter((row) => pool[row] === 1);
  const size = copies.reduce((sum, count) => sum + count, 0);
  const random = new Uint8Array(n);
  for (const i of drawDistinct(randomStream(seed, 'report', 'before'), members.length, size, (at) => members[at]!)) random[members[i]!] = 1;
  return { pool, random, selection: copies };
}

async function factsOfAll(store: Store, { retrieved }: ReportFacts, scan: ImageScan, wanted: readonly WantedImage[]): Promise<(image: WantedImage) => ImageFacts | null> {
  const tables = new Map<string, ReadonlyMap<number, ImageFacts>>([['images', scan.facts]]);
  for (const { name, seeds } of retrieved) {
    if (seeds === null) continue;
    const table = `seeds/${name}/images`;
    tables.set(table, await readImageFacts(store, seeds.manifest, rowsOf(wanted, table)));
  }
  return ({ table, row }) => tables.get(table)?.get(row) ?? null;
}

function rowsOf(wanted: readonly WantedImage[], table: string): number[] {
  return [...new Set(wanted.filter((image) => image.table === table).map(({ row }) => row))].sort((a, b) => a - b);
}

function makeSections(facts: ReportFacts, { tree, rejected, retrieval, duplicates }: Shown, scan: ImageScan, rows: PoolRows, thumbnails: Thumbnails, steps: number): Section[] {
  const nameOf = namer(facts, tree, scan, rows);
  const reasons = facts.clusters === null ? 'embeddings: status' : 'clusters/assignment: reason';
  const sections = [
    tree?.beforeAfter == null ? null : beforeAfterSection(tree.beforeAfter, thumbnails, tree.drawLevel),
    funnelSection(facts),
    tree === null ? null : balanceSection(facts, tree.levels, tree.drawLevel),
    scan.columns.length === 0 ? null : columnsSection(scan.columns),
    tree === null ? null : treeSection(tree.nodes, tree.levels, thumbnails, nameOf),
    tree?.sheets == null ? null : clustersSection(tree.sheets, thumbnails, nameOf),
    duplicates === null ? null : duplicatesSection(duplicates, thumbnails),
    rejectedSection(rejected, thumbnails, reasons),
    retrievalSection(retrieval, thumbnails),
    mixtureSection(facts, steps),
    inertiaSection(facts),
    lineageSection(facts),
  ];
  return sections.filter((one) => one !== null);
}

/** Clusters are called by their most frequent label, where images have labels. */
function namer({ tree }: ReportFacts, shown: ShownTree | null, { labelOf, labels }: ImageScan, rows: PoolRows): (level: number, cluster: number) => string | null {
  if (tree === null || shown === null || labelOf === null) return () => null;
  const wanted = tree.levels.map(() => new Set<number>());
  for (const { l, c, p } of shown.nodes) if (p >= 0) wanted[l - 1]!.add(c);
  for (const { level, cluster } of shown.sheets === null ? [] : [...shown.sheets.largest, ...shown.sheets.cut, ...shown.sheets.whole]) wanted[level - 1]!.add(cluster);
  const names = nameClusters(tree, rows, labelOf, labels, wanted);
  return (level, cluster) => names.get(`${level}:${cluster}`) ?? null;
}
