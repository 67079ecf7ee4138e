/** SHA-256 of every file that a run promises to make the same bytes of. */
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const PROMISED = ['dataset', 'clusters', 'selections', 'mixture', 'embeddings', 'images'];

/** Key to hash, for every file under the stages' prefixes. */
export async function storeHashes(root: string, prefixes: readonly string[] = PROMISED): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const prefix of prefixes) {
    for (const entry of await readdir(join(root, prefix), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      hashes[path.slice(root.length + 1)] = createHash('sha256').update(await readFile(path)).digest('hex');
    }
  }
  return hashes;
}
