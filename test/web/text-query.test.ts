import { expect, it } from 'vitest';
import type { TextEncoder } from '../../src/retrieve/text-encoder.ts';
import { createTextQuery } from '../../src/web/text-query.ts';

/** A tower that counts letters, of two dimensions. */
function letters(): { tower: TextEncoder; closed: () => number } {
  let closed = 0;
  const tower: TextEncoder = {
    provenance: {},
    encode: async (prompt) => ({ vector: Float32Array.of(prompt.split('a').length - 1, prompt.split('b').length - 1), cut: false }),
    close: async () => {
      closed++;
    },
  };
  return { tower, closed: () => closed };
}

it('gives vectors of unit length, from a model that is opened at the first text and closed in the end', async () => {
  const { tower, closed } = letters();
  let opened = 0;
  const query = createTextQuery(2, async () => {
    opened++;
    return tower;
  });
  expect(opened).toBe(0);
  const [x, y] = await query.embed('aaabbbb');
  expect([x, y]).toEqual([Math.fround(0.6), Math.fround(0.8)]);
  expect([...(await query.embed('c'))]).toEqual([0, 0]);
  expect(opened).toBe(1);
  await query.close();
  expect(closed()).toBe(1);
});

it('refuses a tower of another space, and tries again to open one that could not be', async () => {
  const { tower } = letters();
  await expect(createTextQuery(3, async () => tower).embed('ab')).rejects.toMatchObject({ code: 'DIMENSION_MISMATCH' });
  let tries = 0;
  const query = createTextQuery(2, () => (tries++ === 0 ? Promise.reject(new Error('gone')) : Promise.resolve(tower)));
  await expect(query.embed('a')).rejects.toThrow('gone');
  expect([...(await query.embed('a'))]).toEqual([1, 0]);
});
