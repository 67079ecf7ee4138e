/** Where the package lies: the sources run from its root, the built files from `dist/`, and recipes are read from it. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The nearest folder above this file that holds package.json and the recipes. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'pipelines', 'recipes', 'demo.yaml'))) {
    const above = dirname(folder);
    if (above === folder) throw new Error('Expected pipelines/recipes/demo.yaml in a folder above the program');
    folder = above;
  }
  return folder;
}
