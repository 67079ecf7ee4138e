/** Which rows of a part are still in the pool when a step of dedup looks at it. */
import assert from 'node:assert/strict';
import { decodeTable } from '../arrow/ipc.ts';
import { type Manifest, type Part, readPart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';

/** For each part of a table, the parts of the steps' tables that hold the same rows. */
export function verdictParts(parts: readonly Part[], verdicts: readonly { readonly path: string; readonly manifest: Manifest }[]): Part[][] {
  return parts.map(({ firstRow, rowCount }, p) =>
    verdicts.map(({ path, manifest }) => {
      const part = manifest.parts[p];
      assert(part !== undefined && part.firstRow === firstRow && part.rowCount === rowCount, `Expected part ${p} of ${path} to hold rows ${firstRow} to ${firstRow + rowCount - 1}`);
      return part;
    }),
  );
}

/** @returns 1 where one of the steps gave the row a reason to go, length rowCount */
export async function readTaken(store: Store, verdicts: readonly Part[], rowCount: number): Promise<Uint8Array> {
  const taken = new Uint8Array(rowCount);
  for (const part of verdicts) {
    const reasons = decodeTable(await readPart(store, part), part.path).strings('reason');
    for (let i = 0; i < rowCount; i++) if (reasons[i] !== null) taken[i] = 1;
  }
  return taken;
}
