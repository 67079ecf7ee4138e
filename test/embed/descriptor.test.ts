/** The descriptor as a whole: what it says of itself, the laws of its vectors, and whether it finds what looks alike. */
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage, DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import { createDescriptor } from '../../src/embed/descriptor.ts';
import { SIDE } from '../../src/embed/descriptor-planes.ts';
import { inputSize } from '../../src/embed/embedding.ts';
import { randomStream } from '../../src/random.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { draw, IMAGE_BYTES, images, squares } from './descriptor-cases.ts';

const skipped = withoutSharedData();

function mirrored(image: Uint8Array): Uint8Array {
  return draw((x, y) => [...image.subarray(3 * (y * SIDE + SIDE - 1 - x), 3 * (y * SIDE + SIDE - x))] as [number, number, number]);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function cosine(vectors: Float32Array, d: number, i: number, j: number): number {
  let dot = 0;
  let ii = 0;
  let jj = 0;
  for (let c = 0; c < d; c++) {
    const a = vectors[i * d + c]!;
    const b = vectors[j * d + c]!;
    dot += a * b;
    ii += a * a;
    jj += b * b;
  }
  return dot / Math.sqrt(ii * jj);
}

/** Row among `candidates` with the largest cosine to row i, itself left out. All vectors have one length, so the dot product decides. */
function nearest(vectors: Float32Array, d: number, i: number, candidates: number): number {
  let best = -1;
  let bestDot = -Infinity;
  for (let j = 0; j < candidates; j++) {
    let dot = 0;
    for (let c = 0; c < d; c++) dot += vectors[i * d + c]! * vectors[j * d + c]!;
    if (j !== i && dot > bestDot) {
      bestDot = dot;
      best = j;
    }
  }
  return best;
}

describe('createDescriptor', () => {
  it('says what it is in the manifest: blocks that add up to d, and the batch it was given', () => {
    const encoder = createDescriptor(7);
    const provenance = JSON.parse(JSON.stringify(encoder.provenance)) as { name: string; blocks: { d: number }[] };
    expect(encoder.d).toBe(396);
    expect(provenance.name).toBe('descriptor');
    expect(provenance.blocks.reduce((sum, block) => sum + block.d, 0)).toBe(encoder.d);
    expect(inputSize(encoder.preprocess)).toEqual({ width: SIDE, height: SIDE });
    expect(encoder.batchSize).toBe(7);
    expect(createDescriptor(9).provenance).toEqual(encoder.provenance);
  });

  it('gives each image the same vector in any batch, at any place, after any other image', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(images, { minLength: 1, maxLength: 5 }), async (batch) => {
        const encoder = createDescriptor();
        const together = await encoder.encode(concatenate(batch), batch.length);
        expect(together.length).toBe(batch.length * encoder.d);
        for (let i = 0; i < batch.length; i++) {
          const alone = await createDescriptor(1).encode(batch[i]!, 1);
          expect(together.subarray(i * encoder.d, (i + 1) * encoder.d)).toEqual(alone);
        }
      }),
      { numRuns: 15 },
    );
  });

  it('reads no further than n images of a tensor kept larger', async () => {
    const encoder = createDescriptor();
    const image = draw((x, y) => [4 * x, 4 * y, 90]);
    const padded = concatenate([image, new Uint8Array(IMAGE_BYTES).fill(77)]);
    expect(await encoder.encode(padded, 1)).toEqual(await encoder.encode(image, 1));
  });

  it('gives the mirror image the same vector but for rounding', async () => {
    await fc.assert(
      fc.asyncProperty(images, async (image) => {
        const encoder = createDescriptor();
        const vectors = await encoder.encode(concatenate([image, mirrored(image)]), 2);
        for (let c = 0; c < encoder.d; c++) expect(Math.abs(vectors[c]! - vectors[encoder.d + c]!)).toBeLessThan(2e-3);
        expect(cosine(vectors, encoder.d, 0, 1)).toBeGreaterThan(0.99999);
      }),
      { numRuns: 15 },
    );
  });

  it('is finite and of one length for every image, one of a single colour too, and tells such apart', async () => {
    const encoder = createDescriptor();
    await fc.assert(
      fc.asyncProperty(fc.oneof(images, fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255)).map((colour) => draw(() => colour))), async (image) => {
        const vector = await encoder.encode(image, 1);
        expect(vector.every(Number.isFinite)).toBe(true);
        expect(squares(vector)).toBeCloseTo(1.3, 4);
      }),
      { numRuns: 40 },
    );
    const colours = [draw(() => [255, 255, 255]), draw(() => [0, 0, 0]), draw(() => [200, 30, 30]), draw(() => [30, 30, 200])];
    const vectors = await encoder.encode(concatenate(colours), colours.length);
    for (let i = 0; i < colours.length; i++) {
      for (let j = 0; j < i; j++) expect(cosine(vectors, encoder.d, i, j)).toBeLessThan(0.99);
    }
  });

  it('refuses float tensors and short ones', async () => {
    const encoder = createDescriptor();
    await expect(encoder.encode(new Float32Array(IMAGE_BYTES), 1)).rejects.toThrow('uint8');
    await expect(encoder.encode(new Uint8Array(IMAGE_BYTES), 2)).rejects.toThrow('Expected 2 images');
  });

  it('finds the kind of drawing among noisy ones that differ in colour, orientation or place', async () => {
    const warm = [220, 120, 40];
    const cold = [40, 90, 200];
    // Pairs differ in one respect only.
    const kinds: ((x: number, y: number, shift: number) => readonly number[])[] = [
      (x, _, shift) => (Math.sin((x + shift) / 2) > 0 ? warm : [20, 20, 20]),
      (_, y, shift) => (Math.sin((y + shift) / 2) > 0 ? warm : [20, 20, 20]),
      (x, _, shift) => (Math.sin((x + shift) / 2) > 0 ? cold : [20, 20, 20]),
      (x, y, shift) => ((x - 32) ** 2 + (y - 18 - shift) ** 2 < 150 ? warm : [90, 90, 90]),
      (x, y, shift) => ((x - 32) ** 2 + (y - 42 - shift) ** 2 < 150 ? warm : [90, 90, 90]),
      (x, y, shift) => [3 * y + shift, 3 * y, 60 + x / 8],
      (x, y, shift) => [190 - 3 * y + shift, 190 - 3 * y, 60 + x / 8],
    ];
    const perKind = 8;
    const stream = randomStream(5, 'drawings');
    let at = 0;
    const drawings = kinds.flatMap((kind) =>
      Array.from({ length: perKind }, () => {
        const shift = stream.below(at++, 6);
        const light = 30 * (stream.uniform(at++) - 0.5);
        return draw((x, y) => kind(x, y, shift).map((value) => value + light + 25 * (stream.uniform(at++) - 0.5)) as [number, number, number]);
      }),
    );
    const encoder = createDescriptor();
    const vectors = await encoder.encode(concatenate(drawings), drawings.length);
    for (let i = 0; i < drawings.length; i++) {
      expect(Math.floor(nearest(vectors, encoder.d, i, drawings.length) / perKind), `drawing ${i}`).toBe(Math.floor(i / perKind));
    }
  });
});

