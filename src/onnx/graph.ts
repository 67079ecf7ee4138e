/**
 * Writes ONNX models: the few protobuf messages of `onnx.proto` (ONNX IR version 8) that a small graph needs.
 * Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; nothing is read back.
 */
import assert from 'node:assert/strict';

/** ONNX element types by the names that ONNX Runtime's JavaScript API uses, with their `TensorProto.DataType`. */
const ELEMENT_TYPES = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float16: 10, float64: 11 } as const;

export type ElementType = keyof typeof ELEMENT_TYPES;

/** An input or output of a graph. A string is a symbolic dimension: any size, the same wherever the name recurs. */
export interface ValueSpec {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly (number | string)[];
}

/** A constant of a graph. `data` holds the elements in row-major, little-endian memory order. */
export interface Initializer {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
}

/** Whole numbers become INT, so a float attribute is tagged: `{ float: 1 }`. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

export interface NodeSpec {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

export interface GraphSpec {
  readonly name: string;
  readonly inputs: readonly ValueSpec[];
  readonly outputs: readonly ValueSpec[];
  readonly nodes: readonly NodeSpec[];
  readonly initializers?: readonly Initializer[];
}

const IR_VERSION = 8;
const OPSET_VERSION = 17;
const TEXT = new TextEncoder();

/**
 * The bytes of a `ModelProto`, ready for an ONNX Runtime session. Initializer data is copied once.
 *
 * @throws {AssertionError} when an initializer's data does not fill its shape or an attribute is not a whole number
 */
export function encodeModel(graph: GraphSpec): Uint8Array {
  const model: Chunk[] = [];
  integer(model, 1, IR_VERSION);
  text(model, 2, 'winnow');
  message(model, 7, graphProto(graph));
  const opset: Chunk[] = [];
  text(opset, 1, '');
  integer(opset, 2, OPSET_VERSION);
  message(model, 8, opset);
  return concat(model);
}

/** A run of bytes of the message being written. Large data is held by reference until the final copy. */
type Chunk = Uint8Array;

function graphProto(graph: GraphSpec): Chunk[] {
  const out: Chunk[] = [];
  for (const node of graph.nodes) message(out, 1, nodeProto(node));
  text(out, 2, graph.name);
  for (const initializer of graph.initializers ?? []) message(out, 5, tensorProto(initializer));
  for (const value of graph.inputs) message(out, 11, valueProto(value));
  for (const value of graph.outputs) message(out, 12, valueProto(value));
  return out;
}

function nodeProto(node: NodeSpec): Chunk[] {
  const out: Chunk[] = [];
  for (const name of node.inputs) text(out, 1, name);
  for (const name of node.outputs) text(out, 2, name);
  text(out, 3, `${node.op}:${node.outputs.join()}`);
  text(out, 4, node.op);
  for (const [name, value] of Object.entries(node.attributes ?? {})) message(out, 5, attributeProto(name, value));
  return out;
}

function attributeProto(name: string, value: Attribute): Chunk[] {
  const out: Chunk[] = [];
  text(out, 1, name);
  if (typeof value === 'number') {
    integer(out, 3, value);
    integer(out, 20, 2);
  } else if (typeof value === 'string') {
    text(out, 4, value);
    integer(out, 20, 3);
  } else if ('float' in value) {
    fixed32(out, 2, value.float);
    integer(out, 20, 1);
  } else {
    for (const item of value) integer(out, 8, item);
    integer(out, 20, 7);
  }
  return out;
}

function tensorProto({ name, type, shape, data }: Initializer): Chunk[] {
  const elements = shape.reduce((product, size) => product * size, 1);
  const bytes = elements * ELEMENT_BYTES[type];
  assert.equal(data.byteLength, bytes, `Initializer ${name} of shape [${shape}] needs ${bytes} bytes, got ${data.byteLength}`);
  const out: Chunk[] = [];
  for (const size of shape) integer(out, 1, size);
  integer(out, 2, ELEMENT_TYPES[type]);
  text(out, 8, name);
  message(out, 9, [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
  return out;
}

const ELEMENT_BYTES: Record<ElementType, number> = { float32: 4, uint8: 1, int32: 4, int64: 8, bool: 1, float16: 2, float64: 8 };

/** ValueInfoProto { name, TypeProto { Tensor { elem_type, TensorShapeProto { dim … } } } } */
function valueProto({ name, type, shape }: ValueSpec): Chunk[] {
  const dims: Chunk[] = [];
  for (const size of shape) {
    const dim: Chunk[] = [];
    if (typeof size === 'number') integer(dim, 1, size);
    else text(dim, 2, size);
    message(dims, 1, dim);
  }
  const tensor: Chunk[] = [];
  integer(tensor, 1, ELEMENT_TYPES[type]);
  message(tensor, 2, dims);
  const wrapped: Chunk[] = [];
  message(wrapped, 1, tensor);
  const out: Chunk[] = [];
  text(out, 1, name);
  message(out, 2, wrapped);
  return out;
}

// Wire format: a key (field number and wire type), then a varint (type 0), four bytes (type 5) or a length and bytes (type 2).

function integer(out: Chunk[], field: number, value: number): void {
  assert(Number.isSafeInteger(value), `Expected a whole number for protobuf field ${field}, got ${value}`);
  out.push(varint(field * 8), varint(value));
}

function fixed32(out: Chunk[], field: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  out.push(varint(field * 8 + 5), bytes);
}

function text(out: Chunk[], field: number, value: string): void {
  message(out, field, [TEXT.encode(value)]);
}

function message(out: Chunk[], field: number, chunks: readonly Chunk[]): void {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  out.push(varint(field * 8 + 2), varint(length), ...chunks);
}

/** Base-128, low bits first; a negative int64 is written as its 64-bit two's complement, ten bytes long. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

function concat(chunks: readonly Chunk[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
