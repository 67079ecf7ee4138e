import { describe, expect, it } from 'vitest';
import { encodeModel } from '../../src/onnx/graph.ts';
import { instructionSet, openSession, runtimeVersion, Tensor } from '../../src/onnx/session.ts';

const doubling = encodeModel({
  name: 'double',
  inputs: [{ name: 'x', type: 'float32', shape: ['n', 2] }],
  outputs: [{ name: 'y', type: 'float32', shape: ['n', 2] }],
  nodes: [{ op: 'Add', inputs: ['x', 'x'], outputs: ['y'] }],
});

describe('openSession', () => {
  it('opens a model, describes it, runs it, and writes into a tensor that it is given', async () => {
    const session = await openSession(doubling, { threads: 1 });
    expect(session.inputs).toEqual([{ name: 'x', type: 'float32', shape: ['n', 2] }]);
    expect(session.outputs).toEqual([{ name: 'y', type: 'float32', shape: ['n', 2] }]);
    const x = new Tensor('float32', Float32Array.of(1, 2), [1, 2]);
    const out = new Float32Array(2);
    await session.run({ x }, { y: new Tensor('float32', out, [1, 2]) });
    expect([...out]).toEqual([2, 4]);
    await session.close();
  });

  it('says in one line which provider runs and why those before it do not', async () => {
    const session = await openSession(doubling, { providers: ['cuda', 'cpu'] });
    expect(session.notice).toMatch(session.provider === 'cuda' ? /runs on cuda$/ : /^ONNX Runtime [\d.]+ runs on cpu; cuda does not: \S.*$/);
    expect(session.notice).not.toContain('\n');
    await session.close();
  });

  it('blames the model where the processor cannot open it, and else the providers', async () => {
    const broken = Uint8Array.of(1, 2, 3);
    await expect(openSession(broken)).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining('a model of 3 bytes') });
    await expect(openSession('/nowhere/model.onnx')).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining('/nowhere/model.onnx') });
    await expect(openSession(broken, { providers: ['cuda'] })).rejects.toMatchObject({ code: 'PROVIDER_UNAVAILABLE', message: expect.stringMatching(/add cpu to the list \(cuda: \S/) });
  });

  it('names what decides the last bits', () => {
    expect(runtimeVersion).toMatch(/^\d+\.\d+/);
    expect(instructionSet).toMatch(/^(x64|arm64)/);
  });
});
