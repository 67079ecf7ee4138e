/** Chooses the encoder a recipe names: the built-in descriptor or an ONNX model. */
import { isAbsolute, resolve } from 'node:path';
import type { EmbedConfig } from './config.ts';
import { createDescriptor } from './descriptor.ts';
import type { Encoder } from './embedding.ts';

/** A model reference with a relative path made absolute; `descriptor` and `hf:` references stay as they are. */
export function resolveModelReference(model: string, baseDirectory: string): string {
  if (model === 'descriptor' || model.startsWith('hf:')) return model;
  const path = model.startsWith('file:') ? decodeURIComponent(new URL(model, 'file:///').pathname) : model;
  return isAbsolute(path) ? path : resolve(baseDirectory, path);
}

/** The settings that an encoder is made from. */
export type EncoderConfig = Pick<EmbedConfig, 'providers' | 'input' | 'output' | 'pool' | 'batchSize'>;

/** @param model as `resolveModelReference` gives it. @throws {WinnowError} MODEL_INVALID, MODEL_UNAVAILABLE, PROVIDER_UNAVAILABLE */
export async function createEncoder(model: string, config: EncoderConfig, threads: number): Promise<Encoder> {
  if (model === 'descriptor') return createDescriptor(config.batchSize);
  const { createOnnxEncoder } = await import('./encode.ts');
  const { providers, input, output, pool, batchSize } = config;
  return createOnnxEncoder({ model, providers, input, pool, batchSize, threads, ...(output !== undefined && { output }) });
}
