/** Settings of the dedup stage. */
import { z } from 'zod';
import { EmbedConfig } from '../embed/config.ts';
import { PerceptualConfig } from './perceptual-hash.ts';

/** Above it two images of a copy-detection embedding show the same picture (reference section 3.1). */
export const COPY_THRESHOLD = 0.6;

/** The same for an embedding that was not made to find copies, where different pictures of one thing lie nearer. */
export const SEMANTIC_THRESHOLD = 0.9;

/** The same for the built-in descriptor, in which any two photographs are alike: it finds flipped, brighter and re-encoded copies. */
export const DESCRIPTOR_THRESHOLD = 0.99;

/** The similarity above which vectors of the pool's own encoder show the same picture. */
export function poolThreshold(encoder: Readonly<Record<string, unknown>> | null): number {
  return encoder?.name === 'descriptor' ? DESCRIPTOR_THRESHOLD : SEMANTIC_THRESHOLD;
}

export const NearConfig = z.strictObject({
  embed: EmbedConfig.optional().describe('An embedding of its own, such as a copy-detection model (SSCD): settings as of `embed`. Default: the vectors of the pool.'),
  threshold: z.number().min(0.01).lt(1).optional().describe(`Cosine similarity above which, strictly, two images are near-duplicates. Higher: fewer images are dropped, more copies stay. Default: ${COPY_THRESHOLD} with a model of its own, ${SEMANTIC_THRESHOLD} with that of the pool, ${DESCRIPTOR_THRESHOLD} with the descriptor.`),
  k: z.int().min(1).max(1024).default(64).describe('Nearest neighbours of an image that are looked at. Larger groups hold together by chains of them.'),
  recall: z.number().gt(0).max(1).default(0.98).describe('Share of the pairs of brute force that the search must find on a sample. Higher: more cells are looked at for each image.'),
  recallQueries: z.int().min(1).max(100_000).default(2000).describe('Images of that sample.'),
  cells: z.int().min(1).max(1_000_000).optional().describe('Cells that vectors are sorted into. Default: 1 (brute force) up to 16,384 images, then four times the square root of their number, and more where cells are large.'),
  probes: z.int().min(1).optional().describe('Cells looked at for each image, the nearest first. Default: as many as `recall` needs.'),
});
export type NearConfig = z.infer<typeof NearConfig>;

/** Files with the same bytes as another one are dropped in any case. */
export const DedupConfig = z.strictObject({
  near: z.union([z.literal(false), NearConfig]).default(false).describe('Drop images whose vector is near that of another one; `{}` for the defaults.'),
  perceptual: z.union([z.literal(false), PerceptualConfig]).default(false).describe('Drop images whose perceptual hash is near that of another one: needs no model, and reads every image once more.'),
  guard: z.int().min(2).optional().describe('Most different files in a group that loses members. A larger group is likely a chain through different pictures: it is reported and kept, but for copies of the same bytes. Default: 1 % of the images, at least 100.'),
  keep: z
    .union([z.enum(['largest', 'first']), z.strictObject({ meta: z.string().min(1), order: z.enum(['highest', 'lowest']).default('highest') })])
    .default('largest')
    .describe('Which image of a group stays: the one of largest area, the first of the pool, or the one with the highest or lowest number in a field of `meta` (a column of a list, or a key of a .json sibling). Then the smallest id, then the smallest row.'),
});
export type DedupConfig = z.infer<typeof DedupConfig>;

/** What of the settings decides the result: a model given as a path is told by its file's hash, not by where it lies. */
export function lineageDedup({ near, ...rest }: DedupConfig): Record<string, unknown> {
  if (near === false || near.embed === undefined) return { ...rest, near };
  const { providers: _providers, batchSize: _batchSize, model, ...decisive } = near.embed;
  const named = model === 'descriptor' || model.startsWith('hf:') ? { model } : {};
  return { ...rest, near: { ...near, embed: { ...decisive, ...named } } };
}
