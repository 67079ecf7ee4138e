/** A tiny ONNX model that takes bytes, as classifiers that normalise by themselves are exported, and can give NaN. */
import { encodeModel } from '../../src/onnx/graph.ts';

/** image: uint8 [N, 8, 8, 3] → embedding [N, 6]: mean colour m, and √(limit − m), which is NaN for an image brighter than `limit`. */
export function colourModel({ limit }: { limit: number }): Uint8Array {
  return encodeModel({
    name: 'colour',
    inputs: [{ name: 'image', type: 'uint8', shape: ['N', 8, 8, 3] }],
    outputs: [{ name: 'embedding', type: 'float32', shape: ['N', 6] }],
    nodes: [
      { op: 'Cast', inputs: ['image'], outputs: ['pixels'], attributes: { to: 1 } },
      { op: 'ReduceMean', inputs: ['pixels'], outputs: ['mean'], attributes: { axes: [1, 2], keepdims: 0 } },
      { op: 'Sub', inputs: ['limit', 'mean'], outputs: ['left'] },
      { op: 'Sqrt', inputs: ['left'], outputs: ['root'] },
      { op: 'Concat', inputs: ['mean', 'root'], outputs: ['embedding'], attributes: { axis: 1 } },
    ],
    initializers: [{ name: 'limit', type: 'float32', shape: [1, 3], data: Float32Array.of(limit, limit, limit) }],
  });
}

/** Takes no images: tokens [N, 5] → embedding [N, 5]. */
export function textModel(): Uint8Array {
  return encodeModel({
    name: 'text',
    inputs: [{ name: 'tokens', type: 'float32', shape: ['N', 5] }],
    outputs: [{ name: 'embedding', type: 'float32', shape: ['N', 5] }],
    nodes: [{ op: 'Identity', inputs: ['tokens'], outputs: ['embedding'] }],
    initializers: [],
  });
}
