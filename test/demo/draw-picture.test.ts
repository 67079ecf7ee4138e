import { describe, expect, it } from 'vitest';
import { CONCEPTS } from '../../src/demo/concepts.ts';
import { drawPicture, drawTables } from '../../src/demo/draw-picture.ts';

describe('drawPicture', () => {
  const tables = drawTables(3);
  const again = drawTables(3);

  it.each(CONCEPTS.map((concept, i) => [concept.name, concept, i] as const))('draws %s: same bytes again, other bytes for another index, no flat picture', (_, concept, i) => {
    const first = drawPicture(tables, i, concept);
    const second = drawPicture(again, i, concept);
    expect([second.width, second.height]).toEqual([first.width, first.height]);
    expect(Buffer.compare(second.rgb, first.rgb)).toBe(0);
    expect(Buffer.compare(drawPicture(tables, i + 1_000, concept).rgb, first.rgb)).not.toBe(0);
    expect(first.rgb).toHaveLength(3 * first.width * first.height);
    const mean = first.rgb.reduce((sum, value) => sum + value, 0) / first.rgb.length;
    const deviation = Math.sqrt(first.rgb.reduce((sum, value) => sum + (value - mean) ** 2, 0) / first.rgb.length);
    expect(deviation).toBeGreaterThan(10);
  });

  it('is more alike within a concept than between concepts', () => {
    // Mean colour of a 4 × 4 grid: crude on purpose, so the margin is small, but it has to be there.
    const describePicture = (index: number, concept: number): Float64Array => {
      const { width, height, rgb } = drawPicture(tables, index, CONCEPTS[concept]!);
      const cells = new Float64Array(48);
      for (let i = 0; i < width * height; i++) {
        const cell = Math.floor((4 * Math.floor(i / width)) / height) * 4 + Math.floor((4 * (i % width)) / width);
        for (let channel = 0; channel < 3; channel++) cells[3 * cell + channel]! += (16 * rgb[3 * i + channel]!) / (width * height);
      }
      return cells;
    };
    const vectors = CONCEPTS.flatMap((_, concept) => Array.from({ length: 4 }, (_unused, i) => ({ concept, cells: describePicture(concept * 100 + i, concept) })));
    let [inside, insideCount, across, acrossCount] = [0, 0, 0, 0];
    for (const a of vectors) {
      for (const b of vectors) {
        if (a === b) continue;
        const distance = Math.sqrt(a.cells.reduce((sum, value, i) => sum + (value - b.cells[i]!) ** 2, 0));
        if (a.concept === b.concept) [inside, insideCount] = [inside + distance, insideCount + 1];
        else [across, acrossCount] = [across + distance, acrossCount + 1];
      }
    }
    expect(inside / insideCount).toBeLessThan(0.75 * (across / acrossCount));
  });
});
