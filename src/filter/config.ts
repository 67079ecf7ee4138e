/** Settings of the filter stage: a recipe's `filters`, a list of rules that are asked in order. */
import { z } from 'zod';
import { ModelInputConfig } from '../embed/config.ts';

const SizeLimits = z
  .strictObject({
    sideMin: z.int().min(1).optional().describe('Shortest side in pixels, at least.'),
    sideMax: z.int().min(1).optional().describe('Longest side in pixels, at most.'),
    areaMin: z.int().min(1).optional().describe('Width × height in pixels, at least.'),
    areaMax: z.int().min(1).optional().describe('Width × height in pixels, at most.'),
    bytesMin: z.int().min(1).optional().describe('Bytes of the file, at least. Where the listing does not know them the image is read.'),
    bytesMax: z.int().min(1).optional().describe('Bytes of the file, at most.'),
    aspectMax: z.number().min(1).optional().describe('Longer side over shorter side, at most.'),
  })
  .refine((limits) => Object.values(limits).some((limit) => limit !== undefined), 'expected at least one limit')
  .describe('Limits on pixels and bytes. Reads no image.');

const Blur = z
  .strictObject({ sharpnessMin: z.number().min(0).default(15).describe('Variance of the Laplacian of 8-bit luma, at least. Higher: more soft pictures go.') })
  .describe('Blurred images, by the variance of the Laplacian at a size of at most 256 × 256 pixels. Reads each image again.');

const Flat = z
  .strictObject({
    deviationMin: z.number().min(0).max(128).default(4).describe('Standard deviation of 8-bit luma, at least.'),
    entropyMin: z.number().min(0).max(8).default(0.2).describe('Entropy of the histogram of luma in bits, at least.'),
  })
  .describe('Images of one tone: low deviation or low entropy of luma at a size of at most 256 × 256 pixels. Reads each image again.');

const Score = z
  .strictObject({
    model: z.string().min(1).describe('A path to an .onnx file or to a folder with one, or `hf:owner/name`.'),
    on: z.enum(['embedding', 'pixels']).default('embedding').describe('What the model takes: the stored vector (a head, [n, d] → [n, classes]), or the image, which is read again.'),
    output: z.string().min(1).optional().describe('Name of the output. Default: the only one of a head; a model of images must have it named.'),
    index: z.int().min(0).default(0).describe('Which number of an image\'s output is the score.'),
    activation: z.enum(['none', 'sigmoid', 'softmax']).default('none').describe('What is applied to the outputs of an image before one is taken.'),
    min: z.number().optional().describe('The score, at least. Neither `min` nor `max`: the score is recorded and rejects nothing.'),
    max: z.number().optional().describe('The score, at most.'),
    input: ModelInputConfig.default({}).describe('`on: pixels`: overrides of the model input where its own files do not say.'),
    batchSize: z.int().min(1).max(4096).default(32).describe('`on: pixels`: images a model call.'),
  })
  .superRefine(({ on, output, min, max }, context) => {
    if (on === 'pixels' && output === undefined) context.addIssue({ code: 'custom', path: ['output'], message: 'expected the name of an output beside on: pixels' });
    if (min !== undefined && max !== undefined && min > max) context.addIssue({ code: 'custom', path: ['min'], message: `expected min to be at most max (${max})` });
  })
  .describe('The score of a classifier, such as an aesthetic or a safety head.');

const pattern = z.string().min(1).max(2048);
const List = z
  .strictObject({
    ids: z.array(z.string().regex(/^[0-9a-f]{32}([0-9a-f]{32})?$/, 'an id: SHA-256 in hex, 64 digits or the first 32')).optional().describe('Ids of images.'),
    uris: z.array(pattern).optional().describe('Patterns of whole uris: `*` stands for any run of characters, everything else for itself.'),
    file: z.string().min(1).optional().describe('A file with one entry a line: 32 or 64 hex digits are an id, anything else is a pattern; empty lines and lines that begin with # are skipped.'),
  })
  .refine((list) => Object.values(list).some((entries) => entries !== undefined), 'expected ids, uris or file');

const Command = z
  .strictObject({
    run: z.array(z.string().min(1)).min(1).describe('The program and its arguments; no shell. It starts in the folder of the recipe, once for every 4,096 rows.'),
    version: z.string().min(1).max(200).describe('Your name for what the program does now. Change it when the answers change: the rows are then decided anew.'),
    columns: z.array(z.enum(['embedding', 'image'])).default([]).describe('What each row brings beside row, id, uri, label, width, height and status: its vector, the bytes of its file (read again).'),
    timeoutSeconds: z.number().positive().max(86_400).default(600).describe('Longest time for 4,096 rows.'),
  })
  .describe('An external program: an Arrow IPC stream of rows on stdin, one of decisions (row, keep, reason) on stdout.');

