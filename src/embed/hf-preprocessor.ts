/**
 * Hugging Face `preprocessor_config.json` to a `PreprocessSpec`. Fields and their defaults: transformers,
 * models/<name>/image_processing_<name>.py, of the classes in `CLASSES`; `null` and an absent field both mean the
 * class's default. Departures: transparent pixels go over a background instead of showing what lies under them; the
 * torchvision ("Fast") classes resample without rounding to bytes in between.
 */
import { z } from 'zod';
import { WinnowError } from '../errors.ts';
import type { PreprocessSpec } from './embedding.ts';

/**
 * Reads a preprocessor configuration, or the `image_processor` inside a `processor_config.json`.
 *
 * Everything that would change pixels and is not understood is an error, never ignored: a model fed with other pixels
 * than it was trained on fails silently.
 *
 * @param json      parsed JSON
 * @param overrides fields that replace what the file says; a field given here may be missing or unusable there
 * @returns float32 NCHW with a white background unless overridden
 * @throws {WinnowError} MODEL_INVALID naming the field, what was expected and what came
 */
export function parsePreprocessorConfig(json: unknown, overrides: Partial<PreprocessSpec> = {}): PreprocessSpec {
  const config = readFields(json);
  refuseUnknownSteps(config);
  const defaults = classOf(config);
  const resize = overrides.resize ?? readResize(config, defaults);
  const crop = overrides.crop === undefined ? readCrop(config, defaults) : overrides.crop;
  if (resize.mode === 'shortest-edge' && crop === null) {
    throw invalid('do_center_crop', 'true where `size` is a shortest edge, since images of a batch need one size', config.do_center_crop);
  }
  const normalizes = config.do_normalize ?? true;
  return {
    resize,
    crop,
    resample: overrides.resample ?? readResample(config, defaults),
    background: overrides.background ?? [255, 255, 255],
    layout: overrides.layout ?? 'nchw',
    type: overrides.type ?? 'float32',
    rescale: overrides.rescale ?? ((config.do_rescale ?? true) ? (config.rescale_factor ?? 1 / 255) : 1),
    mean: overrides.mean ?? (normalizes ? channels('image_mean', config.image_mean ?? defaults?.mean) : [0, 0, 0]),
    std: overrides.std ?? (normalizes ? channels('image_std', config.image_std ?? defaults?.std) : [1, 1, 1]),
  };
}

const edge = z.int().min(1).max(16_384);
const flag = z.boolean().nullish();
const perChannel = z.union([z.number(), z.array(z.number()).length(3)]).nullish();
const ConfigFields = z.looseObject({
  image_processor_type: z.string().nullish(),
  feature_extractor_type: z.string().nullish(),
  do_resize: flag,
  size: z.union([edge, z.tuple([edge, edge]), z.record(z.string(), edge.nullable())]).nullish(),
  resample: z.int().nullish(),
  do_center_crop: flag,
  crop_size: z.union([edge, z.tuple([edge, edge]), z.record(z.string(), edge.nullable())]).nullish(),
  do_rescale: flag,
  rescale_factor: z.number().positive().nullish(),
  do_normalize: flag,
  image_mean: perChannel,
  image_std: perChannel,
});
type ConfigFields = z.infer<typeof ConfigFields>;

interface ClassDefaults {
  /** What a bare number in `size` means, and the size without one. */
  readonly size: { readonly mode: 'shortest-edge' | 'exact'; readonly edge: number };
  /** Crop without `do_center_crop` and `crop_size`; null: none. */
  readonly crop: number | null;
  readonly resample: PreprocessSpec['resample'];
  readonly mean: PreprocessSpec['mean'];
  readonly std: PreprocessSpec['std'];
}

