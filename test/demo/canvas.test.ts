import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Canvas } from '../../src/demo/canvas.ts';

const WHITE = [1, 1, 1] as const;
const area = ({ rgb, unit }: Canvas): number => rgb.reduce((sum, value) => sum + value, 0) / 3 / unit ** 2;

describe('Canvas', () => {
  it('fills a polygon with as much ink as its area, clipped to the canvas', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: -0.95, max: 0.95, noNaN: true }), { minLength: 6, maxLength: 6 }), (points) => {
        const canvas = new Canvas(100, 80);
        canvas.polygon(points, WHITE);
        const [ax, ay, bx, by, cx, cy] = points as [number, number, number, number, number, number];
        expect(area(canvas)).toBeCloseTo(Math.abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2, 1);
      }),
      { numRuns: 60 },
    );
    const canvas = new Canvas(100, 80);
    canvas.polygon([-9, -9, 9, -9, 9, 9, -9, 9], WHITE, 0.5);
    expect(area(canvas)).toBeCloseTo(0.5 * 4 * (100 / 80), 6);
  });

  it('leaves a hole where an outline covers a place twice', () => {
    const canvas = new Canvas(64, 64);
    canvas.polygon([-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9, -0.9, -0.9, -0.4, -0.4, -0.4, 0.4, 0.4, 0.4, 0.4, -0.4, -0.4, -0.4], WHITE);
    expect(area(canvas)).toBeCloseTo(1.8 ** 2 - 0.8 ** 2, 1);
  });

  it('draws discs and thick lines with the right area', () => {
    const disc = new Canvas(100, 100);
    disc.capsule(0.1, 0, 0.1, 0, 0.5, WHITE);
    expect(area(disc)).toBeCloseTo(Math.PI * 0.25, 1);
    const line = new Canvas(100, 100);
    line.capsule(-0.5, -0.3, 0.5, 0.3, 0.2, WHITE);
    expect(area(line)).toBeCloseTo(Math.hypot(1, 0.6) * 0.4 + Math.PI * 0.04, 1);
  });

  it('counts units from the centre, the short side from −1 to 1', () => {
    const canvas = new Canvas(120, 96);
    const seen: number[] = [];
    canvas.shade((x, y) => seen.push(x, y));
    expect(seen).toHaveLength(2 * 120 * 96);
    expect([seen[0], seen[1]]).toEqual([-59.5 / 48, -47.5 / 48]);
    expect([canvas.halfWidth, canvas.halfHeight]).toEqual([1.25, 1]);
  });
});
