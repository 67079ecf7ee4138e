/** The three graphs of the ONNX Runtime search engine. A matrix is fed with each call, or a constant of its own session. */
import type { GraphSpec, Initializer, NodeSpec, ValueSpec } from '../onnx/graph.ts';

/** Candidates of one product of `distances`: always so many columns, however many are wanted. */
export const CANDIDATES = 16;

/** Database rows of one product of `products`: always so many columns, the last ones padding. */
export const DATABASE_ROWS = 8192;

/** x [n, d] · cᵀ + b → score, nearest [n, 1]; c and b are fed, or constants. */
export function nearestGraph(resident?: { matrix: Float32Array; bias: Float32Array; k: number; d: number }): GraphSpec {
  const one: Initializer = { name: 'one', type: 'int64', shape: [1], data: BigInt64Array.of(1n) };
  const nodes: NodeSpec[] = [
    { op: 'Gemm', inputs: ['x', 'c', 'b'], outputs: ['s'], attributes: { transB: 1 } },
    { op: 'TopK', inputs: ['s', 'one'], outputs: ['score', 'place'], attributes: { axis: -1, largest: 1, sorted: 1 } },
    { op: 'Cast', inputs: ['place'], outputs: ['nearest'], attributes: { to: 6 } },
  ];
  const outputs: ValueSpec[] = [value('score', 'n', 1), { name: 'nearest', type: 'int32', shape: ['n', 1] }];
  if (resident === undefined) {
    return { name: 'nearest', inputs: [value('x', 'n', 'd'), value('c', 'k', 'd'), value('b', 1, 'k')], outputs, nodes, initializers: [one] };
  }
  const { matrix, bias, k, d } = resident;
  const initializers = [one, constant('c', [k, d], matrix), constant('b', [1, k], bias)];
  return { name: 'nearest', inputs: [value('x', 'n', d)], outputs, nodes, initializers };
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
    inputs: [value('x', 'q', 'd'), value('c', DATABASE_ROWS, 'd'), value('b', 1, DATABASE_ROWS), { name: 'K', type: 'int64', shape: [1] }],
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
