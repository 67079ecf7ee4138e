/** Settings of the embed stage. */
import { z } from 'zod';
import { DEFAULT_DECODE_LIMITS } from './embedding.ts';

const triple = z.tuple([z.number(), z.number(), z.number()]);

/** What a recipe may say about a model's input where its files do not; each field overrides `preprocessor_config.json`. */
export const ModelInputConfig = z.strictObject({
  layout: z.enum(['nchw', 'nhwc']).optional().describe('Memory order of the input tensor. Default: read from the model.'),
  type: z.enum(['float32', 'uint8']).optional().describe('Element type of the input tensor. Default: read from the model.'),
  resize: z
    .union([
      z.strictObject({ mode: z.literal('shortest-edge'), size: z.int().min(1).max(4096) }),
      z.strictObject({ mode: z.enum(['exact', 'cover']), width: z.int().min(1).max(4096), height: z.int().min(1).max(4096) }),
    ])
    .optional()
    .describe('How the image is scaled before the crop.'),
  crop: z.strictObject({ width: z.int().min(1).max(4096), height: z.int().min(1).max(4096) }).nullable().optional().describe('Centre crop after the resize; null: none.'),
  resample: z.enum(['nearest', 'bilinear', 'bicubic', 'lanczos']).optional().describe('Interpolation of the resize.'),
  background: z.tuple([z.int().min(0).max(255), z.int().min(0).max(255), z.int().min(0).max(255)]).optional().describe('sRGB colour under transparent pixels. Default white.'),
  rescale: z.number().positive().optional().describe('Factor on bytes before mean and std, usually 1/255.'),
  mean: triple.optional().describe('Per-channel mean, after `rescale`.'),
  std: triple.optional().describe('Per-channel standard deviation, after `rescale`.'),
});
export type ModelInputConfig = z.infer<typeof ModelInputConfig>;

export const EmbedConfig = z.strictObject({
  model: z.string().min(1).default('descriptor').describe('`descriptor` (built in, no download), a path to an .onnx file or to a folder with one, or `hf:owner/name`.'),
  providers: z.array(z.enum(['cpu', 'webgpu', 'cuda'])).min(1).default(['cpu']).describe('Execution providers in the order to try them.'),
  input: ModelInputConfig.default({}).describe('Overrides of the model input where its own files do not say.'),
  output: z.string().min(1).optional().describe('Name of the model output to use. Default: by rule (pooler_output, image_embeds, embedding, last_hidden_state …).'),
  pool: z.enum(['auto', 'cls', 'mean', 'pooled']).default('auto').describe('How a sequence output becomes one vector: the class token, the mean of the patches, or it is pooled already.'),
  batchSize: z.int().min(1).max(4096).default(32).describe('Images a model call. More: better use of a GPU; less: less memory.'),
  normalize: z.boolean().default(true).describe('Scale vectors to unit length. The published curation used raw ones (false).'),
  dtype: z.enum(['float16', 'float32']).default('float16').describe('Type on disk. float16 halves the store; float32 keeps every bit of the model.'),
  maxDropRatio: z.number().min(0).max(1).default(0.1).describe('Share of images that may be rejected before the stage fails.'),
  limits: z
    .strictObject({
      sizeBytesMax: z.int().min(1).default(DEFAULT_DECODE_LIMITS.sizeBytesMax).describe('Largest file in bytes.'),
      pixelsMax: z.int().min(1).default(DEFAULT_DECODE_LIMITS.pixelsMax).describe('Largest width × height in pixels, checked on the header before decoding.'),
      sideMax: z.int().min(1).default(DEFAULT_DECODE_LIMITS.sideMax).describe('Longest side in pixels.'),
      sideMin: z.int().min(1).default(DEFAULT_DECODE_LIMITS.sideMin).describe('Shortest side in pixels.'),
    })
    .prefault({})
    .describe('Limits checked on the header; an image past one is a row with that reason.'),
});
export type EmbedConfig = z.infer<typeof EmbedConfig>;
