/**
 * Rows with a transient reason, tried again: URLs that were not reached, files that could not be read. What had come to its end
 * stays: bytes, vectors, and tables of images without such a row. Later stages see other inputs, and `winnow run` makes them anew.
 */
import type { LoadedRecipe } from '../src/config.ts';
import { retryDownload } from '../src/download/download.ts';
import { requireSameEmbedding } from '../src/embed/append.ts';
import type { EmbeddingsManifest } from '../src/embed/embedding.ts';
import { resolveModelReference } from '../src/embed/encoder.ts';
import { repairEmbeddings } from '../src/embed/repair.ts';
import { openEncoder } from '../src/embed/task.ts';
import { decodeTable } from '../src/arrow/ipc.ts';
import { WinnowError, throwIfAborted } from '../src/errors.ts';
import type { ImagesManifest, NamedSource } from '../src/ingest/image.ts';
import { type Part, type StoredManifest, hashOf, readManifest, readPart, writeManifest } from '../src/run/manifest.ts';
import { type Move, finishPublication, publish } from '../src/run/publish.ts';
import type { RunContext } from '../src/run/stage.ts';
import { ingestImages } from './1-ingest.ts';
import { APPEND_STAGING, RETRY_STAGING as STAGING, sourcesOf } from './curate.ts';
import { urlSources } from './download.ts';

export interface RetryOutcome {
  /** URLs asked for again, and those of them that gave a picture. */
  readonly asked: number;
  readonly downloaded: number;
  /** Images that have a vector, or were checked, now and did not before. */
  readonly images: number;
  /** Key prefixes whose tables changed. */
  readonly changed: readonly string[];
}

/**
 * Downloads first, then the tables that are there already, all of them at once or none. A run that was stopped is gone on with.
 *
 * @throws {WinnowError} INPUT_MISSING when there is nothing to retry yet; INPUT_MALFORMED when a source lists other images than
 *   before; CONFIG_INVALID when the recipe embeds otherwise
 */
export async function retryFailed(context: RunContext, loaded: LoadedRecipe): Promise<RetryOutcome> {
  const { store } = context;
  await finishPublication(store, APPEND_STAGING);
  await finishPublication(store, STAGING);
  const { pool, seeds, raws, evaluations } = sourcesOf(loaded);
  const urls = urlSources([pool, ...seeds.values(), ...raws.values(), ...evaluations.values()].flat());
  const tables = [{ prefix: '', sources: pool, hasVectors: true }, ...[...seeds].map(([name, sources]) => ({ prefix: `seeds/${name}/`, sources, hasVectors: true })), ...[...raws].map(([name, sources]) => ({ prefix: `raw/${name}/`, sources, hasVectors: false }))];
  if (urls.length === 0 && (await readManifest(store, 'embeddings')) === null) throw new WinnowError('INPUT_MISSING', `Expected downloads or embeddings in ${store.uri} to try again, found neither: \`winnow run\` makes them`);
  let asked = 0;
  let downloaded = 0;
  for (const source of urls) {
    const retried = await retryDownload(context, source);
    asked += retried.asked;
    downloaded += retried.gained;
  }
  const repaired: Repaired[] = [];
  for (const table of tables) {
    const one = await repairTables(context, loaded, table);
    if (one !== null) repaired.push(one);
  }
  const changed = repaired.flatMap(({ manifests }) => manifests);
  for (const { path, manifest } of changed) await writeManifest(store, `${STAGING}manifests/${path}`, manifest);
  await publish(store, STAGING, { copies: repaired.flatMap(({ copies }) => copies), manifests: changed.map(({ path }) => ({ from: `${STAGING}manifests/${path}/manifest.json`, to: `${path}/manifest.json` })) });
  return { asked, downloaded, images: repaired.reduce((sum, { gained }) => sum + gained, 0), changed: changed.map(({ path }) => path) };
}

interface Table {
  readonly prefix: string;
  readonly sources: readonly NamedSource[];
  readonly hasVectors: boolean;
}

interface Repaired {
  readonly copies: readonly Move[];
  readonly manifests: readonly StoredManifest[];
  readonly gained: number;
}

/** Null where there is no table yet, or nothing of it changed. */
async function repairTables(context: RunContext, loaded: LoadedRecipe, { prefix, sources, hasVectors }: Table): Promise<Repaired | null> {
  const { store } = context;
  const before = await readManifest<ImagesManifest>(store, `${prefix}images`);
  const embeddings = await readManifest<EmbeddingsManifest>(store, `${prefix}embeddings`);
  if (before === null || embeddings === null || !embeddings.manifest.inputs.some(({ sha256 }) => sha256 === before.sha256)) return null;
  const { embed } = loaded.recipe;
  const model = hasVectors ? resolveModelReference(embed.model, loaded.baseDirectory) : null;
  if (model !== null) requireSameEmbedding(embeddings.manifest, embed, (await openEncoder(model, embed, context)).provenance);
  const staged = await ingestImages(context, `${STAGING}${prefix}images`, sources);
  await requireSameUris(context, before, staged);
  const parts = staged.manifest.parts.map((part) => ({ ...part, path: part.path.slice(STAGING.length) }));
  const images = asStored(`${prefix}images`, { ...staged.manifest, parts });
  const repaired = await repairEmbeddings(context, { before: embeddings, images, listed: staged.manifest.parts, config: embed, model, staging: STAGING });
  if (images.sha256 === before.sha256 && repaired.at.every((part, p) => part === embeddings.manifest.parts[p])) return null;
  const moves = (from: readonly Part[], to: readonly Part[], old: readonly Part[]): Move[] => from.flatMap(({ path, sha256 }, p) => (path === to[p]!.path || sha256 === old[p]?.sha256 ? [] : [{ from: path, to: to[p]!.path }]));
  return {
    copies: [...moves(staged.manifest.parts, parts, before.manifest.parts), ...moves(repaired.at, repaired.manifest.parts, embeddings.manifest.parts)],
    manifests: [images, asStored(`${prefix}embeddings`, repaired.manifest)],
    gained: repaired.gained,
  };
}

/** What a manifest will be once it is written. */
function asStored<M extends ImagesManifest | EmbeddingsManifest>(path: string, manifest: M): StoredManifest<M> {
  return { path, manifest, sha256: hashOf(manifest) };
}

/** Row r must be the image it was: only how it ended, and where its bytes lie, may be another. */
async function requireSameUris({ store, signal }: RunContext, before: StoredManifest<ImagesManifest>, after: StoredManifest<ImagesManifest>): Promise<void> {
  const other = (row: number): WinnowError => new WinnowError('INPUT_MALFORMED', `Expected the sources of ${before.path} to list the images they did, got another one at row ${row}: \`winnow run\` makes the tables anew`, { details: { row } });
  for (const [p, part] of before.manifest.parts.entries()) {
    throwIfAborted(signal);
    const now = after.manifest.parts[p];
    if (now === undefined || now.rowCount !== part.rowCount) throw other(part.firstRow + Math.min(part.rowCount, now?.rowCount ?? 0));
    if (now.sha256 === part.sha256) continue;
    const uris = async (one: Part) => decodeTable(await readPart(store, one), one.path).strings('uri');
    const [old, found] = [await uris(part), await uris(now)];
    const at = old.findIndex((uri, i) => uri !== found[i]);
    if (at >= 0) throw other(part.firstRow + at);
  }
  if (after.manifest.parts.length > before.manifest.parts.length) throw other(after.manifest.parts[before.manifest.parts.length]!.firstRow);
}