describe.skipIf(skipped !== null)(`descriptor on photographs${skipped === null ? '' : ` (${skipped})`}`, () => {
  const encoder = createDescriptor();

  async function encodeFiles(files: readonly Uint8Array[]): Promise<Float32Array> {
    const tensor = new Uint8Array(files.length * IMAGE_BYTES);
    for (let i = 0; i < files.length; i++) {
      const decoded = await decodeImage(files[i]!, encoder.preprocess, DEFAULT_DECODE_LIMITS);
      if (decoded.status !== 'ok') throw new Error(`Expected image ${i} to decode, got ${decoded.status}`);
      tensor.set(decoded.pixels, i * IMAGE_BYTES);
    }
    return encoder.encode(tensor, files.length);
  }

  it('finds a flower of the same kind next to at least 0.60 of 1,000, and a copy next to its original', async () => {
    const folders = readdirSync(`${sharedData}/raw`).sort();
    const labels: number[] = [];
    const files: Uint8Array[] = [];
    folders.forEach((folder, label) => {
      for (const name of readdirSync(`${sharedData}/raw/${folder}`).sort()) {
        labels.push(label);
        files.push(readFileSync(`${sharedData}/raw/${folder}/${name}`));
      }
    });
    const n = files.length;
    const originals = Array.from({ length: 40 }, (_, i) => 25 * i);
    const copies = await Promise.all(originals.map((i) => sharp(files[i]).resize(77, 77).jpeg({ quality: 50 }).toBuffer()));
    const vectors = await encodeFiles([...files, ...copies]);

    let same = 0;
    for (let i = 0; i < n; i++) if (labels[nearest(vectors, encoder.d, i, n)] === labels[i]) same++;
    expect(n).toBe(1000);
    expect(same / n).toBeGreaterThanOrEqual(0.6);
    originals.forEach((original, i) => expect(nearest(vectors, encoder.d, n + i, n)).toBe(original));
  });
});
