/** The steps of the descriptor on their own: planes, square roots, covariances and structure. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { COVARIANCE_DIMS, createCovarianceBlock } from '../../src/embed/descriptor-covariance.ts';
import { createPlaneReader, HALF, HALF_STRIDE, SIDE, STRIDE } from '../../src/embed/descriptor-planes.ts';
import { createSquareRoot } from '../../src/embed/descriptor-root.ts';
import { createStructureBlock, STRUCTURE_DIMS } from '../../src/embed/descriptor-structure.ts';
import { randomStream } from '../../src/random.ts';
import { draw, images, squares } from './descriptor-cases.ts';

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
