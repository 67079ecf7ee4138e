import { describe, expect, it } from 'vitest';
import { createOnnxEngine } from '../../src/vector/onnx.ts';
import { matrix } from './search-cases.ts';
import { testSearchEngine } from './search-conformance.ts';

testSearchEngine('ONNX Runtime on the processor', { create: (threads) => createOnnxEngine({ threads }) });

describe('createOnnxEngine', () => {
  it('goes on to the next provider, and names the one that runs', async () => {
    const engine = await createOnnxEngine({ providers: ['cuda', 'cpu'] });
    expect(['cuda', 'cpu']).toContain(engine.provenance.provider);
    await engine.close();
  });

  it('keeps what is not finite visible', async () => {
    const engine = await createOnnxEngine();
    const search = await engine.nearest(matrix(1, 4, 8), 4, 8);
    const x = matrix(2, 2, 8);
    x[3] = NaN;
    const [index, distance] = [new Uint32Array(2), new Float32Array(2)];
    await search.nearest(x, 2, index, distance);
    expect(distance[0]).toBeNaN();
    expect(index[0]).toBeLessThan(4);
    expect(distance[1]).toBeGreaterThan(0);
    await engine.close();
  });
});
