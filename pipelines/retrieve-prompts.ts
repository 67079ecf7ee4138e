/** Prompts as a seed set: their vectors go to `seeds/<name>/embeddings`, one row a prompt, with the prompt beside it. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { encodeTable } from '../src/arrow/ipc.ts';
import { EMBEDDING_PART_ROWS, type EmbeddingsManifest } from '../src/embed/embedding.ts';
import { resolveModel } from '../src/embed/model.ts';
import { createRows, rowColumns } from '../src/embed/rows.ts';
import { requirePool } from '../src/embed/survivors.ts';
import { WinnowError, throwIfAborted } from '../src/errors.ts';
import type { RetrieveConfig, TextConfig } from '../src/retrieve/config.ts';
import { type TextEncoder, createTextEncoder } from '../src/retrieve/text-encoder.ts';
import { createTokenizer } from '../src/retrieve/tokenizer.ts';
import { type Part, type StoredManifest, hashOf, writePart } from '../src/run/manifest.ts';
import { type RunContext, runStage } from '../src/run/stage.ts';

/**
 * Runs the text tower on every prompt, here and not as tasks: prompts are thousands at most.
 *
 * @throws {WinnowError} INPUT_MISSING, INPUT_EMPTY, MODEL_UNAVAILABLE, MODEL_INVALID, DIMENSION_MISMATCH when the pool has
 *   vectors of other dimensions
 */
export async function embedPrompts(context: RunContext, { name, prompts, text }: Pick<RetrieveConfig, 'name'> & Partial<RetrieveConfig>, baseDirectory: string): Promise<StoredManifest<EmbeddingsManifest>> {
  const list = await readPrompts(prompts!, name, baseDirectory);
  const { encoder, provenance } = await openTextTower(text!, baseDirectory);
  const path = `seeds/${name}/embeddings`;
  await context.store.remove(`seeds/${name}/images/`); // of images that had this name before
  try {
    return await runStage<EmbeddingsManifest>(context, {
      path,
      stage: 'embed',
      config: { prompts: hashOf(list), encoder: provenance, normalize: true, dtype: 'float32' },
      inputs: [],
      seeded: false,
      make: async () => {
        context.progress.begin(path, list.length, 'prompts');
        const { vectors, cut } = await encodeAll(context, encoder, list);
        const d = vectors[0]!.length;
        await checkDimensions(context, name, d);
        const made = await writeVectors(context, path, list, vectors, d);
        if (cut > 0) context.log.warn({ stage: 'retrieve', name, cut }, `retrieve ${name}: ${cut} of ${list.length} prompts have more tokens than the text model takes and lost their end`);
        context.progress.end(`${list.length} prompts, ${d} dimensions`);
        return { ...made, stats: { ...made.stats, cut }, d, encoder: provenance };
      },
    });
  } finally {
    await encoder.close();
  }
}

async function readPrompts(prompts: string | readonly string[], name: string, baseDirectory: string): Promise<readonly string[]> {
  if (typeof prompts !== 'string') return prompts.map((prompt) => prompt.trim());
  const text = await readText(prompts, baseDirectory, `a text file with one prompt a line for ${name} (a list in the recipe holds prompts themselves)`);
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== '');
  if (lines.length === 0) throw new WinnowError('INPUT_EMPTY', `Expected one prompt a line in ${prompts}, got no line with a word in it`);
  return lines;
}

async function readText(path: string, baseDirectory: string, what: string): Promise<string> {
  const full = isAbsolute(path) ? path : resolve(baseDirectory, path);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(full));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new WinnowError(code === 'ENOENT' ? 'INPUT_MISSING' : 'INPUT_MALFORMED', `Expected ${what} at ${full}, ${code === 'ENOENT' ? 'found none' : `could not read it as UTF-8: ${(cause as Error).message}`}`, { cause });
  }
}

