/** The graphs of the ONNX Runtime search engine. A matrix is fed with each call, or a constant of its own session. */
import type { GraphSpec, Initializer, NodeSpec, ValueSpec } from '../onnx/graph.ts';

/** Candidates of one product of `distances`: always so many columns, however many are wanted. */
export const CANDIDATES = 16;

/** Database rows of one product of `products`, at most; the last ones can be padding. */
export const DATABASE_ROWS = 8192;

/** Columns of one group of `groupedGraph`; a block of columns is a whole number of groups, and two at least. */
export const GROUP = 32;

/**
 * x [n, d] · cᵀ + b → the K largest scores of each row: score, place [n, K] and group [n, K], where place p of a row is
 * column 32 · group[⌊p / 32⌋] + p mod 32. The maxima of groups are found first, then the places inside the K best groups:
 * a maximum without its index costs a third of one with it. Equal scores keep the order of their columns in both steps.
 */
export function groupedGraph(): GraphSpec {
  const constants: Initializer[] = [
    { name: 'groups', type: 'int64', shape: [3], data: BigInt64Array.of(0n, -1n, BigInt(GROUP)) },
    { name: 'last', type: 'int64', shape: [1], data: BigInt64Array.of(2n) },
  ];
  return {
    name: 'nearest',
    inputs: [value('x', 'n', 'd'), value('c', 'k', 'd'), value('b', 1, 'k'), { name: 'K', type: 'int64', shape: [1] }],
    outputs: [value('score', 'n', 'K'), { name: 'group', type: 'int32', shape: ['n', 'K'] }, { name: 'place', type: 'int32', shape: ['n', 'K'] }],
    nodes: [
      { op: 'Gemm', inputs: ['x', 'c', 'b'], outputs: ['s'], attributes: { transB: 1 } },
      { op: 'Reshape', inputs: ['s', 'groups'], outputs: ['grouped'] },
      { op: 'ReduceMax', inputs: ['grouped'], outputs: ['maxima'], attributes: { axes: [-1], keepdims: 0 } },
      { op: 'TopK', inputs: ['maxima', 'K'], outputs: ['best', 'which'], attributes: { axis: -1, largest: 1, sorted: 1 } },
      { op: 'Unsqueeze', inputs: ['which', 'last'], outputs: ['at'] },
      { op: 'GatherND', inputs: ['grouped', 'at'], outputs: ['members'], attributes: { batch_dims: 1 } },
      { op: 'Flatten', inputs: ['members'], outputs: ['flat'], attributes: { axis: 1 } },
      { op: 'TopK', inputs: ['flat', 'K'], outputs: ['score', 'inside'], attributes: { axis: -1, largest: 1, sorted: 1 } },
      { op: 'Cast', inputs: ['which'], outputs: ['group'], attributes: { to: 6 } },
      { op: 'Cast', inputs: ['inside'], outputs: ['place'], attributes: { to: 6 } },
    ],
    initializers: constants,
  };
}

/** x [n, d] · cᵀ + b → score, nearest [n, K], the K largest of each row; c and b are fed, or constants that stay on the device. */
export function wholeGraph(resident?: { c: Float32Array; b: Float32Array; k: number; d: number }): GraphSpec {
  const nodes: NodeSpec[] = [
    { op: 'Gemm', inputs: ['x', 'c', 'b'], outputs: ['s'], attributes: { transB: 1 } },
    { op: 'TopK', inputs: ['s', 'K'], outputs: ['score', 'place'], attributes: { axis: -1, largest: 1, sorted: 1 } },
    { op: 'Cast', inputs: ['place'], outputs: ['nearest'], attributes: { to: 6 } },
  ];
  const count: ValueSpec = { name: 'K', type: 'int64', shape: [1] };
  const outputs: ValueSpec[] = [value('score', 'n', 'K'), { name: 'nearest', type: 'int32', shape: ['n', 'K'] }];
  if (resident === undefined) return { name: 'nearest', inputs: [value('x', 'n', 'd'), value('c', 'k', 'd'), value('b', 1, 'k'), count], outputs, nodes };
  const { c, b, k, d } = resident;
  return { name: 'nearest', inputs: [value('x', 'n', d), count], outputs, nodes, initializers: [constant('c', [k, d], c), constant('b', [1, k], b)] };
}

/** x [n, d] · cᵀ → s [n, 16]; x is fed, or a constant that stays on the device. */
export function dotGraph(resident?: { x: Float32Array; n: number; d: number }): GraphSpec {
  const nodes: NodeSpec[] = [{ op: 'Gemm', inputs: ['x', 'c'], outputs: ['s'], attributes: { transB: 1 } }];
  const c = value('c', CANDIDATES, resident?.d ?? 'd');
  const outputs = [value('s', resident?.n ?? 'n', CANDIDATES)];
  if (resident === undefined) return { name: 'dot', inputs: [value('x', 'n', 'd'), c], outputs, nodes };
  return { name: 'dot', inputs: [c], outputs, nodes, initializers: [constant('x', [resident.n, resident.d], resident.x)] };
}

/** x [q, d] · cᵀ + b → the K largest of each row; b is −∞ for the padding rows of c. */
export function productsGraph(): GraphSpec {
  return {
    name: 'products',
    inputs: [value('x', 'q', 'd'), value('c', 'k', 'd'), value('b', 1, 'k'), { name: 'K', type: 'int64', shape: [1] }],
    outputs: [value('product', 'q', 'm'), { name: 'index', type: 'int32', shape: ['q', 'm'] }],
    nodes: [
      { op: 'Gemm', inputs: ['x', 'c', 'b'], outputs: ['s'], attributes: { transB: 1 } },
      { op: 'TopK', inputs: ['s', 'K'], outputs: ['product', 'place'], attributes: { axis: -1, largest: 1, sorted: 1 } },
      { op: 'Cast', inputs: ['place'], outputs: ['index'], attributes: { to: 6 } },
    ],
  };
}

function value(name: string, rows: number | string, columns: number | string): ValueSpec {
  return { name, type: 'float32', shape: [rows, columns] };
}

function constant(name: string, shape: readonly number[], data: Float32Array): Initializer {
  return { name, type: 'float32', shape, data };
}