const Cap = z
  .strictObject({
    column: z.string().regex(/^(label|source|meta\.\S+)$/, 'expected label, source or meta.<key>').describe('What must not fill the pool: label, source or meta.<key>, as in meta.licence.'),
    max: z.int().min(1).max(2 ** 32).describe('Most images of one value.'),
    by: z
      .union([z.literal('random'), z.strictObject({ score: z.string().min(1), prefer: z.enum(['highest', 'lowest']).default('highest') })])
      .default('random')
      .describe('Which stay: a draw keyed by seed and content, or those with the best score of a rule before it.'),
    missing: z.enum(['keep', 'reject', 'cap']).default('keep').describe('Images without a value: all stay, all go, or they share one cap.'),
  })
  .describe('At most so many images of each value of a column. Caps come after all other rules.');

const KINDS = ['size', 'blur', 'flat', 'score', 'allow', 'deny', 'command', 'cap'] as const;
export type RuleKind = (typeof KINDS)[number];

export const FilterConfig = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'lower-case letters, digits and "-" only')
      .describe('Name of the rule: rows that it rejects have the reason `filter:<name>`.'),
    size: SizeLimits.optional(),
    blur: Blur.optional(),
    flat: Flat.optional(),
    score: Score.optional(),
    allow: List.optional().describe('Only these images stay.'),
    deny: List.optional().describe('These images go.'),
    command: Command.optional(),
    cap: Cap.optional(),
  })
  .superRefine((rule, context) => {
    const given = KINDS.filter((kind) => rule[kind] !== undefined);
    if (given.length !== 1) context.addIssue({ code: 'custom', message: `expected exactly one of ${KINDS.join(', ')} beside the name, got ${given.length === 0 ? 'none' : given.join(' and ')}` });
  });
export type FilterConfig = z.infer<typeof FilterConfig>;

/** What a rule is. */
export function kindOf(rule: FilterConfig): RuleKind {
  return KINDS.find((kind) => rule[kind] !== undefined)!;
}

/** Names of the score columns a rule leaves behind, without their prefix. */
export function scoresOf(rule: { readonly name: string; readonly blur?: unknown; readonly flat?: unknown; readonly score?: unknown }): string[] {
  if (rule.flat !== undefined) return [`${rule.name}.deviation`, `${rule.name}.entropy`];
  return rule.blur !== undefined || rule.score !== undefined ? [rule.name] : [];
}

/** What is wrong with the list as a whole, in one sentence, or null. */
export function faultOf(rules: readonly FilterConfig[]): string | null {
  const names = rules.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) return `two filters are named "${twice}"; names must differ`;
  const firstCap = rules.findIndex(({ cap }) => cap !== undefined);
  const late = firstCap < 0 ? undefined : rules.slice(firstCap).find(({ cap }) => cap === undefined);
  if (late !== undefined) return `expected caps after all other filters, got "${late.name}" after the cap "${names[firstCap]}": a cap counts the images that the others leave`;
  const scores = rules.flatMap(scoresOf);
  for (const { name, cap } of rules) {
    if (cap === undefined || cap.by === 'random' || scores.includes(cap.by.score)) continue;
    return `the cap "${name}" chooses by the score "${cap.by.score}", which no filter gives; scores: ${scores.join(', ') || 'none'}`;
  }
  return null;
}

/** What of a rule decides the dataset, for its lineage: everything but where files lie on this machine. */
export function withoutFilterPlaces({ score, allow, deny, command, ...rule }: FilterConfig): Record<string, unknown> {
  const unplaced = (list: typeof allow): Record<string, unknown> => {
    const { file, ...rest } = list ?? {};
    return { ...rest, ...(file !== undefined && { file: true }) };
  };
  const decisive = (): Record<string, unknown> => {
    const { model, batchSize, ...rest } = score!;
    return { ...rest, ...(model.startsWith('hf:') && { model }) };
  };
  return {
    ...rule,
    ...(score !== undefined && { score: decisive() }),
    ...(allow !== undefined && { allow: unplaced(allow) }),
    ...(deny !== undefined && { deny: unplaced(deny) }),
    ...(command !== undefined && { command: { version: command.version, columns: command.columns } }),
  };
}
