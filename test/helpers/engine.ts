/** One search engine for all tests of a file. */
import { afterAll } from 'vitest';
import { createOnnxEngine } from '../../src/vector/onnx.ts';
import type { SearchEngine } from '../../src/vector/search.ts';

export function sharedEngine(): () => Promise<SearchEngine> {
  let engine: Promise<SearchEngine> | null = null;
  afterAll(async () => (await engine)?.close());
  return () => (engine ??= createOnnxEngine({ threads: 2 }));
}
