import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRows, rowColumns } from '../../src/embed/rows.ts';
import { decodeFloat16, encodeFloat16 } from '../../src/vector/float16.ts';

const OK = { status: 'ok', width: 3, height: 5, pixels: new Uint8Array() } as const;

describe('createRows', () => {
  it('keeps what was put, in any order', () => {
    const rows = createRows(3, 2, { dtype: 'float32', normalize: false });
    rows.put(2, 'c', { status: 'corrupt', width: 7, height: null }, 40);
    rows.put(0, 'a', OK, 2);
    rows.put(1, null, { status: 'unreadable', width: null, height: null }, 0);
    rows.putVector(0, Float32Array.of(-4, 1));
    expect(rows).toMatchObject({ status: ['ok', 'unreadable', 'corrupt'], id: ['a', null, 'c'], sizeBytes: 42, maxAbs: 4 });
    expect(rows.width).toEqual(Uint32Array.of(3, 0, 7));
    expect(rows.height).toEqual(Uint32Array.of(5, 0, 0));
    expect(rows.vectors).toEqual(Float32Array.of(-4, 1, 0, 0, 0, 0));
    expect(Object.keys(rowColumns(rows))).toEqual(['embedding', 'status', 'id', 'width', 'height']);
    expect(rowColumns(rows)).toMatchObject({ embedding: { type: 'vector', element: 'float32', d: 2 } });
  });

  it('normalises to unit length and rounds to float16, as asked', () => {
    const component = fc.float({ noNaN: true, min: -60_000, max: 60_000 });
    fc.assert(
      fc.property(fc.array(component, { minLength: 1, maxLength: 9 }), (values) => {
        fc.pre(values.some((value) => Math.abs(value) > 1e-20));
        const vector = Float32Array.from(values);
        const length = Math.hypot(...vector);
        for (const normalize of [true, false]) {
          const expected = normalize ? vector.map((value) => value / length) : vector;
          for (const dtype of ['float32', 'float16'] as const) {
            const rows = createRows(1, values.length, { dtype, normalize });
            rows.put(0, 'a', OK, 1);
            rows.putVector(0, vector.slice());
            const stored = rows.vectors instanceof Uint16Array ? decodeFloat16(rows.vectors) : rows.vectors;
            const rounded = dtype === 'float16' ? decodeFloat16(encodeFloat16(expected)) : expected;
            stored.forEach((value, j) => expect(Math.abs(value - rounded[j]!)).toBeLessThanOrEqual(Math.max(2 ** -24, Math.abs(rounded[j]!) * (dtype === 'float16' ? 2 ** -10 : 2 ** -22))));
            expect(rows.maxAbs).toBe(Math.max(...stored.map(Math.abs)));
            expect(rows.status).toEqual(['ok']);
          }
        }
      }),
    );
  });

  it('turns vectors that cannot be kept into statuses, and holds zeros there', () => {
    const cases = [
      [[1, Number.NaN], true, 'float32', 'not-finite'],
      [[Number.POSITIVE_INFINITY, 1], true, 'float16', 'not-finite'],
      [[Number.NEGATIVE_INFINITY, 1], false, 'float32', 'not-finite'],
      [[70_000, 1], false, 'float16', 'not-finite'],
      [[70_000, 1], false, 'float32', 'ok'],
      [[70_000, 1], true, 'float16', 'ok'],
      [[3e38, 3e38], true, 'float32', 'ok'],
      [[1e-40, 0], true, 'float16', 'ok'],
      [[0, -0], true, 'float16', 'zero-vector'],
      [[0, 0], false, 'float16', 'ok'],
    ] as const;
    for (const [vector, normalize, dtype, status] of cases) {
      const rows = createRows(2, 2, { dtype, normalize });
      rows.put(0, 'a', OK, 1);
      rows.putVector(0, Float32Array.from(vector));
      expect(rows.status[0], `${vector} ${dtype} ${normalize}`).toBe(status);
      if (status === 'ok') continue;
      expect([...rows.vectors]).toEqual([0, 0, 0, 0]);
      expect(rows.maxAbs).toBe(0);
    }
  });

  it('has no vectors when there are no dimensions', () => {
    const rows = createRows(2, 0, { dtype: 'float16', normalize: true });
    expect(Object.keys(rowColumns(rows))).toEqual(['status', 'id', 'width', 'height']);
  });
});
