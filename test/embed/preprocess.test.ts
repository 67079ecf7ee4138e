import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PreprocessSpec } from '../../src/embed/embedding.ts';
import { createTensor, writeTensor } from '../../src/embed/preprocess.ts';

function specOf(width: number, height: number, layout: PreprocessSpec['layout'], type: PreprocessSpec['type']): PreprocessSpec {
  return {
    resize: { mode: 'exact', width, height },
    crop: null,
    resample: 'bicubic',
    background: [0, 0, 0],
    layout,
    type,
    rescale: 1 / 255,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
  };
}

const layouts = fc.constantFrom('nchw' as const, 'nhwc' as const);
const types = fc.constantFrom('float32' as const, 'uint8' as const);
const side = fc.integer({ min: 1, max: 9 });

describe('createTensor', () => {
  it('has room for n images of the type', () => {
    expect(createTensor(specOf(7, 5, 'nchw', 'float32'), 3)).toEqual(new Float32Array(3 * 3 * 35));
    expect(createTensor(specOf(7, 5, 'nhwc', 'uint8'), 2)).toEqual(new Uint8Array(2 * 3 * 35));
  });
});

describe('writeTensor', () => {
  it('writes (byte · rescale − mean) / std of each pixel where the layout wants it, and nowhere else', () => {
    fc.assert(
      fc.property(side, side, layouts, types, fc.nat(2), fc.nat(3), fc.infiniteStream(fc.integer({ min: 0, max: 255 })), (width, height, layout, type, slot, offset, bytes) => {
        const spec = specOf(width, height, layout, type);
        const n = width * height;
        // A view that does not start at a word is what a cropped decode hands over.
        const pixels = new Uint8Array(n * 3 + offset).subarray(offset);
        for (let i = 0; i < pixels.length; i++) pixels[i] = bytes.next().value as number;
        const tensor = createTensor(spec, 3).fill(77);
        writeTensor(pixels, spec, tensor, slot);
        for (let image = 0; image < 3; image++) {
          for (let i = 0; i < n; i++) {
            for (let c = 0; c < 3; c++) {
              const at = image * 3 * n + (layout === 'nchw' ? c * n + i : i * 3 + c);
              const byte = pixels[i * 3 + c]!;
              const value = type === 'uint8' ? byte : Math.fround(Math.fround(Math.fround(byte * spec.rescale) - Math.fround(spec.mean[c]!)) / Math.fround(spec.std[c]!));
              if (tensor[at] !== (image === slot ? value : 77)) throw new Error(`image ${image}, pixel ${i}, channel ${c}: ${tensor[at]} for ${byte}`);
            }
          }
        }
      }),
    );
  });

  it('gives the float32 values of the NumPy processors', () => {
    // np.float32(np.float32(128 * (1 / 255)) - np.float32(0.485)) / np.float32(0.229), and so on.
    const spec = specOf(1, 1, 'nchw', 'float32');
    const tensor = createTensor(spec, 1);
    writeTensor(Uint8Array.of(128, 0, 255), spec, tensor, 0);
    expect([...tensor].map((value) => value.toFixed(6))).toEqual(['0.074065', '-2.035714', '2.640000']);
  });

  it('refuses pixels, slots and tensors that do not fit', () => {
    const spec = specOf(4, 4, 'nchw', 'float32');
    const tensor = createTensor(spec, 2);
    expect(() => writeTensor(new Uint8Array(47), spec, tensor, 0)).toThrow('4 × 4 × 3');
    expect(() => writeTensor(new Uint8Array(48), spec, tensor, 2)).toThrow('image 2');
    expect(() => writeTensor(new Uint8Array(48), spec, new Uint8Array(96), 0)).toThrow('float32');
  });
});
