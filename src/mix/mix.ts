/**
 * The mix stage: part sizes and the recipe's wishes to a `Mixture` (DINOv3 paper, section 3.1; reference section 4.1,
 * where the ratios of heterogeneous batches are not disclosed). The mixture lists only the parts that some batch draws
 * from; a part that none does is named in a warning and in the manifest's stats, so that it is left out in plain sight.
 */
import { WinnowError } from '../errors.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { MixConfig } from './config.ts';
import { type Draws, type Mixture, type MixturePart, homogeneousOf } from './mixture.ts';

/**
 * Resolves the mixture. Ratios are normalised to sum 1, in the order of `parts`; sizes are rows. Probability 1 leaves no
 * heterogeneous part, probability 0 leaves the homogeneous part in no batch. A phase keeps what it does not name.
 *
 * @returns `unused`: names of the parts that no batch draws from
 * @throws {WinnowError} TOO_FEW_ROWS when a part has no rows; CONFIG_INVALID when the recipe names a part that is not
 * there or a homogeneous one among the others, when probabilities pass 1, when phases do not ascend, or when nothing is
 * left to draw heterogeneous batches from
 */
export function mixParts(parts: readonly MixturePart[], config: MixConfig): { mixture: Mixture; unused: string[] } {
  const empty = parts.find(({ rows }) => rows === 0);
  if (empty !== undefined) throw new WinnowError('TOO_FEW_ROWS', `Expected images in the ${empty.kind} part "${empty.name}", got none: no batch can be drawn from it; take it out of the recipe or repair its source`, { details: { part: empty.name } });
  const { schedule, phases, overlap: _, ...first } = config;
  const draws = resolveDraws(parts, first, 'mix');
  let held: Wishes = first;
  const later = (phases ?? []).map(({ fromStep, ...phase }, i) => {
    const before = i === 0 ? 0 : phases![i - 1]!.fromStep;
    if (fromStep <= before) throw new WinnowError('CONFIG_INVALID', `Expected mix.phases to begin at ascending steps, got ${fromStep} after ${before}`);
    held = { ...held, ...Object.fromEntries(Object.entries(phase).filter(([, value]) => value !== undefined)) };
    return { fromStep, ...resolveDraws(parts, held, `mix.phases[${i}]`) };
  });
  const mixture: Mixture = { ...draws, ...(schedule === 'exact' && { schedule }), ...(later.length > 0 && { phases: later }) };
  const drawn = new Set([draws, ...later].flatMap((phase) => [...phase.heterogeneous, ...homogeneousOf(phase).filter(({ probability }) => probability > 0)].map(({ part }) => part)));
  return { mixture, unused: parts.map(({ name }) => name).filter((name) => !drawn.has(name)) };
}

/** A selected part: a pass over it sees every copy and, for retrieval, every (query, row) pair, as the paper's table counts. */
export function selectionPart({ part, kind, selected, unique }: SelectionManifest): MixturePart {
  return { name: part, kind, rows: selected, uniqueImages: unique };
}

/** A raw part: the images of it that decode. Files with equal bytes count as different images. */
export function rawPart(name: string, embeddings: EmbeddingsManifest): MixturePart {
  const rows = embeddings.okRows.reduce((sum, count) => sum + count, 0);
  return { name, kind: 'raw', rows, uniqueImages: rows };
}

/** What a recipe says of a run of steps. */
type Wishes = Pick<MixConfig, 'homogeneous' | 'heterogeneous' | 'temperature'>;

/** @param where names the place in the recipe */
function resolveDraws(parts: readonly MixturePart[], wishes: Wishes, where: string): Draws {
  checkNames(parts, wishes, where);
  const listed = homogeneousOf(wishes);
  const probability = listed.reduce((sum, one) => sum + one.probability, 0);
  if (probability > 1 + 1e-12) throw new WinnowError('CONFIG_INVALID', `Expected the probabilities of ${where}.homogeneous to sum to 1 at most, got ${probability}`);
  return { homogeneous: listed.length === 1 ? listed[0]! : wishes.homogeneous, heterogeneous: probability >= 1 ? [] : resolveRatios(parts, wishes, where) };
}

function checkNames(parts: readonly MixturePart[], wishes: Wishes, where: string): void {
  const names = parts.map(({ name }) => name);
  const check = (name: string, key: string): void => {
    if (!names.includes(name)) throw new WinnowError('CONFIG_INVALID', `Expected ${where}.${key} to name a part of the dataset (${names.join(', ')}), got "${name}"`, { details: { name, names } });
  };
  const listed = homogeneousOf(wishes).map(({ part }) => part);
  for (const name of listed) check(name, 'homogeneous.part');
  const twice = listed.find((name, i) => listed.indexOf(name) !== i);
  if (twice !== undefined) throw new WinnowError('CONFIG_INVALID', `Expected ${where}.homogeneous to name each part once, got "${twice}" twice`);
  if (typeof wishes.heterogeneous === 'string') return;
  for (const name of Object.keys(wishes.heterogeneous)) {
    check(name, 'heterogeneous');
    if (listed.includes(name)) throw new WinnowError('CONFIG_INVALID', `Expected ${where}.heterogeneous to name other parts than the homogeneous one${listed.length > 1 ? 's' : ''}, got "${name}"`);
  }
}

function resolveRatios(parts: readonly MixturePart[], wishes: Wishes, where: string): { part: string; ratio: number }[] {
  const homogeneous = homogeneousOf(wishes);
  const weights = parts
    .filter(({ name }) => !homogeneous.some(({ part }) => part === name))
    .map((part) => ({ part: part.name, weight: weightOf(part, wishes) }))
    .filter(({ weight }) => weight > 0);
  if (weights.length === 0) {
    const left = homogeneous.map(({ part, probability }) => `"${part}" is left out as the homogeneous part of probability ${probability}`).join(', ');
    const instead = homogeneous.length === 0 ? `name one in ${where}.heterogeneous` : `${left}; set it to 1, or ${where}.homogeneous to null`;
    throw new WinnowError('CONFIG_INVALID', `Expected a part that heterogeneous batches are drawn from, got none: ${instead}`);
  }
  const unit = 2 ** Math.floor(Math.log2(Math.max(...weights.map(({ weight }) => weight)))); // keeps the sum finite, and every ratio exact
  const sum = weights.reduce((total, { weight }) => total + weight / unit, 0);
  return weights.map(({ part, weight }) => ({ part, ratio: weight / unit / sum }));
}

function weightOf({ name, rows }: MixturePart, { heterogeneous, temperature = 2 }: Wishes): number {
  switch (heterogeneous) {
    case 'proportional':
      return rows;
    case 'sqrt':
      return Math.sqrt(rows);
    case 'temperature':
      return rows ** (1 / temperature);
    default:
      return heterogeneous[name] ?? 0;
  }
}
