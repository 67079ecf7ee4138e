/**
 * Scores of classifiers: a head on the stored vectors, [n, d] → [n, classes], or a model of images. Every run of a head has
 * the same shape and a row has the same place in it whatever else is done, so a score is a function of the row's part.
 */
import { resolveModel } from '../embed/model.ts';
import { WinnowError } from '../errors.ts';
import { type Session, Tensor, type ValueInfo, instructionSet, openSession, runtimeVersion } from '../onnx/session.ts';
import { type Judged, type PartRows, type ScoreRule, reject, undecided } from './filter.ts';

export interface Head {
  /** What the manifest records: file, hash, output, runtime. */
  readonly provenance: Readonly<Record<string, unknown>>;
  /** Numbers of a row's output. */
  readonly classes: number;
  /** @param vectors n × d, n any. @returns n × classes */
  run(vectors: Float32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Rows of one run. */
const RUN_ROWS = 256;

/**
 * Opens a head and runs it once on zeros.
 *
 * @param reference as `resolveModel` takes it
 * @throws {WinnowError} MODEL_UNAVAILABLE, MODEL_INVALID, DIMENSION_MISMATCH when it takes vectors of another length than d
 */
export async function openHead(reference: string, wanted: string | undefined, d: number): Promise<Head> {
  const files = await resolveModel(reference);
  const name = String(files.provenance.file);
  // One thread: sums of a small matrix product are then those of any machine with these instructions.
  const session = await openSession(files.path, { threads: 1 });
  try {
    const rows = checkInput(name, session.inputs, d) ?? RUN_ROWS;
    const output = chooseOutput(name, session.outputs, wanted);
    const runOnce = (data: Float32Array): Promise<Float32Array> => runShaped(name, session, output, data, rows, d);
    const { length } = await runOnce(new Float32Array(rows * d));
    if (length === 0 || length % rows !== 0) throw invalid(`Expected an output with one entry a row, ${rows} first; ${output} of ${name} has ${length} numbers`);
    const classes = length / rows;
    return {
      provenance: { ...files.provenance, output, runtime: 'onnxruntime', version: runtimeVersion, instructionSet },
      classes,
      run: async (vectors) => {
        const n = vectors.length / d;
        const out = new Float32Array(n * classes);
        for (let first = 0; first < n; first += rows) {
          const data = new Float32Array(rows * d);
          data.set(vectors.subarray(first * d, Math.min(n, first + rows) * d));
          out.set((await runOnce(data)).subarray(0, Math.min(rows, n - first) * classes), first * classes);
        }
        return out;
      },
      close: () => session.close(),
    };
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** Takes one number of each row's output as its score and rejects by it. @param finite 0 where the model gave no number */
export function judgeScore(rule: ScoreRule, outputs: Float32Array, finite: Uint8Array | null, rows: PartRows, judged: Judged): void {
  const classes = outputs.length / rows.rowCount;
  const { min, max } = rule.score;
  const scores = judged.scores.get(rule.name)!;
  for (const i of undecided(rows, judged)) {
    const score = finite?.[i] === 0 ? Number.NaN : Math.fround(scoreOf(outputs.subarray(i * classes, (i + 1) * classes), rule.score));
    scores[i] = Number.isFinite(score) ? score : Number.NaN;
    if (!Number.isFinite(score)) reject(judged, rule, i, 'the score is not a number');
    else if (min !== undefined && score < min) reject(judged, rule, i, `score ${score.toPrecision(4)}, at least ${min} wanted`);
    else if (max !== undefined && score > max) reject(judged, rule, i, `score ${score.toPrecision(4)}, at most ${max} wanted`);
  }
}

/** @throws {WinnowError} CONFIG_INVALID when the output has no such number */
export function requireIndex({ name, score }: Pick<ScoreRule, 'name' | 'score'>, classes: number): void {
  if (score.index < classes) return;
  throw new WinnowError('CONFIG_INVALID', `Expected the index of filter "${name}" to be below ${classes}, the numbers that its model gives for an image, got ${score.index}`);
}

/** In float64, in the order of the outputs. */
function scoreOf(values: Float32Array, { index, activation }: ScoreRule['score']): number {
  const value = values[index]!;
  if (activation === 'none') return value;
  if (activation === 'sigmoid') return 1 / (1 + Math.exp(-value));
  const largest = values.reduce((most, one) => Math.max(most, one), -Infinity);
  return Math.exp(value - largest) / values.reduce((sum, one) => sum + Math.exp(one - largest), 0);
}

/** @returns rows of a run when the model fixes them */
function checkInput(name: string, inputs: readonly ValueInfo[], d: number): number | null {
  const [input, ...others] = inputs;
  const listed = inputs.map(describe).join(', ') || 'none';
  if (input === undefined || others.length > 0 || input.shape.length !== 2 || input.type !== 'float32') throw invalid(`Expected a model on vectors with one input, float32[n, d]; ${name} has ${listed}. A model of images needs \`on: pixels\``);
  const [rows, length] = input.shape;
  if (typeof length === 'number' && length > 0 && length !== d) throw new WinnowError('DIMENSION_MISMATCH', `Expected a head on the ${d} dimensions of the stored vectors; ${name} takes ${listed}`);
  return typeof rows === 'number' && rows > 0 ? rows : null;
}

function chooseOutput(name: string, outputs: readonly ValueInfo[], wanted: string | undefined): string {
  const found = wanted === undefined ? (outputs.length === 1 ? outputs[0] : undefined) : outputs.find((output) => output.name === wanted);
  if (found !== undefined) return found.name;
  throw invalid(`${wanted === undefined ? `Expected one output, or score.output to name one` : `${name} has no output ${wanted}`}; there are ${outputs.map(describe).join(', ')}`);
}

async function runShaped(name: string, session: Session, output: string, data: Float32Array, rows: number, d: number): Promise<Float32Array> {
  const result = await session.run({ [session.inputs[0]!.name]: new Tensor('float32', data, [rows, d]) }, [output]).catch((error: Error) => {
    throw invalid(`${name} does not run on ${rows} vectors of ${d} dimensions: ${error.message.split('\n')[0]}`);
  });
  const tensor = result[output];
  if (tensor?.type !== 'float32') throw invalid(`Expected an output of float32; ${output} of ${name} is ${tensor?.type}`);
  return tensor.data as Float32Array;
}

function describe({ name, type, shape }: ValueInfo): string {
  return `${name}: ${type}[${shape.map((size) => (size === '' || size === -1 ? '?' : size)).join(', ')}]`;
}

function invalid(message: string): WinnowError {
  return new WinnowError('MODEL_INVALID', message);
}
