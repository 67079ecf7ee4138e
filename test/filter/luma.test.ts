import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/embed/decode.ts';
import { DEFAULT_DECODE_LIMITS, inputSize } from '../../src/embed/embedding.ts';
import { FilterConfig } from '../../src/filter/config.ts';
import { type LumaFigures, lumaFault, lumaSpec, measureLuma } from '../../src/filter/luma.ts';
import { noise, picture } from '../fixtures/images.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';

const grey = (values: readonly number[]): Uint8Array => Uint8Array.from(values.flatMap((value) => [value, value, value]));

/** Straight from the definitions, on a padded copy, in another order of operations. */
function slowly(luma: readonly number[], width: number, height: number): { sharpness: number; deviation: number; entropy: number } {
  const at = (x: number, y: number): number => luma[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))]!;
  const laplacian = luma.map((value, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    return at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4 * value;
  });
  const variance = (values: readonly number[]): number => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  };
  const shares = [...new Set(luma)].map((value) => luma.filter((one) => one === value).length / luma.length);
  return { sharpness: variance(laplacian), deviation: Math.sqrt(variance(luma)), entropy: shares.reduce((sum, share) => sum - share * Math.log2(share), 0) };
}

describe('measureLuma', () => {
  it('is the variance of the Laplacian, the standard deviation and the entropy', () => {
    const pictures = fc.integer({ min: 1, max: 9 }).chain((width) => fc.integer({ min: 1, max: 9 }).chain((height) => fc.record({ width: fc.constant(width), height: fc.constant(height), luma: fc.array(fc.integer({ min: 0, max: 255 }), { minLength: width * height, maxLength: width * height }) })));
    fc.assert(
      fc.property(pictures, ({ width, height, luma }) => {
        const found = measureLuma(grey(luma), width, height);
        const expected = slowly(luma, width, height);
        for (const name of ['sharpness', 'deviation', 'entropy'] as const) expect(Math.abs(found[name] - expected[name])).toBeLessThan(1e-6 * (1 + expected[name]));
      }),
    );
  });

  it('is nothing for one tone, one bit for two, and falls as a picture is blurred', () => {
    expect(measureLuma(grey(new Array<number>(64).fill(200)), 8, 8)).toEqual({ sharpness: 0, deviation: 0, entropy: 0 });
    expect(measureLuma(grey(Array.from({ length: 64 }, (_, i) => (i % 2) * 255)), 8, 8)).toMatchObject({ entropy: 1, deviation: 127.5 });
    const { data, width, height } = noise(40, 40);
    const soft = Uint8Array.from(data, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
      let sum = 0;
      for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) sum += data[(Math.min(height - 1, Math.max(0, y + dy)) * width + Math.min(width - 1, Math.max(0, x + dx))) * 3 + (i % 3)]!;
      return sum / 9;
    });
    expect(measureLuma(soft, width, height).sharpness).toBeLessThan(0.1 * measureLuma(data, width, height).sharpness);
  });

  it('weighs colours as Rec. 601 does', () => {
    const of = (r: number, g: number, b: number): number => measureLuma(Uint8Array.of(r, g, b, 0, 0, 0), 2, 1).deviation * 2;
    expect([of(255, 0, 0), of(0, 255, 0), of(0, 0, 255)]).toEqual([76, 150, 29]);
  });
});

describe('lumaSpec', () => {
  it('keeps at most 65,536 pixels and the aspect, and never enlarges', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30_000 }), fc.integer({ min: 1, max: 30_000 }), (width, height) => {
        const size = inputSize(lumaSpec(width, height));
        expect(size.width * size.height).toBeLessThanOrEqual(65_536 * 1.5);
        expect(size.width).toBeLessThanOrEqual(width);
        expect(size.height).toBeLessThanOrEqual(height);
        if (width * height <= 65_536) expect(size).toEqual({ width, height });
      }),
    );
    expect(inputSize(lumaSpec(4000, 3000))).toEqual({ width: 296, height: 222 });
  });
});

describe('lumaFault', () => {
  it('says which figure is too low, and nothing at the limit', () => {
    const { data, width, height } = picture(32, 24);
    const figures = measureLuma(data, width, height);
    const blur = (sharpnessMin: number) => ({ kind: 'blur', name: 'b', identity: {}, blur: { sharpnessMin } }) as const;
    const flat = (deviationMin: number, entropyMin: number) => ({ kind: 'flat', name: 'f', identity: {}, flat: { deviationMin, entropyMin } }) as const;
    expect(lumaFault(blur(figures.sharpness), figures)).toBeNull();
    expect(lumaFault(blur(figures.sharpness + 1), figures)).toMatch(/^sharpness \d+\.\d\d, at least \d/);
    expect(lumaFault(flat(0, 8), figures)).toMatch(/^entropy/);
    expect(lumaFault(flat(128, 8), figures)).toMatch(/^deviation/);
    expect(lumaFault(flat(1, 1), figures)).toBeNull();
  });
});

describe('the limits that rules have by default', () => {
  const blur = { kind: 'blur', name: 'b', identity: {}, blur: FilterConfig.shape.blur.unwrap().parse({}) } as const;
  const flat = { kind: 'flat', name: 'f', identity: {}, flat: FilterConfig.shape.flat.unwrap().parse({}) } as const;
  const figuresOf = async (bytes: Uint8Array): Promise<LumaFigures> => {
    const { width, height } = await sharp(bytes).metadata();
    const spec = lumaSpec(width, height);
    const decoded = await decodeImage(bytes, spec, DEFAULT_DECODE_LIMITS);
    if (decoded.status !== 'ok') throw new Error(decoded.status);
    const size = inputSize(spec);
    return measureLuma(decoded.pixels, size.width, size.height);
  };

  it('spare photographs, and take blurred ones and single colours', async (context) => {
    const reason = withoutSharedData();
    if (reason !== null) return context.skip(reason);
    const root = join(sharedData, 'longtail');
    const classes = (await readdir(root)).sort();
    const count = { sharp: 0, flat: 0, soft: 0 };
    for (const name of classes) {
      const bytes = await readFile(join(root, name, (await readdir(join(root, name))).sort()[0]!));
      const figures = await figuresOf(bytes);
      if (lumaFault(blur, figures) !== null) count.sharp++;
      if (lumaFault(flat, figures) !== null) count.flat++;
      if (lumaFault(blur, await figuresOf(await sharp(bytes).blur(4).png().toBuffer())) !== null) count.soft++;
    }
    expect(classes).toHaveLength(200);
    expect(count.sharp).toBe(0);
    expect(count.flat).toBe(0);
    expect(count.soft).toBeGreaterThan(195);
    const green = await sharp({ create: { width: 300, height: 200, channels: 3, background: '#080' } }).jpeg().toBuffer();
    expect(lumaFault(flat, await figuresOf(green))).toMatch(/^deviation/);
  });
});
