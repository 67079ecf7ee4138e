import fc from 'fast-check';
import { RecordBatchReader } from 'apache-arrow';
import { describe, expect, it } from 'vitest';
import { decodeTable, encodeStream, encodeTable } from '../../src/arrow/ipc.ts';
import { type Span, readTableLayout } from '../../src/arrow/layout.ts';
import { spliceBinaries } from '../../src/arrow/splice.ts';

const layoutOf = (bytes: Uint8Array) => readTableLayout(async ({ offset, length }: Span) => bytes.slice(offset, offset + length), bytes.byteLength, 'here');
const maybe = fc.option(fc.string({ maxLength: 12 }), { nil: null });

describe('readTableLayout', () => {
  it('finds every value where the decoder does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(maybe, fc.string({ maxLength: 9 }), fc.uint8Array({ maxLength: 20 }), fc.nat(2 ** 31), fc.boolean()), { minLength: 1, maxLength: 40 }), async (rows) => {
        const n = rows.length;
        const bytes = encodeTable({
          text: { type: 'utf8', values: rows.map(([text]) => text) },
          list: { type: 'vector', element: 'uint32', d: 3, values: Uint32Array.from({ length: 3 * n }, (_, i) => i), valid: Uint8Array.from(rows, ([, , , , valid]) => (valid ? 1 : 0)) },
          name: { type: 'dictionary', values: rows.map(([, name]) => name) },
          number: { type: 'uint64', values: Float64Array.from(rows, ([, , , number]) => number * 4096), valid: Uint8Array.from(rows, ([, , , , valid]) => (valid ? 1 : 0)) },
          image: { type: 'binary', values: rows.map(([, , image]) => image) },
        });
        const { rowCount, columns } = await layoutOf(bytes);
        expect([rowCount, [...columns.keys()]]).toEqual([n, ['text', 'list', 'name', 'number', 'image']]);
        const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        const at = (name: string) => columns.get(name)!;
        const cut = (name: string, i: number): Uint8Array => {
          const { offsets, values } = at(name);
          return bytes.subarray(values.offset + data.getInt32(offsets!.offset + 4 * i, true), values.offset + data.getInt32(offsets!.offset + 4 * i + 4, true));
        };
        const isValid = (name: string, i: number): boolean => at(name).validity === null || ((bytes[at(name).validity!.offset + (i >> 3)]! >> (i & 7)) & 1) === 1;
        rows.forEach(([text, name, image, number, valid], i) => {
          expect(isValid('text', i) ? new TextDecoder().decode(cut('text', i)) : null).toBe(text);
          expect([...cut('image', i)]).toEqual([...image]);
          expect(at('name').dictionary![data.getInt32(at('name').values.offset + 4 * i, true)]).toBe(name);
          expect(isValid('number', i) ? Number(data.getBigUint64(at('number').values.offset + 8 * i, true)) : null).toBe(valid ? number * 4096 : null);
          expect(isValid('list', i)).toBe(valid);
          for (let j = 0; j < 3; j++) expect(data.getUint32(at('list').values.offset + 4 * (3 * i + j), true)).toBe(3 * i + j);
        });
        expect(at('list').width).toBe(3);
      }),
      { numRuns: 60 },
    );
  });

  it('refuses what is no such file', async () => {
    const good = encodeTable({ a: { type: 'utf8', values: ['x'] } });
    expect(decodeTable(good, 'good').rowCount).toBe(1);
    for (const bad of [new Uint8Array(5), new Uint8Array(100), good.subarray(0, good.length - 1), Buffer.concat([good.subarray(0, good.length - 10), Uint8Array.of(255, 255, 0, 0), good.subarray(-6)])]) {
      await expect(layoutOf(bad)).rejects.toMatchObject({ code: 'INPUT_MALFORMED', message: expect.stringContaining('at here') });
    }
    for (let cut = 0; cut < good.length; cut += 7) {
      const damaged = good.slice();
      damaged[cut] = damaged[cut]! ^ 0xff;
      await layoutOf(damaged).catch((error: unknown) => expect(error).toMatchObject({ code: 'INPUT_MALFORMED' }));
    }
  });
});

describe('spliceBinaries', () => {
  it('gives a stream that holds the images, as if they had been encoded with it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 9 }), { minLength: 1, maxLength: 3 }), async (batches) => {
        const encode = async (withImages: boolean): Promise<Uint8Array[]> => {
          const records = async function* () {
            for (const [step, images] of batches.entries()) {
              const part = { type: 'dictionary' as const, values: images.map(() => 'a'), dictionary: ['a', 'b'] };
              yield { columns: { part, image: { type: 'binary' as const, values: withImages ? images : images.map(() => new Uint8Array(0)) } }, metadata: { step: String(step) } };
            }
          };
          const chunks: Uint8Array[] = [];
          for await (const chunk of encodeStream(records())) chunks.push(chunk);
          return chunks;
        };
        const chunks = await encode(false);
        const spliced = Buffer.concat(chunks.flatMap((chunk, i) => (i < batches.length ? spliceBinaries(chunk, batches[i]!) : [chunk])));
        const read = (bytes: Uint8Array) => [...RecordBatchReader.from(bytes)].map((batch) => [Object.fromEntries(batch.metadata), batch.toArray().map((row) => (row as { toJSON(): unknown }).toJSON())]);
        expect(read(spliced)).toEqual(read(Buffer.concat(await encode(true))));
      }),
      { numRuns: 60 },
    );
  });

  it('refuses a batch whose last column is not the empty one', async () => {
    const records = async function* () {
      yield { columns: { image: { type: 'binary' as const, values: [Uint8Array.of(1, 2, 3)] } }, metadata: {} };
    };
    for await (const chunk of encodeStream(records())) {
      expect(() => spliceBinaries(chunk, [Uint8Array.of(9)])).toThrow(/empty column|a record batch/);
      break;
    }
  });
});