/** The text tower that a recipe names, and what decides its vectors. @throws {WinnowError} MODEL_INVALID, MODEL_UNAVAILABLE, INPUT_MISSING */
export async function openTextTower({ model, tokenizer, output, length }: TextConfig, baseDirectory: string): Promise<{ encoder: TextEncoder; provenance: Record<string, unknown> }> {
  const path = isAbsolute(model) ? model : resolve(baseDirectory, model);
  if (model.startsWith('hf:') || !model.endsWith('.onnx')) throw new WinnowError('MODEL_INVALID', `Expected text.model to be the path of an ONNX file, such as ./clip/onnx/text_model.onnx, got ${model}`);
  const files = await resolveModel(path);
  const definitionAt = tokenizer !== undefined ? (isAbsolute(tokenizer) ? tokenizer : resolve(baseDirectory, tokenizer)) : await findTokenizer(path);
  const definition = await readText(definitionAt, baseDirectory, 'the tokenizer of the text model');
  const settings = await readFile(join(dirname(definitionAt), 'tokenizer_config.json'), 'utf8').catch(() => null);
  const opened = createTokenizer(definition, settings, basename(definitionAt));
  const encoder = await createTextEncoder(files.path, opened, { name: basename(path), output, length });
  return { encoder, provenance: { encoder: 'onnx-text', ...files.provenance, tokenizer: sha256Of(definition), ...(settings !== null && { tokenizerConfig: sha256Of(settings) }), ...encoder.provenance } };
}

/** Beside the model, or above its `onnx/` folder as in a Hugging Face repository. */
async function findTokenizer(model: string): Promise<string> {
  const places = [dirname(model), dirname(dirname(model))].map((folder) => join(folder, 'tokenizer.json'));
  for (const place of places) if ((await stat(place).catch(() => null)) !== null) return place;
  throw new WinnowError('INPUT_MISSING', `Expected the tokenizer of the text model at ${places.join(' or ')}, found none: name it in text.tokenizer`);
}

async function encodeAll({ signal, progress }: RunContext, encoder: TextEncoder, prompts: readonly string[]): Promise<{ vectors: Float32Array[]; cut: number }> {
  const vectors: Float32Array[] = [];
  let cut = 0;
  for (const prompt of prompts) {
    throwIfAborted(signal);
    const encoded = await encoder.encode(prompt);
    vectors.push(encoded.vector);
    if (encoded.cut) cut++;
    progress.advance(1);
  }
  return { vectors, cut };
}

async function checkDimensions({ store }: RunContext, name: string, d: number): Promise<void> {
  const pool = await requirePool(store);
  if (pool.manifest.d === d) return;
  throw new WinnowError('DIMENSION_MISMATCH', `Expected prompts of ${name} as vectors of the pool's ${pool.manifest.d} dimensions, the text model gives ${d}: embed the pool with the image tower of the same model and the output that belongs to it (of CLIP, embed.output: image_embeds)`, { details: { pool: pool.manifest.d, prompts: d } });
}

async function writeVectors({ store }: RunContext, path: string, prompts: readonly string[], vectors: readonly Float32Array[], d: number) {
  const parts: Part[] = [];
  const okRows: number[] = [];
  const statuses: Record<string, number> = {};
  let maxAbs = 0;
  for (let first = 0; first < prompts.length; first += EMBEDDING_PART_ROWS) {
    const texts = prompts.slice(first, first + EMBEDDING_PART_ROWS);
    const rows = createRows(texts.length, d, { dtype: 'float32', normalize: true });
    texts.forEach((prompt, i) => {
      rows.put(i, sha256Of(prompt).slice(0, 32), { status: 'ok', width: 0, height: 0, pixels: new Uint8Array(0) }, 0);
      rows.putVector(i, vectors[first + i]!);
    });
    for (const status of rows.status) statuses[status] = (statuses[status] ?? 0) + 1;
    okRows.push(rows.status.filter((status) => status === 'ok').length);
    maxAbs = Math.max(maxAbs, rows.maxAbs);
    parts.push(await writePart(store, path, parts, texts.length, encodeTable({ ...rowColumns(rows), text: { type: 'utf8', values: texts } })));
  }
  return { parts, okRows, maxAbs, stats: { rows: prompts.length, statuses } };
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
