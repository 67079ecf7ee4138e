/** Colours of the demo pictures: sRGB triples in 0 … 1, mixed in sRGB. */
import type { Dice } from './dice.ts';

export type Colour = readonly [red: number, green: number, blue: number];

/** Hue in degrees (any real number), saturation and lightness in 0 … 1 (CSS Color 4, section 7.1). */
export function hsl(hue: number, saturation: number, lightness: number): Colour {
  const a = saturation * Math.min(lightness, 1 - lightness);
  return [channel(hue, 0, a, lightness), channel(hue, 8, a, lightness), channel(hue, 4, a, lightness)];
}

function channel(hue: number, n: number, a: number, lightness: number): number {
  const k = n + hue / 30;
  const turned = k - 12 * Math.floor(k / 12);
  return lightness - a * Math.max(-1, Math.min(turned - 3, 9 - turned, 1));
}

/** A colour near (hue, saturation, lightness): hue ± `spread` degrees, the other two ± 0.08. */
export function near(dice: Dice, hue: number, saturation: number, lightness: number, spread = 12): Colour {
  return hsl(
    hue + dice.between(-spread, spread),
    clampUnit(saturation + dice.between(-0.08, 0.08)),
    clampUnit(lightness + dice.between(-0.08, 0.08)),
  );
}

/** `a` at t = 0, `b` at t = 1. */
export function mix(a: Colour, b: Colour, t: number): Colour {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
}

function clampUnit(value: number): number {
  return Math.max(0, Math.min(1, value));
}
