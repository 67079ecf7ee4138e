/** Vectors as retrieval compares them: of unit length, from a table of embeddings that is still the one a task was planned with. */
import type { EmbeddingBlock, EmbeddingsManifest } from '../embed/embedding.ts';
import { WinnowError } from '../errors.ts';
import { type StoredManifest, requireManifest } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import type { VectorBlock } from './nearest.ts';

/** Key prefix and manifest hash of a table. */
export interface TableReference {
  readonly path: string;
  readonly sha256: string;
}

/** @throws {WinnowError} CHECKSUM_MISMATCH when the table is another one by now */
export async function requireVectors(store: Store, { path, sha256 }: TableReference): Promise<StoredManifest<EmbeddingsManifest>> {
  const stored = await requireManifest<EmbeddingsManifest>(store, path, 'embed');
  if (stored.sha256 === sha256) return stored;
  throw new WinnowError('CHECKSUM_MISMATCH', `Expected the vectors whose manifest has SHA-256 ${sha256.slice(0, 12)}…, found ${stored.sha256.slice(0, 12)}… at ${path}: run \`winnow retrieve\` again`);
}

/**
 * Puts row r at place `at`, scaled to unit length (norm in float64), so that products are cosines whether or not the
 * vectors were normalised on disk. Rows that are not `ok` and zero vectors, which have no direction, are left out.
 *
 * @returns rows put: 1 or 0
 * @throws {WinnowError} NOT_FINITE
 */
export function putUnit({ firstRow, ok, vectors }: EmbeddingBlock, r: number, d: number, into: VectorBlock, at: number, where: string): number {
  if (ok[r - firstRow] === 0) return 0;
  const from = (r - firstRow) * d;
  let squares = 0;
  for (let j = 0; j < d; j++) squares += vectors[from + j]! * vectors[from + j]!;
  if (squares === 0) return 0;
  if (!Number.isFinite(squares)) throw new WinnowError('NOT_FINITE', `Expected finite numbers in the vector of row ${r} in ${where}, got NaN or infinity: run \`winnow embed --force\``, { details: { row: r, path: where } });
  const norm = Math.sqrt(squares);
  for (let j = 0; j < d; j++) into.vectors[at * d + j] = vectors[from + j]! / norm;
  into.row[at] = r;
  return 1;
}
