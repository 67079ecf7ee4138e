/**
 * Where an image's pixels go in the input of a model, with the roundings of Hugging Face's image processors
 * (transformers, image_transforms.py: `get_resize_output_image_size` and the NumPy `center_crop`, which the published
 * configurations of DINOv2 and CLIP name). The torchvision variants may crop one pixel further when a margin is odd.
 */
import { inputSize, type PreprocessSpec } from './embedding.ts';
import type { Size, Window } from './resample.ts';

export interface Placement {
  /** Size the image is scaled to. */
  readonly to: Size;
  /** Part of the scaled image that is used. */
  readonly window: Window;
  /** Where that part starts in the input; the rest of the input is black. */
  readonly left: number;
  readonly top: number;
}

/** @param from size after EXIF orientation, at least 1 × 1 */
export function placeImage(from: Size, spec: PreprocessSpec): Placement {
  const input = inputSize(spec);
  const to = scaledSize(from, spec.resize);
  const across = centre(to.width, input.width);
  const down = centre(to.height, input.height);
  const window = { left: across.start, top: down.start, width: across.length, height: down.length };
  return { to, window, left: across.pad, top: down.pad };
}

function scaledSize(from: Size, resize: PreprocessSpec['resize']): Size {
  if (resize.mode === 'exact') return { width: resize.width, height: resize.height };
  if (resize.mode === 'shortest-edge') {
    const longer = (long: number, short: number): number => Math.trunc((resize.size * long) / short);
    if (from.width <= from.height) return { width: resize.size, height: longer(from.height, from.width) };
    return { width: longer(from.width, from.height), height: resize.size };
  }
  const scale = Math.max(resize.width / from.width, resize.height / from.height);
  return {
    width: Math.max(resize.width, Math.round(from.width * scale)),
    height: Math.max(resize.height, Math.round(from.height * scale)),
  };
}

/** Centre part of `length` samples that fills `wanted`, or all of them and the padding in front. */
function centre(length: number, wanted: number): { start: number; length: number; pad: number } {
  if (length >= wanted) return { start: Math.floor((length - wanted) / 2), length: wanted, pad: 0 };
  return { start: 0, length, pad: Math.ceil((wanted - length) / 2) };
}
