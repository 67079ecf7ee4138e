/**
 * The recipe that makes a dataset again, from its lineage. Lineages name no places, so each place is one beside the recipe, named
 * so that sources get the names they had: names are parts of uris.
 */
import type { ImagesManifest } from '../ingest/image.ts';
import type { StoredManifest } from '../run/manifest.ts';
import type { NamedListing, ReportFacts } from './facts.ts';

type Json = Record<string, unknown>;
type Sourced = Json & { readonly sources: readonly Json[] };

/** What a lineage tells of a recipe, as far as places were taken out of it. */
interface LineageRecipe extends Json {
  readonly embed?: Json;
  readonly pool?: readonly Json[];
  readonly filters?: readonly Json[];
  readonly dedup?: Json;
  readonly decontaminate?: readonly Sourced[];
  readonly retrieve?: readonly Sourced[];
  readonly raw?: readonly Sourced[];
}

/** @returns the recipe, and the places in it that a person has to fill */
export function remakeRecipe({ images, retrieved, raws, evaluations }: Pick<ReportFacts, 'images' | 'retrieved' | 'raws' | 'evaluations'>, lineage: Json): { recipe: Json; places: string[] } {
  const places: string[] = [];
  const place = (path: string): string => {
    places.push(path);
    return path;
  };
  const { embed = {}, pool = [], filters, dedup, decontaminate, retrieve = [], raw = [], ...rest } = lineage['recipe'] as LineageRecipe;
  const seeds = retrieved.flatMap(({ name, seeds: listing }) => (listing === null ? [] : [{ name, images: listing }]));
  const sourced = (parts: readonly Sourced[], from: readonly NamedListing[]): Json[] => parts.map((part) => ({ ...part, sources: placedSources(part.sources, from.find(({ name }) => name === part['name'])?.images, place) }));
  return {
    recipe: {
      ...rest,
      embed: 'model' in embed ? embed : { ...embed, model: place(`./${fileOf(lineage['model'])}`) },
      pool: placedSources(pool, images, place),
      ...(filters !== undefined && { filters: filters.map((filter) => placedFilter(filter, place)) }),
      ...(dedup !== undefined && { dedup: placedDedup(dedup, place) }),
      ...(decontaminate !== undefined && { decontaminate: sourced(decontaminate, evaluations) }),
      retrieve: sourced(retrieve, seeds).map((part) => placedPrompts(part, place)),
      raw: sourced(raw, raws),
    },
    places,
  };
}

const EXTENSIONS: Readonly<Record<string, string>> = { folder: '', tars: '', list: '.csv' };

function placedSources(sources: readonly Json[], listing: StoredManifest<ImagesManifest> | undefined, place: (path: string) => string): Json[] {
  return sources.map(({ kind, ...source }, i) => {
    const name = source['name'] ?? listing?.manifest.sources[i]?.name ?? `source-${i + 1}`;
    const key = String(kind);
    const path = place(`./${String(name)}${String(name).includes('.') ? '' : (EXTENSIONS[key] ?? '')}`);
    return { ...source, [key]: path };
  });
}

/** Lists and models of filters are files of the user's too. */
function placedFilter(filter: Json, place: (path: string) => string): Json {
  const entries = Object.entries(filter).map(([key, value]): [string, unknown] => {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return [key, value];
    const inner = value as Json;
    if (inner['file'] === true) return [key, { ...inner, file: place(`./${key}.txt`) }];
    return key === 'score' && !('model' in inner) ? [key, { ...inner, model: place('./score.onnx') }] : [key, value];
  });
  return Object.fromEntries(entries);
}

/** A model of the search for near-duplicates that was given as a file. */
function placedDedup(dedup: Json, place: (path: string) => string): Json {
  const { embed, ...near } = (dedup['near'] ?? {}) as { embed?: Json };
  if (embed === undefined || 'model' in embed) return dedup;
  return { ...dedup, near: { ...near, embed: { ...embed, model: place('./dedup.onnx') } } };
}

/** The text model of prompts, and the prompts where they were a file. */
function placedPrompts(part: Json, place: (path: string) => string): Json {
  if (part['text'] === undefined) return part;
  const { sources: _, ...rest } = part;
  return { ...rest, text: { ...(part['text'] as Json), model: place('./text_model.onnx') }, prompts: part['prompts'] ?? place('./prompts.txt') };
}

function fileOf(model: unknown): string {
  const file = (model as { file?: unknown } | null)?.file;
  return typeof file === 'string' ? file : 'model.onnx';
}
