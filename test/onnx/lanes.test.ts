import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/onnx/graph.ts';
import { type TensorData, openLanes } from '../../src/onnx/lanes.ts';

/** Adds 1 to x. */
const counting = encodeModel({
  name: 'count',
  inputs: [{ name: 'x', type: 'float32', shape: ['n'] }],
  outputs: [{ name: 'y', type: 'float32', shape: ['n'] }],
  nodes: [{ op: 'Add', inputs: ['x', 'one'], outputs: ['y'] }],
  initializers: [{ name: 'one', type: 'float32', shape: [1], data: Float32Array.of(1) }],
});

const feed = (...values: number[]): { x: TensorData } => ({ x: { type: 'float32', dims: [values.length], data: Float32Array.from(values) } });

describe('openLanes', () => {
  it('gives every run its own answer, however many wait', async () => {
    const lanes = await openLanes(counting, { threads: 2, sizeBytes: counting.length });
    expect(lanes).toMatchObject({ count: 2, provider: 'cpu', inputs: [{ name: 'x', type: 'float32', shape: ['n'] }] });
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => lanes.run(feed(i, -i), ['y'])));
    answers.forEach(({ y }, i) => expect(y).toMatchObject({ type: 'float32', dims: [2], data: Float32Array.of(i + 1, 1 - i) }));
    await lanes.close();
  });

  it('reads shared memory in place, takes other memory away, and may be given any shape after any other', async () => {
    const lanes = await openLanes(counting, { threads: 2, sizeBytes: counting.length });
    const values = Float32Array.from({ length: 64 }, (_, i) => i);
    const onShared = new Float32Array(new SharedArrayBuffer(4 * 64));
    onShared.set(values);
    const pieces = Array.from({ length: 40 }, (_, i) => onShared.subarray(i, i + 1 + (i % 3)));
    const answers = await Promise.all(pieces.map((data) => lanes.run({ x: { type: 'float32', dims: [data.length], data } }, ['y'])));
    answers.forEach(({ y }, i) => expect(y?.data).toEqual(Float32Array.from(pieces[i]!, (value) => value + 1)));
    expect([...onShared]).toEqual([...values]);
    const given = feed(1, 2);
    await lanes.run(given, ['y']);
    expect(given.x.data.length).toBe(0);
    await lanes.close();
  });

  it('gives a large model fewer lanes', async () => {
    const lanes = await openLanes(counting, { threads: 4, sizeBytes: 2 ** 29 });
    expect(lanes.count).toBe(2);
    await lanes.close();
    const one = await openLanes(counting, { threads: 2, sizeBytes: 2 ** 40 });
    expect(one.count).toBe(1);
    await one.close();
  });

  it('reports what does not run and goes on', async () => {
    const lanes = await openLanes(counting, { threads: 1, sizeBytes: 1 });
    await expect(lanes.run({ x: { type: 'float32', dims: [1, 1], data: Float32Array.of(1) } }, ['y'])).rejects.toThrow(/rank/i);
    await expect(lanes.run(feed(1), ['z'])).rejects.toThrow('invalid output name: z');
    expect((await lanes.run(feed(1), ['y'])).y?.data).toEqual(Float32Array.of(2));
    await lanes.close();
  });

  it('ends its threads, fails what still waits, and refuses a broken model', async () => {
    const lanes = await openLanes(counting, { threads: 1, sizeBytes: 1 });
    const running = lanes.run(feed(1), ['y']);
    const waiting = lanes.run(feed(2), ['y']);
    const refused = expect(waiting).rejects.toThrow('closed before the run began');
    await lanes.close();
    await refused;
    expect((await running).y?.data).toEqual(Float32Array.of(2));
    await expect(openLanes(Uint8Array.of(1), { threads: 2, sizeBytes: 1 })).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('refuses runs after its threads have ended', async () => {
    const lanes = await openLanes(counting, { threads: 1, sizeBytes: 1 });
    const runs = [1, 2, 3, 4].map((value) => lanes.run(feed(value), ['y']));
    const outcomes = Promise.allSettled(runs);
    await lanes.close();
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected']);
    await expect(lanes.run(feed(1), ['y'])).rejects.toThrow('ended');
  });

  it('leaves the event loop free while a model runs', async () => {
    const n = 2000;
    const heavy = encodeModel({
      name: 'heavy',
      inputs: [{ name: 'x', type: 'float32', shape: ['n', n] }],
      outputs: [{ name: 'y', type: 'float32', shape: ['n', 1] }],
      nodes: [
        { op: 'MatMul', inputs: ['x', 'w'], outputs: ['product'] },
        { op: 'ReduceMax', inputs: ['product'], outputs: ['y'], attributes: { axes: [-1] } },
      ],
      initializers: [{ name: 'w', type: 'float32', shape: [n, n], data: new Float32Array(n * n) }],
    });
    const lanes = await openLanes(heavy, { threads: 1, sizeBytes: heavy.length });
    const order: string[] = [];
    const run = lanes.run({ x: { type: 'float32', dims: [n, n], data: new Float32Array(n * n) } }, ['y']).then(() => order.push('model'));
    setTimeout(() => order.push('timer'), 1);
    await run;
    expect(order).toEqual(['timer', 'model']);
    await lanes.close();
  });
});
