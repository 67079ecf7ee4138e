/** Opens the search engine that a recipe names. An engine's library is loaded only when it is the one asked for. */
import type { OnnxEngineOptions } from './onnx.ts';
import type { SearchEngine } from './search.ts';

export type SearchEngineName = 'onnxruntime' | 'faiss';

/** `providers` are ONNX Runtime's; faiss runs on the processor. */
export type SearchEngineOptions = OnnxEngineOptions;

/** @throws {WinnowError} PROVIDER_UNAVAILABLE when the engine, or every provider asked for, does not run here */
export async function openSearchEngine(name: SearchEngineName, options: SearchEngineOptions = {}): Promise<SearchEngine> {
  if (name === 'faiss') {
    const { createFaissEngine } = await import('./faiss.ts');
    return createFaissEngine(options.threads === undefined ? {} : { threads: options.threads });
  }
  const { createOnnxEngine } = await import('./onnx.ts');
  return createOnnxEngine(options);
}
