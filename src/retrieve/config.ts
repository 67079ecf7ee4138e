/** Settings of the retrieve stage: one entry a seed set. What was there first has defaults; what came later is absent unless asked for. */
import { z } from 'zod';
import { SourceConfig } from '../ingest/image.ts';

export const partName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]*$/, 'lower-case letters, digits, ".", "_" and "-" only')
  .describe('Name of the part in the dataset.');

const ClusterRetrievalConfig = z.strictObject({
  clusters: z
    .union([z.literal('auto'), z.int().min(1)])
    .default('auto')
    .describe('Clusters that are fitted to the pool, shared by all seed sets that state the same number. auto: 100,000 as published, in smaller pools as many as leave 64 images a cluster on average. Fewer clusters retrieve more and further off.'),
  level: z.int().min(1).max(16).optional().describe('Take the clusters of this level of the tree instead (1 is the finest), which costs no fit. A query goes to the cluster of its nearest leaf.'),
  hitsAbove: z.int().min(0).default(3).describe('A cluster is kept when more query images than this fall in it. Higher asks for more agreement among the seeds.'),
  images: z.int().min(1).default(10_000).describe('Images taken from each kept cluster, all where it has fewer.'),
  cap: z.int().min(1).default(1_000_000).describe('Images of the seed set at most.'),
  draw: z
    .enum(['random', 'closest'])
    .default('random')
    .describe('Which images, in a cluster and under the cap: a keyed random draw, or those closest to the centroid (under the cap the closest of every cluster first). A smaller number is always contained in a larger one.'),
});
export type ClusterRetrievalConfig = z.infer<typeof ClusterRetrievalConfig>;

const TopUpConfig = z.union([z.boolean(), z.strictObject({ ranks: z.int().min(1).max(100_000).describe('Nearest neighbours of a query that are looked at, at most. More fill more, and cost memory: 20 bytes a query and rank. `true`: 32 times k.') })]);

const TextConfig = z.strictObject({
  model: z.string().min(1).describe('The text tower that belongs to the model of `embed`: an ONNX file with an input `input_ids`, such as text_model.onnx of a CLIP or SigLIP export.'),
  tokenizer: z.string().min(1).optional().describe('Its tokenizer.json; a tokenizer_config.json beside it is read too. Default: beside the model, or one folder up.'),
  output: z.string().min(1).optional().describe('Output with one vector a prompt. Default: text_embeds, pooler_output, sentence_embedding, or the only one there is.'),
  length: z.int().min(1).max(65_536).optional().describe('Tokens that a prompt is padded and cut to. Default: what model or tokenizer say (CLIP 77, SigLIP 64), else no padding.'),
});
export type TextConfig = z.infer<typeof TextConfig>;

export const RetrieveConfig = z
  .strictObject({
    name: partName,
    sources: z.array(SourceConfig).default([]).describe('The seed images.'),
    engine: z.enum(['onnxruntime', 'faiss']).default('onnxruntime').describe('What computes the products. faiss (slower) needs the optional faiss-node: infra/faiss/build.sh.'),
    k: z.int().min(1).max(10_000).default(4).describe('Pool images for each seed image. The published values: 4 for seed sets above a million images, 32 for ImageNet-1k.'),
    topUp: TopUpConfig.optional().describe('Give k different images a query: an image that another query has is passed over, and neighbours beyond the k-th fill in. Default: none; the same image counts for every query that finds it, as published.'),
    cluster: ClusterRetrievalConfig.optional().describe('Cluster-based retrieval, for small seed sets: images of the clusters that the seeds fall in, instead of `k` neighbours each. `{}` takes the published figures.'),
    prompts: z
      .union([z.string().min(1), z.array(z.string().regex(/\S/, 'a prompt with a word in it')).min(1)])
      .optional()
      .describe('Texts instead of seed images: a list, or the path of a file with one a line. Needs `text`, and a pool embedded by the image tower of the same model.'),
    text: TextConfig.optional().describe('What turns prompts into vectors.'),
  })
  .check(({ value, issues }) => {
    const fault = faultOf(value);
    if (fault !== null) issues.push({ code: 'custom', input: value, message: fault, path: [] });
  });
export type RetrieveConfig = z.infer<typeof RetrieveConfig>;

function faultOf({ sources, prompts, text, cluster, topUp }: { sources: readonly unknown[]; prompts?: unknown; text?: unknown; cluster?: { level?: unknown; clusters?: unknown } | undefined; topUp?: unknown }): string | null {
  if (prompts === undefined && sources.length === 0) return 'expected seed images in `sources`, or `prompts`';
  if (prompts !== undefined && sources.length > 0) return 'expected either `sources` or `prompts`, not both: give each its own entry';
  if ((prompts === undefined) !== (text === undefined)) return prompts === undefined ? 'expected `prompts` beside `text`' : 'expected `text` with the text model beside `prompts`';
  if (cluster !== undefined && prompts !== undefined) return 'expected `k` neighbours for prompts: texts lie apart from all images, so they fall in no cluster of them in a way that means something; take `cluster` out';
  if (cluster !== undefined && topUp !== undefined) return 'expected `topUp` without `cluster`: clusters give each image once as it is';
  if (cluster?.level !== undefined && cluster.clusters !== 'auto') return 'expected either `cluster.level` or `cluster.clusters`, not both';
  return null;
}

/** What of an entry decides bytes, without places: models and prompts are told by their hashes in the selection's manifest. */
export function withoutTextPlaces<T extends Pick<RetrieveConfig, 'prompts' | 'text'>>({ prompts, text, ...entry }: T): Record<string, unknown> {
  if (text === undefined) return entry;
  const { model, tokenizer, ...settings } = text;
  return { ...entry, text: settings, ...(Array.isArray(prompts) && { prompts }) };
}

/** A raw dataset taken whole as a part of its own. */
export const RawConfig = z.strictObject({
  name: partName,
  sources: z.array(SourceConfig).min(1).describe('The images of the part; all that decode are taken.'),
});
export type RawConfig = z.infer<typeof RawConfig>;
