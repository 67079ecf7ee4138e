import { describe, expect, it } from 'vitest';
import { inputSize } from '../../src/embed/embedding.ts';
import { parsePreprocessorConfig } from '../../src/embed/hf-preprocessor.ts';
import { WinnowError } from '../../src/errors.ts';

const IMAGENET = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] };
const CLIP = { image_mean: [0.48145466, 0.4578275, 0.40821073], image_std: [0.26862954, 0.26130258, 0.27577711] };
const STEPS = { do_resize: true, do_rescale: true, do_normalize: true, rescale_factor: 0.00392156862745098 };

/** facebook/dinov2-small */
const DINOV2 = {
  ...STEPS,
  ...IMAGENET,
  crop_size: { height: 224, width: 224 },
  do_center_crop: true,
  do_convert_rgb: true,
  image_processor_type: 'BitImageProcessor',
  resample: 3,
  size: { shortest_edge: 256 },
};
/** facebook/dinov3-vits16-pretrain-lvd1689m */
const DINOV3 = {
  ...STEPS,
  ...IMAGENET,
  crop_size: null,
  data_format: 'channels_first',
  default_to_square: true,
  device: null,
  disable_grouping: null,
  do_center_crop: null,
  do_convert_rgb: null,
  image_processor_type: 'DINOv3ViTImageProcessorFast',
  input_data_format: null,
  resample: 2,
  return_tensors: null,
  size: { height: 224, width: 224 },
};
/** openai/clip-vit-large-patch14-336 */
const OLD_CLIP = { ...CLIP, crop_size: 336, do_center_crop: true, do_normalize: true, do_resize: true, feature_extractor_type: 'CLIPFeatureExtractor', resample: 3, size: 336 };
/** google/siglip-so400m-patch14-384 */
const SIGLIP = {
  ...STEPS,
  do_convert_rgb: null,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
  image_processor_type: 'SiglipImageProcessor',
  processor_class: 'SiglipProcessor',
  resample: 3,
  size: { height: 384, width: 384 },
};
/** google/vit-base-patch16-224 */
const OLD_VIT = { do_normalize: true, do_resize: true, image_mean: [0.5, 0.5, 0.5], image_processor_type: 'ViTFeatureExtractor', image_std: [0.5, 0.5, 0.5], resample: 2, size: 224 };

