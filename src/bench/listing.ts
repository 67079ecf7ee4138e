/** The part of calibration that looks at files: listing them one by one and in tars, and reading images a second time. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { filterImages } from '../../pipelines/3-filter.ts';
import { curate, sourcesOf } from '../../pipelines/curate.ts';
import { type LoadedRecipe, RECIPE_FORMAT, parseRecipe } from '../config.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { FILTERS } from '../filter/filter.ts';
import { type ImagesManifest, SourceConfig } from '../ingest/image.ts';
import { ingest, resolveSources } from '../ingest/ingest.ts';
import { TAR_END, tarHeader, tarPadding } from '../ingest/tar-write.ts';
import { requireManifest, rowCountOf } from '../run/manifest.ts';
import { bestRate } from './best-rate.ts';
import type { Rates } from './rates.ts';
import { type Workbench, openContext } from './workbench.ts';

/** Files of a folder, and bytes of an image in a tar: listing reads none of them. */
const FOLDER_FILES = 1000;
const IMAGE_BYTES = 2048;

/** @param images files, and a quarter as many images in a tar */
export async function measureListing({ scratch, signal, note }: Workbench, images: number): Promise<Pick<Rates, 'list' | 'listTars'>> {
  note('calibrate: listing');
  const folder = join(scratch, 'listed');
  for (let first = 0; first < images; first += FOLDER_FILES) {
    const into = join(folder, String(first));
    await mkdir(into, { recursive: true });
    for (let i = first; i < Math.min(images, first + FOLDER_FILES); i++) await writeFile(join(into, `${i}.jpg`), 'x');
  }
  const packed = Math.max(1, images >> 2);
  const tars = join(scratch, 'listed-tars');
  await mkdir(tars, { recursive: true });
  await writeFile(join(tars, 'pool-000.tar'), tarOf(packed));
  const rateOf = async (name: string, source: Record<string, unknown>, amount: number): Promise<number> => {
    const context = await openContext(join(scratch, `store-${name}`), { signal });
    const sources = resolveSources([SourceConfig.parse({ name: 'pool', ...source })], scratch);
    const rate = await bestRate(amount, () => ingest(context, { path: 'images', sources }));
    await context.close();
    return rate;
  };
  return { list: await rateOf('list', { folder }, images), listTars: await rateOf('list-tars', { tars }, packed) };
}

/** A WebDataset tar whose images nobody opens. */
function tarOf(images: number): Uint8Array {
  const member = (name: string, bytes: Uint8Array): Uint8Array[] => [tarHeader(name, bytes.length), bytes, tarPadding(bytes.length)];
  const text = new TextEncoder();
  const key = (i: number): string => String(i).padStart(9, '0');
  return Buffer.concat([
    ...Array.from({ length: images }, (_, i) => [...member(`${key(i)}.jpg`, new Uint8Array(IMAGE_BYTES)), ...member(`${key(i)}.cls`, text.encode('7')), ...member(`${key(i)}.txt`, text.encode('a photograph of it'))]).flat(),
    TAR_END,
  ]);
}

/** Images a second of a filter that decodes each of them again. */
export async function measureLook({ scratch, signal, note }: Workbench, folder: string): Promise<number> {
  note('calibrate: reading images again');
  const filters = [{ name: 'blur', blur: { sharpnessMin: 0 } }];
  const loaded: LoadedRecipe = {
    recipe: parseRecipe({ format: RECIPE_FORMAT, name: 'look', pool: [{ folder }], embed: { maxDropRatio: 1 }, filters }, 'the recipe of the calibration'),
    baseDirectory: scratch,
  };
  const { recipe } = loaded;
  const context = await openContext(join(scratch, 'store-look'), { signal, locations: sourcesOf(loaded).locations });
  await curate(context, loaded, 'embed');
  const images = await requireManifest<ImagesManifest>(context.store, 'images', 'ingest');
  const embeddings = await requireManifest<EmbeddingsManifest>(context.store, 'embeddings', 'embed');
  const rate = await bestRate(rowCountOf(embeddings.manifest.parts), async () => {
    await context.store.remove(`${FILTERS}/`);
    await filterImages(context, { images, embeddings, filters: recipe.filters, folder: scratch, limits: recipe.embed.limits });
  });
  await context.close();
  return rate;
}
