/**
 * An ONNX graph with the shape of DINOv2's ViT-S/14 and random weights: weights do not change the speed, and the model
 * needs no download. Pre-norm blocks with layer scale (arXiv 2010.11929, 2304.07193); departure: no register tokens.
 */
import { type GraphSpec, type Initializer, type NodeSpec, encodeModel } from '../onnx/graph.ts';

export interface VitShape {
  /** Pixels of a side of the input, a multiple of the patch. */
  readonly side: number;
  readonly patch: number;
  /** Width, a multiple of 64. */
  readonly d: number;
  readonly layers: number;
}

export const VIT_S14: VitShape = { side: 224, patch: 14, d: 384, layers: 12 };

/** Multiply-adds of one image, times two. */
export function vitFlop({ side, patch, d, layers }: VitShape): number {
  const tokens = (side / patch) ** 2 + 1;
  return 2 * (tokens * patch ** 2 * 3 * d + layers * (12 * tokens * d * d + 2 * tokens * tokens * d));
}

/** `pixel_values`: float32 [N, 3, side, side] → `embedding`: float32 [N, d], the class token. */
export function encodeVit(shape: VitShape): Uint8Array {
  const { side, patch, d, layers } = shape;
  const graph = createGraph();
  const tokens = (side / patch) ** 2 + 1;
  const patches = graph.node('Conv', ['pixel_values', graph.weight('patch', [d, 3, patch, patch]), graph.weight('patch_bias', [d])], { kernel_shape: [patch, patch], strides: [patch, patch] });
  const rows = graph.node('Transpose', [graph.node('Reshape', [patches, graph.shape([0, d, tokens - 1])])], { perm: [0, 2, 1] });
  // One class token an image, whatever N is: a sum of nothing but zeros, and the token.
  const none = graph.node('Mul', [graph.node('ReduceMean', [rows], { axes: [1], keepdims: 1 }), graph.constant('zero', [1], 0)]);
  const first = graph.node('Add', [none, graph.weight('class', [1, 1, d])]);
  let x = graph.node('Add', [graph.node('Concat', [first, rows], { axis: 1 }), graph.weight('position', [1, tokens, d])]);
  for (let layer = 0; layer < layers; layer++) {
    x = residual(graph, x, attention(graph, norm(graph, x, d), tokens, d), d);
    x = residual(graph, x, feedForward(graph, norm(graph, x, d), d), d);
  }
  const token = graph.node('Gather', [norm(graph, x, d), graph.index(0)], { axis: 1 });
  return encodeModel(graph.finish(token, shape));
}

interface GraphBuilder {
  /** @returns the name of the output */
  node(op: string, inputs: readonly string[], attributes?: NodeSpec['attributes']): string;
  weight(name: string, shape: readonly number[]): string;
  constant(name: string, shape: readonly number[], value: number): string;
  shape(dims: readonly number[]): string;
  index(value: number): string;
  nodeOf(op: string, inputs: readonly string[], outputs: number, attributes?: NodeSpec['attributes']): string[];
  finish(output: string, shape: VitShape): GraphSpec;
}

function createGraph(): GraphBuilder {
  const nodes: NodeSpec[] = [];
  const initializers: Initializer[] = [];
  let count = 0;
  const add = (initializer: Omit<Initializer, 'name'>, label: string): string => {
    const name = `${label}_${count++}`;
    initializers.push({ name, ...initializer });
    return name;
  };
  const floats = (label: string, shape: readonly number[], fill: (i: number) => number): string =>
    add({ type: 'float32', shape, data: Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, (_, i) => fill(i)) }, label);
  const integers = (label: string, values: readonly number[], shape: readonly number[]): string => add({ type: 'int64', shape, data: BigInt64Array.from(values, BigInt) }, label);
  const nodeOf: GraphBuilder['nodeOf'] = (op, inputs, outputs, attributes) => {
    const names = Array.from({ length: outputs }, () => `t${count++}`);
    nodes.push({ op, inputs, outputs: names, ...(attributes && { attributes }) });
    return names;
  };
  return {
    nodeOf,
    node: (op, inputs, attributes) => nodeOf(op, inputs, 1, attributes)[0]!,
    // Multiples of 2^-31 in ±0.02: no draw from a stream is worth its time for 22 million of them.
    weight: (label, shape) => floats(label, shape, (i) => ((Math.imul(i + count, 2_654_435_761) | 0) / 2 ** 31) * 0.02),
    constant: (label, shape, value) => floats(label, shape, () => value),
    shape: (dims) => integers('shape', dims, [dims.length]),
    index: (value) => integers('index', [value], []),
    finish: (output, { side, d }) => {
      nodes.push({ op: 'Identity', inputs: [output], outputs: ['embedding'] });
      return {
        name: 'vit',
        inputs: [{ name: 'pixel_values', type: 'float32', shape: ['N', 3, side, side] }],
        outputs: [{ name: 'embedding', type: 'float32', shape: ['N', d] }],
        nodes,
        initializers,
      };
    },
  };
}

function norm(graph: GraphBuilder, x: string, d: number): string {
  return graph.node('LayerNormalization', [x, graph.constant('scale', [d], 1), graph.constant('bias', [d], 0)], { axis: -1, epsilon: { float: 1e-6 } });
}

function linear(graph: GraphBuilder, x: string, from: number, to: number): string {
  return graph.node('Add', [graph.node('MatMul', [x, graph.weight('weight', [from, to])]), graph.weight('bias', [to])]);
}

function attention(graph: GraphBuilder, x: string, tokens: number, d: number): string {
  const heads = d / 64;
  const [query, key, value] = graph.nodeOf('Split', [linear(graph, x, d, 3 * d)], 3, { axis: 2 }) as [string, string, string];
  const split = (rows: string, perm: readonly number[]): string => graph.node('Transpose', [graph.node('Reshape', [rows, graph.shape([0, tokens, heads, 64])])], { perm });
  const scores = graph.node('MatMul', [split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1])]);
  const weights = graph.node('Softmax', [graph.node('Mul', [scores, graph.constant('scale', [1], 1 / 8)])], { axis: -1 });
  const mixed = graph.node('Transpose', [graph.node('MatMul', [weights, split(value, [0, 2, 1, 3])])], { perm: [0, 2, 1, 3] });
  return linear(graph, graph.node('Reshape', [mixed, graph.shape([0, tokens, d])]), d, d);
}

function feedForward(graph: GraphBuilder, x: string, d: number): string {
  const wide = linear(graph, x, d, 4 * d);
  const error = graph.node('Erf', [graph.node('Mul', [wide, graph.constant('root', [1], Math.SQRT1_2)])]);
  const gelu = graph.node('Mul', [graph.node('Mul', [wide, graph.constant('half', [1], 0.5)]), graph.node('Add', [error, graph.constant('one', [1], 1)])]);
  return linear(graph, gelu, 4 * d, d);
}

function residual(graph: GraphBuilder, x: string, branch: string, d: number): string {
  return graph.node('Add', [x, graph.node('Mul', [branch, graph.weight('layer_scale', [d])])]);
}
