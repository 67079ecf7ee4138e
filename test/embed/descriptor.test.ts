import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage, DEFAULT_DECODE_LIMITS } from '../../src/embed/decode.ts';
import { createDescriptor } from '../../src/embed/descriptor.ts';
import { COVARIANCE_DIMS, createCovarianceBlock } from '../../src/embed/descriptor-covariance.ts';
import { createPlaneReader, HALF, HALF_STRIDE, SIDE, STRIDE } from '../../src/embed/descriptor-planes.ts';
import { createSquareRoot } from '../../src/embed/descriptor-root.ts';
import { createStructureBlock, STRUCTURE_DIMS } from '../../src/embed/descriptor-structure.ts';
import { inputSize } from '../../src/embed/embedding.ts';
import { randomStream } from '../../src/random.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';

const IMAGE_BYTES = 3 * SIDE * SIDE;
const skipped = withoutSharedData();

/** An image from a function of its pixel: red, green, blue of any range, clamped to bytes. */
function draw(colour: (x: number, y: number) => readonly [number, number, number]): Uint8Array {
  const out = new Uint8ClampedArray(IMAGE_BYTES);
  for (let i = 0; i < SIDE * SIDE; i++) out.set(colour(i % SIDE, Math.floor(i / SIDE)), 3 * i);
  return new Uint8Array(out.buffer);
}

/** Any image from plain noise to a smooth wave, with every byte value possible. */
const images = fc.record({ seed: fc.nat(), noise: fc.integer({ min: 0, max: 300 }), period: fc.integer({ min: 1, max: 90 }) }).map(({ seed, noise, period }) => {
  const stream = randomStream(seed, 'image');
  const wave = (i: number, c: number) => 128 + 100 * Math.sin((i * (c + 1)) / period + seed * c);
  let at = 0;
  return draw((x, y) => [wave(x, 0) + noise * (stream.uniform(at++) - 0.5), wave(y, 1) + noise * (stream.uniform(at++) - 0.5), wave(x + y, 2)]);
});

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

