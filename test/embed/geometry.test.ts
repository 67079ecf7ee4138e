import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHECK_ONLY } from '../../src/embed/decode.ts';
import { inputSize, type PreprocessSpec } from '../../src/embed/embedding.ts';
import { placeImage } from '../../src/embed/geometry.ts';

const shortest = (size: number, crop: number): PreprocessSpec => ({ ...CHECK_ONLY, resize: { mode: 'shortest-edge', size }, crop: { width: crop, height: crop } });

describe('placeImage', () => {
  // transformers 4.x: get_resize_output_image_size(…, default_to_square=False), then center_crop.
  it.each([
    [640, 480, 256, 224, [341, 256], [58, 16]],
    [480, 640, 256, 224, [256, 341], [16, 58]],
    [500, 333, 256, 224, [384, 256], [80, 16]],
    [1000, 999, 256, 224, [256, 256], [16, 16]],
    [224, 224, 224, 224, [224, 224], [0, 0]],
    [10, 65, 256, 224, [256, 1664], [16, 720]],
  ] as const)('%i × %i, shortest edge %i, crop %i', (width, height, size, crop, to, start) => {
    const placed = placeImage({ width, height }, shortest(size, crop));
    expect([placed.to.width, placed.to.height]).toEqual(to);
    expect([placed.window.left, placed.window.top]).toEqual(start);
    expect([placed.left, placed.top]).toEqual([0, 0]);
  });

  it('pads a smaller image, the odd pixel in front', () => {
    const placed = placeImage({ width: 400, height: 200 }, shortest(101, 224));
    expect(placed.to).toEqual({ width: 202, height: 101 });
    expect(placed.window).toEqual({ left: 0, top: 0, width: 202, height: 101 });
    expect([placed.left, placed.top]).toEqual([11, 62]);
  });

  it('covers with the least scale and crops the centre', () => {
    const spec: PreprocessSpec = { ...CHECK_ONLY, resize: { mode: 'cover', width: 100, height: 50 } };
    expect(placeImage({ width: 300, height: 300 }, spec)).toEqual({ to: { width: 100, height: 100 }, window: { left: 0, top: 25, width: 100, height: 50 }, left: 0, top: 0 });
  });

  it('always places a window of the scaled image inside the input', () => {
    const edge = fc.integer({ min: 1, max: 3000 });
    const small = fc.integer({ min: 1, max: 600 });
    const resize = fc.oneof(
      small.map((size) => ({ mode: 'shortest-edge' as const, size })),
      fc.record({ mode: fc.constantFrom('exact' as const, 'cover' as const), width: small, height: small }),
    );
    const crop = fc.option(fc.record({ width: small, height: small }), { nil: null });
    fc.assert(
      fc.property(edge, edge, resize, crop, (width, height, resizing, cropping) => {
        const spec = { ...CHECK_ONLY, resize: resizing, crop: cropping };
        const { to, window, left, top } = placeImage({ width, height }, spec);
        const input = inputSize(spec);
        expect(window.left + window.width).toBeLessThanOrEqual(to.width);
        expect(window.top + window.height).toBeLessThanOrEqual(to.height);
        expect(left + window.width).toBeLessThanOrEqual(input.width);
        expect(top + window.height).toBeLessThanOrEqual(input.height);
        expect(window.width).toBe(Math.min(to.width, input.width));
        expect(window.height).toBe(Math.min(to.height, input.height));
      }),
    );
  });
});