describe('parsePreprocessorConfig', () => {
  it('reads DINOv2', () => {
    expect(parsePreprocessorConfig(DINOV2)).toEqual({
      resize: { mode: 'shortest-edge', size: 256 },
      crop: { width: 224, height: 224 },
      resample: 'bicubic',
      background: [255, 255, 255],
      layout: 'nchw',
      type: 'float32',
      rescale: 1 / 255,
      mean: [0.485, 0.456, 0.406],
      std: [0.229, 0.224, 0.225],
    });
  });

  it('reads DINOv3, where null means the class says', () => {
    const spec = parsePreprocessorConfig(DINOV3);
    expect(spec).toMatchObject({ resize: { mode: 'exact', width: 224, height: 224 }, crop: null, resample: 'bilinear', mean: [0.485, 0.456, 0.406] });
    expect(parsePreprocessorConfig({ image_processor_type: 'DINOv3ViTImageProcessorFast' })).toEqual(spec);
  });

  it('reads CLIP, old and new', () => {
    const spec = parsePreprocessorConfig(OLD_CLIP);
    expect(spec).toMatchObject({ resize: { mode: 'shortest-edge', size: 336 }, crop: { width: 336, height: 336 }, resample: 'bicubic', rescale: 1 / 255 });
    const recent = { ...OLD_CLIP, ...STEPS, image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: 336 }, crop_size: { height: 336, width: 336 } };
    expect(parsePreprocessorConfig(recent)).toEqual(spec);
  });

  it('reads SigLIP and ViT, where a bare number is a square', () => {
    expect(parsePreprocessorConfig(SIGLIP)).toMatchObject({ resize: { mode: 'exact', width: 384, height: 384 }, crop: null, resample: 'bicubic', mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] });
    expect(parsePreprocessorConfig(OLD_VIT)).toMatchObject({ resize: { mode: 'exact', width: 224, height: 224 }, crop: null, resample: 'bilinear' });
  });

  it('reads height before width, and an image_processor inside a processor_config.json', () => {
    const spec = parsePreprocessorConfig({ image_processor: { ...SIGLIP, size: { height: 100, width: 200 } }, processor_class: 'SiglipProcessor' });
    expect(inputSize(spec)).toEqual({ width: 200, height: 100 });
    expect(inputSize(parsePreprocessorConfig({ ...SIGLIP, size: [100, 200] }))).toEqual({ width: 200, height: 100 });
  });

  it('honours the switches', () => {
    expect(parsePreprocessorConfig({ ...DINOV2, do_rescale: false, do_normalize: false })).toMatchObject({ rescale: 1, mean: [0, 0, 0], std: [1, 1, 1] });
    expect(parsePreprocessorConfig({ ...DINOV2, size: { height: 224, width: 224 }, do_center_crop: false }).crop).toBeNull();
    expect(parsePreprocessorConfig({ ...SIGLIP, image_mean: 0.25 }).mean).toEqual([0.25, 0.25, 0.25]);
    for (const [number, name] of ['nearest', 'lanczos', 'bilinear', 'bicubic'].entries()) expect(parsePreprocessorConfig({ ...DINOV2, resample: number }).resample).toBe(name);
  });

  it('lets overrides win, also where the file is unusable', () => {
    const spec = parsePreprocessorConfig({ ...DINOV2, do_resize: false }, { resize: { mode: 'exact', width: 518, height: 518 }, crop: null, layout: 'nhwc', background: [0, 0, 0] });
    expect(spec).toMatchObject({ resize: { mode: 'exact', width: 518, height: 518 }, crop: null, layout: 'nhwc', background: [0, 0, 0], mean: [0.485, 0.456, 0.406] });
  });

  it('takes an unknown class that says everything', () => {
    const { image_processor_type: _, ...rest } = DINOV2;
    expect(parsePreprocessorConfig({ ...rest, image_processor_type: 'SomebodysImageProcessor' })).toEqual(parsePreprocessorConfig(DINOV2));
  });

  it.each([
    ['no object', 'text', 'the file', 'expected object'],
    ['a size as text', { ...DINOV2, size: '224' }, 'size', 'size'],
    ['two means', { ...DINOV2, image_mean: [0.5, 0.5] }, 'image_mean', 'image_mean'],
    ['no resize', { ...DINOV2, do_resize: false }, 'do_resize', 'one size'],
    ['a shortest edge without a crop', { ...DINOV2, do_center_crop: false }, 'do_center_crop', 'shortest edge'],
    ['a longest edge', { ...DINOV2, size: { longest_edge: 224 } }, 'size', '{"longest_edge":224}'],
    ['two kinds of size', { ...DINOV2, size: { shortest_edge: 224, longest_edge: 448 } }, 'size', 'shortest_edge'],
    ['a bare number of an unknown class', { ...STEPS, ...IMAGENET, resample: 3, size: 224 }, 'size', 'depends on the class'],
    ['an unknown class with a crop nobody switched on', { ...STEPS, ...IMAGENET, resample: 3, size: { shortest_edge: 256 }, crop_size: 224 }, 'do_center_crop', 'got nothing'],
    ['a strange crop', { ...DINOV2, crop_size: { shortest_edge: 224 } }, 'crop_size', 'height and width'],
    ['a box filter', { ...DINOV2, resample: 4 }, 'resample', 'got 4'],
    ['no mean', { ...STEPS, size: { height: 9, width: 9 }, resample: 3, image_std: [1, 1, 1] }, 'image_mean', 'three numbers'],
    ['a std of zero', { ...DINOV2, image_std: [0.2, 0, 0.2] }, 'image_std', 'above zero'],
    ['padding', { ...DINOV2, do_pad: true }, 'do_pad', 'got true'],
    ['swapped channels', { ...DINOV2, do_flip_channel_order: true }, 'do_flip_channel_order', 'got true'],
    ['ConvNeXT crops', { ...DINOV2, crop_pct: 0.875 }, 'crop_pct', '0.875'],
    ['patches of any size', { image_processor_type: 'Siglip2ImageProcessor', max_num_patches: 256, patch_size: 16 }, 'max_num_patches', '256'],
  ])('refuses %s', (_, json, field, message) => {
    const refusal = thrownBy(() => parsePreprocessorConfig(json));
    expect(refusal.code).toBe('MODEL_INVALID');
    expect(refusal.details['field']).toBe(field);
    expect(refusal.message).toContain(message);
    expect(refusal.message).toContain('preprocessor_config.json');
  });
});

function thrownBy(run: () => unknown): WinnowError {
  try {
    run();
  } catch (error) {
    if (error instanceof WinnowError) return error;
    throw error;
  }
  throw new Error('Expected an error');
}
