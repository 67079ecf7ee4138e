/**
 * The mix stage: part sizes and the recipe's wishes to a `Mixture` (DINOv3 paper, section 3.1; reference section 4.1,
 * where the ratios of heterogeneous batches are not disclosed). The mixture lists only the parts that some batch draws
 * from; a part that none does is named in a warning and in the manifest's stats, so that it is left out in plain sight.
 */
import { WinnowError } from '../errors.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import type { SelectionManifest } from '../sample/selection.ts';
import type { MixConfig, Mixture, MixturePart } from './mixture.ts';

/**
 * Resolves the mixture. Ratios are normalised to sum 1, in the order of `parts`; `proportional` counts rows.
 * Probability 1 leaves no heterogeneous part, probability 0 leaves the homogeneous part in no batch.
 *
 * @returns `unused`: names of the parts that no batch draws from
 * @throws {WinnowError} TOO_FEW_ROWS when a part has no rows; CONFIG_INVALID when the recipe names a part that is not
 * there or the homogeneous one among the others, or leaves nothing to draw heterogeneous batches from
 */
export function mixParts(parts: readonly MixturePart[], config: MixConfig): { mixture: Mixture; unused: string[] } {
  const empty = parts.find(({ rows }) => rows === 0);
  if (empty !== undefined) throw new WinnowError('TOO_FEW_ROWS', `Expected images in the ${empty.kind} part "${empty.name}", got none: no batch can be drawn from it; take it out of the recipe or repair its source`, { details: { part: empty.name } });
  const { homogeneous } = config;
  checkNames(parts, config);
  const heterogeneous = homogeneous?.probability === 1 ? [] : heterogeneousRatios(parts, config);
  const drawn = new Set(heterogeneous.map(({ part }) => part));
  if (homogeneous !== null && homogeneous.probability > 0) drawn.add(homogeneous.part);
  return { mixture: { homogeneous, heterogeneous }, unused: parts.map(({ name }) => name).filter((name) => !drawn.has(name)) };
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

function checkNames(parts: readonly MixturePart[], { homogeneous, heterogeneous }: MixConfig): void {
  const names = parts.map(({ name }) => name);
  const check = (name: string, where: string): void => {
    if (!names.includes(name)) throw new WinnowError('CONFIG_INVALID', `Expected ${where} to name a part of the dataset (${names.join(', ')}), got "${name}"`, { details: { name, names } });
  };
  if (homogeneous !== null) check(homogeneous.part, 'mix.homogeneous.part');
  if (heterogeneous === 'proportional') return;
  for (const name of Object.keys(heterogeneous)) {
    check(name, 'mix.heterogeneous');
    if (name === homogeneous?.part) throw new WinnowError('CONFIG_INVALID', `Expected mix.heterogeneous to name other parts than the homogeneous one, got "${name}"`);
  }
}

function heterogeneousRatios(parts: readonly MixturePart[], { homogeneous, heterogeneous }: MixConfig): { part: string; ratio: number }[] {
  const weights = parts
    .filter(({ name }) => name !== homogeneous?.part)
    .map(({ name, rows }) => ({ part: name, weight: heterogeneous === 'proportional' ? rows : (heterogeneous[name] ?? 0) }))
    .filter(({ weight }) => weight > 0);
  if (weights.length === 0) {
    const instead = homogeneous === null ? 'name one in mix.heterogeneous' : `"${homogeneous.part}" is left out as the homogeneous part of probability ${homogeneous.probability}; set it to 1, or mix.homogeneous to null`;
    throw new WinnowError('CONFIG_INVALID', `Expected a part that heterogeneous batches are drawn from, got none: ${instead}`);
  }
  const unit = 2 ** Math.floor(Math.log2(Math.max(...weights.map(({ weight }) => weight)))); // keeps the sum finite, and every ratio exact
  const sum = weights.reduce((total, { weight }) => total + weight / unit, 0);
  return weights.map(({ part, weight }) => ({ part, ratio: weight / unit / sum }));
}
