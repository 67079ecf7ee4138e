/**
 * The second read of a part: one look at each image for all rules that need its pixels or bytes. A model of images sees only
 * those that blur and flat rules before it let pass.
 */
import { decodeImage } from '../embed/decode.ts';
import { type DecodeLimits, type Encoder, inputSize } from '../embed/embedding.ts';
import { type ImageOutputs, openOutputs, readAgain } from '../embed/second-read.ts';
import type { TaskEnv } from '../run/stage.ts';
import type { BlurRule, FlatRule, PartRows, ScoreRule } from './filter.ts';
import { type LumaFigures, lumaFault, lumaSpec, measureLuma } from './luma.ts';

/** What is to be found out, in the order of the rules. */
export interface Wanted {
  readonly luma: readonly (BlurRule | FlatRule)[];
  readonly models: readonly { readonly rule: ScoreRule; readonly encoder: Encoder; /** Blur and flat rules before it. */ readonly after: readonly (BlurRule | FlatRule)[] }[];
}

/** By position in the part. */
export interface Measured {
  /** Why an image could not be read or decoded again; null where it was, or was not tried. */
  readonly fault: (string | null)[];
  readonly luma: (LumaFigures | null)[];
  readonly sizeBytes: Float64Array;
  /** Outputs of each model, by the rule's name: rowCount × classes. */
  readonly outputs: ReadonlyMap<string, { readonly values: Float32Array; readonly finite: Uint8Array }>;
}

interface Look {
  readonly fault: string | null;
  readonly luma: LumaFigures | null;
  readonly sizeBytes: number;
  /** Pixels at the input size of each model; null where it is not asked. */
  readonly pixels: readonly (Uint8Array | null)[];
}

/** Reads the rows at `positions`, ascending, once. @param onRead is called after each */
export async function measureImages(rows: PartRows, positions: readonly number[], wanted: Wanted, limits: DecodeLimits, env: TaskEnv, onRead: () => void): Promise<Measured> {
  const { rowCount } = rows;
  const fault = new Array<string | null>(rowCount).fill(null);
  const luma = new Array<LumaFigures | null>(rowCount).fill(null);
  const sizeBytes = rows.sizeBytes.slice();
  const outputs = wanted.models.map(({ encoder }) => openOutputs(encoder, rowCount, env));
  const images = positions.map((i) => ({ place: rows.place[i]!, id: rows.id[i]!, sizeBytes: rows.sizeBytes[i]! }));
  let at = 0;
  for await (const read of readAgain(images, limits.sizeBytesMax, env, (bytes, p) => look(bytes, rows, positions[p]!, wanted, limits))) {
    const i = positions[at++]!;
    onRead();
    if (read.status !== 'ok') {
      fault[i] = `could not be read again: ${read.status}`;
      continue;
    }
    const { value } = read;
    fault[i] = value.fault;
    luma[i] = value.luma;
    sizeBytes[i] = value.sizeBytes;
    await addPixels(outputs, i, value.pixels);
  }
  const finished = await Promise.all(outputs.map((output) => output.finish()));
  return { fault, luma, sizeBytes, outputs: new Map(wanted.models.map(({ rule }, m) => [rule.name, finished[m]!])) };
}

async function addPixels(outputs: readonly ImageOutputs[], row: number, pixels: Look['pixels']): Promise<void> {
  for (const [m, output] of outputs.entries()) if (pixels[m] != null) await output.add(row, pixels[m]);
}

async function look(bytes: Uint8Array, { width, height }: PartRows, i: number, wanted: Wanted, limits: DecodeLimits): Promise<Look> {
  let luma: LumaFigures | null = null;
  if (wanted.luma.length > 0) {
    const spec = lumaSpec(width[i]!, height[i]!);
    const decoded = await decodeImage(bytes, spec, limits);
    if (decoded.status !== 'ok') return failed(decoded.status, bytes.length);
    const size = inputSize(spec);
    luma = measureLuma(decoded.pixels, size.width, size.height);
  }
  const pixels: (Uint8Array | null)[] = [];
  for (const { encoder, after } of wanted.models) {
    if (luma !== null && after.some((rule) => lumaFault(rule, luma) !== null)) {
      pixels.push(null);
      continue;
    }
    const decoded = await decodeImage(bytes, encoder.preprocess, limits);
    if (decoded.status !== 'ok') return failed(decoded.status, bytes.length);
    pixels.push(decoded.pixels);
  }
  return { fault: null, luma, sizeBytes: bytes.length, pixels };
}

function failed(status: string, sizeBytes: number): Look {
  return { fault: `could not be decoded again: ${status}`, luma: null, sizeBytes, pixels: [] };
}