function squares(vector: Float32Array): number {
  return vector.reduce((sum, value) => sum + value * value, 0);
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

describe('createPlaneReader', () => {
  it('gives the L*a*b* that colour science gives', () => {
    const known: [readonly [number, number, number], readonly [number, number, number]][] = [
      [[255, 255, 255], [100, 0, 0]],
      [[0, 0, 0], [0, 0, 0]],
      [[255, 0, 0], [53.24, 80.09, 67.2]],
      [[0, 255, 0], [87.73, -86.18, 83.18]],
      [[0, 0, 255], [32.3, 79.19, -107.86]],
      [[119, 119, 119], [50.03, 0, 0]],
    ];
    const read = createPlaneReader();
    for (const [rgb, [l, a, b]] of known) {
      const planes = read(draw(() => rgb), 0);
      for (const i of [0, STRIDE + 1, STRIDE * STRIDE - 1]) expect(Math.abs(planes.lightness[i]! - l)).toBeLessThan(0.3);
      for (const i of [0, HALF_STRIDE + 1, HALF_STRIDE * HALF_STRIDE - 1]) {
        expect(Math.abs(planes.halfLightness[i]! - l)).toBeLessThan(0.3);
        expect(Math.abs(planes.halfA[i]! - a)).toBeLessThan(0.5);
        expect(Math.abs(planes.halfB[i]! - b)).toBeLessThan(0.5);
      }
    }
  });
});

describe('createSquareRoot', () => {
  it('gives the root whose square is the matrix, of full rank or not', () => {
    const order = 9;
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 12 }), fc.integer({ min: -6, max: 6 }), (seed, rank, exponent) => {
        const stream = randomStream(seed, 'matrix');
        const matrix = new Float64Array(order * order);
        for (let r = 0; r < rank; r++) {
          for (let u = 0; u < order; u++) {
            for (let v = 0; v < order; v++) matrix[u * order + v]! += 10 ** exponent * stream.normal(r * order + u) * stream.normal(r * order + v);
          }
        }
        const root = new Float64Array(order * order);
        createSquareRoot(order)(matrix, root);
        const trace = matrix.reduce((sum, value, i) => sum + (i % (order + 1) === 0 ? value : 0), 0);
        for (let u = 0; u < order; u++) {
          for (let v = 0; v < order; v++) {
            let product = 0;
            for (let t = 0; t < order; t++) product += root[u * order + t]! * root[t * order + v]!;
            expect(Math.abs(product - matrix[u * order + v]!)).toBeLessThan(1e-7 * trace);
            expect(root[u * order + v]).toBe(root[v * order + u]);
          }
          expect(root[u * order + u]).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });

  it('has no root of nothing but zeros', () => {
    const out = new Float64Array(9).fill(5);
    createSquareRoot(3)(new Float64Array(9), out);
    expect([...out]).toEqual(new Array(9).fill(0));
  });
});

describe('createCovarianceBlock', () => {
  it('squares to covariances: those of L*, a* and b* stand to each other as a two-pass sum over the pixels says', () => {
    const order = 23;
    fc.assert(
      fc.property(images, (image) => {
        const planes = createPlaneReader()(image, 0);
        const block = new Float32Array(COVARIANCE_DIMS);
        createCovarianceBlock()(planes, block, 0);
        const root = unpack(block, order);
        const last = order - 1;
        // 0.3 times the mean of a quantity stands beside the constant, whose own entry is 1 before the block is scaled.
        const product = (u: number, v: number) => root[u]!.reduce((sum, value, t) => sum + value * root[t]![v]!, 0) / root[last]!.reduce((sum, value) => sum + value * value, 0);
        const colours = [planes.halfLightness, planes.halfA, planes.halfB];
        const divisors = [25, 11, 11];
        for (let u = 0; u < 3; u++) {
          expect(product(3 + u, last)).toBeCloseTo((0.3 * meanOf(colours[u]!)) / divisors[u]!, 3);
          for (let v = 0; v < 3; v++) {
            const covariance = covarianceOf(colours[u]!, colours[v]!) + 0.09 * meanOf(colours[u]!) * meanOf(colours[v]!);
            expect(product(3 + u, 3 + v)).toBeCloseTo(covariance / divisors[u]! / divisors[v]!, 2);
          }
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe('createStructureBlock', () => {
  const block = (image: Uint8Array) => {
    const out = new Float32Array(STRUCTURE_DIMS + 2).fill(9);
    createStructureBlock()(createPlaneReader()(image, 0), out, 1);
    expect([out[0], out[STRUCTURE_DIMS + 1]]).toEqual([9, 9]);
    return out.subarray(1, STRUCTURE_DIMS + 1);
  };
  /** Shares of the first nine classes (flat, then slopes by octant from +x to +y) in the outer thirds of a row. */
  const outer = (image: Uint8Array, row: number) => [...block(image).subarray(40 * row, 40 * row + 9)].map((value) => Math.round(value * value * SIDE * SIDE));

  it('counts an image of one colour as flat everywhere', () => {
    const shares = block(draw(() => [10, 200, 90]));
    const pixels = [...shares].map((value) => Math.round(value * value * SIDE * SIDE));
    const rows = [21, 22, 21];
    const expected = new Array<number>(STRUCTURE_DIMS).fill(0);
    rows.forEach((height, row) => {
      expected[40 * row] = 42 * height;
      expected[40 * row + 23] = 22 * height;
    });
    expect(pixels).toEqual(expected);
  });

  it('counts a ramp as a slope of the octant it rises to', () => {
    // 10 bytes a row over the rows of the middle third: 2.5 to 5 units of L*, above what counts as flat.
    const grey = (value: number) => [value, value, value] as const;
    expect(outer(draw((_, y) => grey(10 * (y - 20))), 1)[3]).toBe(42 * 22);
    expect(outer(draw((_, y) => grey(255 - 10 * (y - 20))), 1)[7]).toBe(42 * 22);
    // Rising to the lower right: in the folded right third, to the lower left.
    const diagonal = outer(draw((x, y) => grey(7 * (x + y - 46))), 1);
    expect(Math.min(diagonal[2]!, diagonal[4]!)).toBeGreaterThan(120);
    expect([1, 3, 5, 6, 7, 8].map((octant) => diagonal[octant])).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('folds the right third onto the left, mirrored', () => {
    const grey = (value: number) => [value, value, value] as const;
    const left = outer(draw((x) => grey(12 * x)), 1);
    expect(left[1]).toBeGreaterThan(18 * 22);
    expect(left[5]).toBe(0);
    const right = outer(draw((x) => grey(12 * (x - 43))), 1);
    expect(right[5]).toBeGreaterThan(18 * 22);
    expect(right[1]).toBe(0);
  });

  it('has shares that add up to one', () => {
    fc.assert(
      fc.property(images, (image) => {
        expect(squares(block(image))).toBeCloseTo(1, 5);
      }),
      { numRuns: 15 },
    );
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

/** The symmetric matrix whose upper triangle a block holds, rows of it, √2 off the diagonal undone. */
function unpack(block: Float32Array, order: number): number[][] {
  const rows = Array.from({ length: order }, () => new Array<number>(order).fill(0));
  let at = 0;
  for (let u = 0; u < order; u++) {
    for (let v = u; v < order; v++) {
      const value = block[at++]! / (u === v ? 1 : Math.SQRT2);
      rows[u]![v] = value;
      rows[v]![u] = value;
    }
  }
  return rows;
}

/** The HALF × HALF pixels of a padded plane. */
function pixelsOf(plane: Float32Array): number[] {
  return Array.from({ length: HALF * HALF }, (_, i) => plane[(Math.floor(i / HALF) + 1) * HALF_STRIDE + (i % HALF) + 1]!);
}

function meanOf(plane: Float32Array): number {
  return pixelsOf(plane).reduce((sum, value) => sum + value, 0) / (HALF * HALF);
}

function covarianceOf(a: Float32Array, b: Float32Array): number {
  const second = pixelsOf(b);
  const meanA = meanOf(a);
  const meanB = meanOf(b);
  return pixelsOf(a).reduce((sum, value, i) => sum + (value - meanA) * (second[i]! - meanB), 0) / (HALF * HALF);
}
