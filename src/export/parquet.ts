/** Parquet files, one a shard: id, uri, part, row, label, caption, meta, and with images their bytes. The one door to hyparquet-writer. */
import { parquetWriteBuffer } from 'hyparquet-writer';
import type { Store, Written } from '../store/store.ts';
import type { ExportRows } from './rows.ts';

/** Holds the shard's rows, and its images when they are written. */
export async function writeParquet(store: Store, key: string, rows: ExportRows, withImages: boolean): Promise<Written> {
  const images: Uint8Array[] = [];
  if (withImages) for (let i = 0; i < rows.rowCount; i++) images.push(await rows.image(i));
  const text = (name: string, data: readonly (string | null)[]) => ({ name, data: [...data], type: 'STRING' as const, nullable: true });
  const buffer = parquetWriteBuffer({
    columnData: [
      text('id', rows.id),
      text('uri', rows.uri),
      text('part', rows.id.map(() => rows.part.name)),
      { name: 'row', data: BigInt64Array.from(rows.row, (row) => BigInt(row)), type: 'INT64' },
      text('label', rows.label),
      text('caption', rows.caption),
      text('meta', rows.meta),
      ...(withImages && rows.derivedId !== null ? [text('derivedId', rows.derivedId)] : []),
      ...(withImages ? [{ name: 'image', data: images, type: 'BYTE_ARRAY' as const, nullable: false }] : []),
    ],
  });
  return store.write(key, new Uint8Array(buffer));
}
