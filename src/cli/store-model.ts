/** The model that made a store's vectors, so that more images can be embedded as they were. */
import { EmbedConfig } from '../embed/config.ts';
import type { EmbeddingsManifest } from '../embed/embedding.ts';
import { type EncoderConfig, resolveModelReference } from '../embed/encoder.ts';
import { openEncoder } from '../embed/task.ts';
import { WinnowError } from '../errors.ts';
import { type StoredManifest, hashOf } from '../run/manifest.ts';
import type { RunContext } from '../run/stage.ts';
import type { DatasetManifest } from '../shard/shard.ts';

export interface StoreModel {
  readonly config: EmbedConfig & EncoderConfig;
  /** As `resolveModelReference` gives it. */
  readonly reference: string;
}

type Lineage = { readonly embed?: { readonly model?: string }; readonly dedup?: { readonly near?: false | { readonly embed?: { readonly model?: string } } } };

/**
 * Settings from the table's manifest; the model's name from the recipe in the dataset's lineage, which leaves out paths.
 *
 * @param own the vectors are those of `dedup.near.embed`
 * @param given path of the model, where the user says
 * @throws {WinnowError} INPUT_MISSING when neither says where the model is
 */
export function modelOf({ path, manifest }: StoredManifest<EmbeddingsManifest>, { lineage }: DatasetManifest, { own, given }: { own: boolean; given: string | null }): StoreModel {
  const { encoder, ...decisive } = manifest.config as Record<string, unknown> & { encoder: Readonly<Record<string, unknown>> };
  const recipe = lineage.recipe as Lineage;
  const near = recipe.dedup?.near;
  const named = own ? (typeof near === 'object' ? near.embed?.model : undefined) : recipe.embed?.model;
  const model = given ?? named;
  if (model === undefined) {
    throw new WinnowError('INPUT_MISSING', `Expected --model with the path of the model that made ${path}/ (${String(encoder.file ?? encoder.name)}, SHA-256 ${String(encoder.sha256).slice(0, 12)}…): a store records which model it was, not where it lies`);
  }
  return { config: EmbedConfig.parse({ ...decisive, model, maxDropRatio: 1 }), reference: resolveModelReference(model, process.cwd()) };
}

/** Facts of the machine that may change the last bits of a vector, which matters to no threshold. */
const MACHINE_FACTS = ['runtime', 'version', 'provider', 'instructionSet', 'imagesPerRun'];

/** Opens the model and makes sure that it is the one. @throws {WinnowError} MODEL_INVALID */
export async function encoderOf({ config, reference }: StoreModel, { path, manifest }: StoredManifest<EmbeddingsManifest>, context: RunContext): Promise<void> {
  const { provenance } = await openEncoder(reference, config, context);
  const identity = (facts: Readonly<Record<string, unknown>> | null): string => hashOf(Object.fromEntries(Object.entries(facts ?? {}).filter(([key]) => facts?.encoder !== 'onnx' || !MACHINE_FACTS.includes(key))));
  if (identity(provenance) === identity(manifest.encoder)) return;
  const tell = (facts: Readonly<Record<string, unknown>> | null): string => `${String(facts?.file ?? facts?.name)}${facts?.sha256 === undefined ? '' : ` with SHA-256 ${String(facts.sha256).slice(0, 12)}…`}`;
  throw new WinnowError('MODEL_INVALID', `Expected the model that made ${path}/, ${tell(manifest.encoder)}, got ${tell(provenance)}: vectors of two models cannot be compared`);
}
