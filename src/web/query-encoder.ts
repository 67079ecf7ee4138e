/** Turns a picture that a person drops on a page into a vector, with the model and the settings that made the store's. */
import { EmbedConfig } from '../embed/config.ts';
import { decodeImage } from '../embed/decode.ts';
import type { EmbeddingStatus, EmbeddingsManifest, Encoder } from '../embed/embedding.ts';
import { createTensor, writeTensor } from '../embed/preprocess.ts';
import { createRows } from '../embed/rows.ts';
import { WinnowError } from '../errors.ts';
import { hashOf } from '../run/manifest.ts';

/** A vector scaled as the stored ones are, or why there is none. */
export type Embedded = { readonly status: 'ok'; readonly vector: Float32Array } | { readonly status: Exclude<EmbeddingStatus, 'ok'> };

export interface QueryEncoder {
  /** @throws {WinnowError} MODEL_UNAVAILABLE and the like when the model cannot be had; MODEL_INVALID when it is another one */
  embed(picture: Uint8Array): Promise<Embedded>;
  close(): Promise<void>;
}

/** @param open opens the model; called once, at the first picture */
export function createQueryEncoder(manifest: EmbeddingsManifest, open: () => Promise<Encoder>): QueryEncoder {
  const { encoder: _, ...settings } = manifest.config as Record<string, unknown>;
  const { dtype = 'float16', normalize = true, limits } = settings as Partial<EmbedConfig>;
  let opening: Promise<Encoder> | null = null;
  let turn: Promise<unknown> = Promise.resolve();
  const opened = async (): Promise<Encoder> => {
    opening ??= open().then((encoder) => {
      checkSame(manifest, encoder);
      return encoder;
    });
    opening.catch(() => (opening = null));
    return opening;
  };
  const embed = async (picture: Uint8Array): Promise<Embedded> => {
    const encoder = await opened();
    const decoded = await decodeImage(picture, encoder.preprocess, limits ?? EmbedConfig.parse({}).limits);
    if (decoded.status !== 'ok') return { status: decoded.status };
    const tensor = createTensor(encoder.preprocess, 1);
    writeTensor(decoded.pixels, encoder.preprocess, tensor, 0);
    const rows = createRows(1, encoder.d, { dtype, normalize });
    rows.put(0, null, decoded, picture.byteLength);
    const vector = await encoder.encode(tensor, 1);
    rows.putVector(0, vector);
    const status = rows.status[0]!;
    return status === 'ok' ? { status, vector } : { status };
  };
  return {
    // One at a time: a model may use every core for one picture.
    embed: (picture) => {
      const result = turn.then(() => embed(picture));
      turn = result.catch(() => undefined);
      return result;
    },
    close: async () => {
      await turn;
      await (await opening?.catch(() => null))?.close();
    },
  };
}

/** The file and the output decide; where it runs may differ by the last bit of a product. */
function checkSame({ encoder, d }: EmbeddingsManifest, other: Encoder): void {
  const facts = (provenance: Readonly<Record<string, unknown>> | null): Record<string, unknown> => {
    const { provider, instructionSet, imagesPerRun, version, runtime, ...decisive } = provenance ?? {};
    return decisive;
  };
  const before = facts(encoder);
  const now = facts(other.provenance);
  const differing = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter((key) => hashOf({ value: before[key] }) !== hashOf({ value: now[key] }));
  if (d === other.d && differing.length === 0) return;
  throw new WinnowError('MODEL_INVALID', `Expected the model that made the store's vectors, got one of another ${differing.join(', ') || 'number of dimensions'}`);
}