const HALF = [0.5, 0.5, 0.5] as const;
const CLIP: ClassDefaults = {
  size: { mode: 'shortest-edge', edge: 224 },
  crop: 224,
  resample: 'bicubic',
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
const VIT: ClassDefaults = { size: { mode: 'exact', edge: 224 }, crop: null, resample: 'bilinear', mean: HALF, std: HALF };
const DEIT: ClassDefaults = { ...VIT, size: { mode: 'exact', edge: 256 }, crop: 224, resample: 'bicubic' };

/** By class name without `ImageProcessor`, `FeatureExtractor` and `Fast`. DINOv2 is published with Bit. */
const CLASSES: ReadonlyMap<string, ClassDefaults> = new Map([
  ['Bit', CLIP],
  ['CLIP', CLIP],
  ['ViT', VIT],
  ['Siglip', { ...VIT, resample: 'bicubic' }],
  ['DINOv3ViT', { ...VIT, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }],
  ['DeiT', DEIT],
  ['Beit', DEIT],
]);

/** PIL's numbers. 4 (box) and 5 (Hamming) exist and are refused. */
const RESAMPLES: readonly PreprocessSpec['resample'][] = ['nearest', 'lanczos', 'bilinear', 'bicubic'];
const KNOWN_STEPS = new Set(['do_resize', 'do_center_crop', 'do_rescale', 'do_normalize', 'do_convert_rgb', 'do_reduce_labels']);
/** Fields of other processors that change pixels when set. */
const REFUSED = ['crop_pct', 'size_divisor', 'size_divisibility', 'rescale_offset', 'include_top', 'max_num_patches', 'min_pixels', 'max_pixels', 'image_grid_pinpoints'];

function readFields(json: unknown): ConfigFields {
  const isNested = typeof json === 'object' && json !== null && 'image_processor' in json;
  const parsed = ConfigFields.safeParse(isNested ? json.image_processor : json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue?.path.join('.') || 'the file';
  throw new WinnowError('MODEL_INVALID', `preprocessor_config.json: ${field}: ${issue?.message ?? 'not understood'}`, { details: { field } });
}

function refuseUnknownSteps(config: ConfigFields): void {
  for (const [field, value] of Object.entries(config)) {
    const isStep = field.startsWith('do_') && value === true && !KNOWN_STEPS.has(field);
    const isRefused = REFUSED.includes(field) && value !== null && value !== false;
    if (isStep || isRefused) throw invalid(field, 'only resize, centre crop, rescale and normalize', value);
  }
}

/** Null for a class not in the table: then the file has to say everything. */
function classOf(config: ConfigFields): ClassDefaults | null {
  const name = config.image_processor_type ?? config.feature_extractor_type ?? '';
  return CLASSES.get(name.replace(/Fast$/, '').replace(/(ImageProcessor|FeatureExtractor)(Pil)?$/, '')) ?? null;
}

function readResize(config: ConfigFields, defaults: ClassDefaults | null): PreprocessSpec['resize'] {
  if (config.do_resize === false) throw invalid('do_resize', 'true, since images of a batch need one size', false);
  const size = config.size ?? defaults?.size.edge;
  if (typeof size === 'number') {
    if (defaults === null) throw invalid('size', 'height and width or shortest_edge, since what a bare number means depends on the class', size);
    return defaults.size.mode === 'exact' ? { mode: 'exact', width: size, height: size } : { mode: 'shortest-edge', size };
  }
  const dimensions = dimensionsOf(size);
  if (dimensions !== null) return { mode: 'exact', ...dimensions };
  const { shortest_edge: shortest, ...rest } = (size ?? {}) as Record<string, number | null>;
  if (typeof shortest === 'number' && Object.values(rest).every((value) => value === null)) return { mode: 'shortest-edge', size: shortest };
  throw invalid('size', 'height and width, or shortest_edge', size);
}

function readCrop(config: ConfigFields, defaults: ClassDefaults | null): PreprocessSpec['crop'] {
  const crops = config.do_center_crop ?? (defaults === null ? null : defaults.crop !== null);
  if (crops === null && config.crop_size != null) throw invalid('do_center_crop', 'true or false beside a crop_size', config.do_center_crop);
  if (crops !== true) return null;
  const size = config.crop_size ?? defaults?.crop;
  const dimensions = typeof size === 'number' ? { width: size, height: size } : dimensionsOf(size);
  if (dimensions === null) throw invalid('crop_size', 'a number, or height and width', size);
  return dimensions;
}

/** `{height, width}` alone, or `[height, width]`. */
function dimensionsOf(size: ConfigFields['size']): { width: number; height: number } | null {
  if (Array.isArray(size)) return { width: size[1], height: size[0] };
  if (typeof size !== 'object' || size === null) return null;
  const { width, height, ...rest } = size as Record<string, number | null>;
  const isAlone = Object.values(rest).every((value) => value === null);
  return typeof width === 'number' && typeof height === 'number' && isAlone ? { width, height } : null;
}

function readResample(config: ConfigFields, defaults: ClassDefaults | null): PreprocessSpec['resample'] {
  const resample = config.resample == null ? defaults?.resample : RESAMPLES[config.resample];
  if (resample === undefined) throw invalid('resample', '0 (nearest), 1 (Lanczos), 2 (bilinear) or 3 (bicubic)', config.resample);
  return resample;
}

function channels(field: string, value: number | readonly number[] | undefined): [number, number, number] {
  if (value === undefined) throw invalid(field, 'three numbers while do_normalize is on', value);
  const [red, green, blue] = typeof value === 'number' ? [value, value, value] : (value as [number, number, number]);
  if (field === 'image_std' && !(red > 0 && green > 0 && blue > 0)) throw invalid(field, 'numbers above zero', value);
  return [red as number, green as number, blue as number];
}

function invalid(field: string, expected: string, got: unknown): WinnowError {
  const shown = got === undefined ? 'nothing' : JSON.stringify(got);
  return new WinnowError('MODEL_INVALID', `preprocessor_config.json: expected \`${field}\` to be ${expected}, got ${shown}`, {
    details: { field, expected, got: got ?? null },
  });
}
