import { tableFromIPC } from 'apache-arrow';
import fc from 'fast-check';
import pl from 'nodejs-polars';
import { describe, expect, it } from 'vitest';
import { decodeTable, encodeStream, encodeTable } from '../../src/arrow/ipc.ts';
import type { Columns } from '../../src/arrow/tables.ts';

const EVERY_TYPE: Columns = {
  text: { type: 'utf8', values: ['a', null, 'çé✓'] },
  kind: { type: 'dictionary', values: ['ok', 'bad', 'ok'] },
  part: { type: 'dictionary', values: ['x', 'y', 'z'] },
  flag: { type: 'bool', values: Uint8Array.of(1, 0, 1) },
  small: { type: 'uint16', values: Uint16Array.of(1, 2, 65_535) },
  word: { type: 'uint32', values: Uint32Array.of(0, 5, 4_294_967_295), valid: Uint8Array.of(0, 1, 1) },
  row: { type: 'uint64', values: Float64Array.of(1, 2 ** 40 + 5, 2 ** 53 - 1) },
  number: { type: 'float32', values: Float32Array.of(1.5, -2, 3), valid: Uint8Array.of(1, 0, 1) },
  half: { type: 'vector', element: 'float16', d: 2, values: Uint16Array.of(0x3c00, 0xc000, 0, 0x3800, 1, 2) },
  vector: { type: 'vector', element: 'float32', d: 2, values: Float32Array.of(1, 2, 3, 4, 5, 6), valid: Uint8Array.of(1, 1, 0) },
  path: { type: 'vector', element: 'uint32', d: 1, values: Uint32Array.of(7, 8, 9) },
  bytes: { type: 'binary', values: [Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3)] },
};

describe('encodeTable', () => {
  it('is read back as it was written', () => {
    const view = decodeTable(encodeTable(EVERY_TYPE), 'test');
    expect(view.rowCount).toBe(3);
    expect(view.names).toEqual(Object.keys(EVERY_TYPE));
    expect(view.strings('text')).toEqual(['a', null, 'çé✓']);
    expect(view.strings('kind')).toEqual(['ok', 'bad', 'ok']);
    expect(view.strings('part')).toEqual(['x', 'y', 'z']);
    expect([...view.numbers('flag')]).toEqual([1, 0, 1]);
    expect([...view.numbers('row')]).toEqual([1, 2 ** 40 + 5, 2 ** 53 - 1]);
    expect([...view.validity('number')!]).toEqual([1, 0, 1]);
    expect(view.validity('row')).toBeUndefined();
    expect(view.vector('half')).toMatchObject({ d: 2, element: 'float16' });
    expect([...view.vector('path').values]).toEqual([7, 8, 9]);
    expect(view.binaries('bytes').map((one) => [...one])).toEqual([[1], [], [2, 3]]);
  });

  it('opens in another implementation (polars) with the same values', () => {
    const frame = pl.readIPC(Buffer.from(encodeTable(EVERY_TYPE)));
    expect(frame.columns).toEqual(Object.keys(EVERY_TYPE));
    const records = frame.select('text', 'kind', 'flag', 'small', 'word', 'row', 'number').toRecords();
    expect(records.map((record) => record.text)).toEqual(['a', null, 'çé✓']);
    expect(records.map((record) => record.kind)).toEqual(['ok', 'bad', 'ok']);
    expect(frame.getColumn('part').toArray()).toEqual(['x', 'y', 'z']);
    expect(records.map((record) => record.flag)).toEqual([true, false, true]);
    expect(records.map((record) => Number(record.row))).toEqual([1, 2 ** 40 + 5, 2 ** 53 - 1]);
    expect(records.map((record) => record.number)).toEqual([1.5, null, 3]);
    expect(records.map((record) => record.word)).toEqual([null, 5, 4_294_967_295]);
    expect(frame.select('vector').explode('vector').toRecords().slice(0, 4).map((record) => record.vector)).toEqual([1, 2, 3, 4]);
    expect(frame.select('half').explode('half').select(pl.col('half').cast(pl.Float32)).toRecords().map((record) => record.half).slice(0, 4)).toEqual([1, -2, 0, 0.5]);
  });

  it('gives equal bytes for equal columns', () => {
    expect(Buffer.compare(encodeTable(EVERY_TYPE), encodeTable(structuredClone(EVERY_TYPE)))).toBe(0);
  });

  it('keeps any strings and rows, for any length', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.option(fc.string({ unit: 'grapheme' }), { nil: null }), fc.maxSafeNat())), (rows) => {
        const view = decodeTable(encodeTable({ s: { type: 'utf8', values: rows.map(([s]) => s) }, r: { type: 'uint64', values: Float64Array.from(rows, ([, r]) => r) } }), 'test');
        expect(view.strings('s')).toEqual(rows.map(([s]) => s));
        expect([...view.numbers('r')]).toEqual(rows.map(([, r]) => r));
      }),
      { numRuns: 50 },
    );
  });

  it('refuses columns of different lengths', () => {
    expect(() => encodeTable({ a: { type: 'uint32', values: Uint32Array.of(1) }, b: { type: 'uint32', values: Uint32Array.of(1, 2) } })).toThrow(/column b to have 1 rows/);
  });
});

describe('decodeTable', () => {
  it('says what is wrong with bytes that are not Arrow, and with a missing column', () => {
    expect(() => decodeTable(new TextEncoder().encode('not arrow at all'), 'x.arrow')).toThrow(/Arrow IPC file at x.arrow/);
    expect(() => decodeTable(encodeTable(EVERY_TYPE), 'x.arrow').strings('none')).toThrow(/column none at x.arrow/);
  });
});

describe('encodeStream', () => {
  it('streams batches with metadata of their own', async () => {
    async function* batches(): AsyncIterable<{ columns: Columns; metadata: Record<string, string> }> {
      for (let step = 0; step < 3; step++) yield { columns: { index: { type: 'uint64', values: Float64Array.of(step) } }, metadata: { step: String(step) } };
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of encodeStream(batches())) chunks.push(chunk);
    const table = tableFromIPC(Buffer.concat(chunks));
    expect(table.batches.map((batch) => batch.metadata.get('step'))).toEqual(['0', '1', '2']);
    expect(Array.from(table.getChild('index')!, Number)).toEqual([0, 1, 2]);
  });

  it('passes on what broke the source', async () => {
    async function* broken(): AsyncIterable<{ columns: Columns; metadata: Record<string, string> }> {
      yield { columns: { index: { type: 'uint64', values: Float64Array.of(1) } }, metadata: {} };
      throw new Error('source broke');
    }
    await expect(
      (async () => {
        for await (const _ of encodeStream(broken()));
      })(),
    ).rejects.toThrow('source broke');
  });
});
