/** Concepts made of natural materials: stone, hide, water, cloud. */
import type { Colour } from './colour.ts';
import { hsl, mix, near } from './colour.ts';
import type { Concept, Scene } from './scene.ts';
import { cover, edge, paint } from './scene.ts';

const ANY = Math.PI;

export const MATERIALS: readonly Concept[] = [
  { name: 'marble', draw: drawMarble },
  { name: 'grey-cracks', draw: drawCracks },
  { name: 'lava', draw: drawLava },
  { name: 'giraffe-hide', draw: drawGiraffe },
  { name: 'leopard-spots', draw: drawLeopard },
  { name: 'pebbles', draw: drawPebbles },
  { name: 'contour-map', draw: drawContours },
  { name: 'camouflage', draw: drawCamouflage },
  { name: 'rust', draw: drawRust },
  { name: 'sand-dunes', draw: drawDunes },
  { name: 'pool-water', draw: drawPool },
  { name: 'grass', draw: drawGrass },
  { name: 'tv-static', draw: drawStatic },
  { name: 'clouds', draw: drawClouds },
  { name: 'nebula', draw: drawNebula },
];

function drawMarble(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(0, 360);
  const dark = dice.chance(0.3);
  const [stone, vein] = dark ? [hsl(hue, 0.15, 0.14), hsl(45, 0.3, 0.8)] : [hsl(hue, 0.15, 0.9), hsl(hue, 0.2, 0.35)];
  const [rate, bend] = [dice.between(1, 2), dice.between(3, 6)];
  cover(scene, { zoom: [0.7, 1.4], turn: ANY }, (x, y, out) => {
    const cloud = noise.fractal(x * 1.6, y * 1.6, 4);
    const line = Math.abs(Math.sin(x * rate + bend * cloud));
    const thin = Math.abs(noise.fractal(x * 2.5, y * 2.5, 3, 6) - 0.5);
    paint(out, mix(stone, vein, 0.25 * cloud + 0.75 * Math.max(0, 1 - line * 7) + 0.4 * Math.max(0, 1 - thin * 30)));
  });
}

function drawCracks(scene: Scene): void {
  const { dice, noise } = scene;
  const ground = hsl(dice.between(20, 50), dice.between(0, 0.12), dice.between(0.5, 0.75));
  const size = dice.between(1.8, 3.2);
  const width = dice.between(0.03, 0.07);
  cover(scene, { zoom: [0.7, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const wobble = noise.fractal(x * 5, y * 5, 2, 5);
    noise.cell(x * size + 0.5 * wobble, y * size + 0.5 * wobble);
    const gap = noise.second - noise.nearest;
    const tone = 0.75 + 0.2 * noise.cellValue + 0.25 * (noise.fractal(x * 14, y * 14, 2, 7) - 0.5);
    paint(out, mix([0.1, 0.09, 0.08], mix([0, 0, 0], ground, Math.min(1, tone + 0.1)), edge((gap - width - 0.08 * wobble) / size, pixel * 1.5)));
  });
}

function drawLava(scene: Scene): void {
  const { dice, noise } = scene;
  const size = dice.between(1.6, 2.8);
  const glow = dice.between(0.25, 0.45);
  cover(scene, { zoom: [0.7, 1.3], turn: ANY }, (x, y, out) => {
    const wobble = noise.fractal(x * 3, y * 3, 3, 5);
    noise.cell(x * size + 0.9 * wobble, y * size + 0.9 * wobble);
    const heat = Math.max(0, 1 - (noise.second - noise.nearest) / glow);
    const rock = 0.05 + 0.12 * noise.fractal(x * 9, y * 9, 2, 8);
    paint(out, [rock, rock * 0.9, rock * 0.9]);
    paint(out, hsl(8 + 42 * heat, 1, 0.25 + 0.35 * heat), Math.min(1, heat * 1.6));
  });
}

function drawGiraffe(scene: Scene): void {
  const { dice, noise } = scene;
  const [pale, patch] = [near(dice, 42, 0.5, 0.8, 6), near(dice, 26, 0.6, 0.34, 6)];
  const size = dice.between(1.6, 2.6);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const wobble = noise.fractal(x * 4, y * 4, 2, 5) * 0.3;
    noise.cell(x * size + wobble, y * size - wobble, 0.8);
    const tone = mix(patch, pale, 0.25 * noise.nearest);
    paint(out, mix(pale, tone, edge((noise.second - noise.nearest - 0.16) / size, pixel * 1.5)));
  });
}

function drawLeopard(scene: Scene): void {
  const { dice, noise } = scene;
  const fur = near(dice, 36, 0.65, 0.62, 6);
  const heart = near(dice, 28, 0.6, 0.42, 6);
  const size = dice.between(2.6, 4.2);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const wobble = noise.fractal(x * 6, y * 6, 2, 5) * 0.7;
    noise.cell(x * size + wobble, y * size + wobble, 0.7);
    const radius = noise.nearest;
    paint(out, mix(fur, heart, edge((0.26 - radius) / size, pixel * 2)));
    const broken = noise.value(x * size * 2.2, y * size * 2.2, 8) > 0.36;
    if (broken) paint(out, [0.1, 0.07, 0.05], edge((0.1 - Math.abs(radius - 0.3)) / size, pixel));
  });
}

function drawPebbles(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(15, 60);
  const size = dice.between(2, 3.6);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out, pixel) => {
    noise.cell(x * size, y * size, 0.85);
    const value = noise.cellValue;
    const dome = Math.max(0, 1 - noise.nearest * 1.1);
    const stone = hsl(hue + 170 * (value > 0.8 ? 1 : 0), 0.06 + 0.2 * ((value * 7) % 1), (0.35 + 0.45 * ((value * 13) % 1)) * (0.55 + 0.6 * dome));
    paint(out, mix([0.09, 0.08, 0.07], stone, edge((noise.second - noise.nearest - 0.14) / size, pixel * 2)));
  });
}

function drawContours(scene: Scene): void {
  const { dice, noise } = scene;
  const green = dice.chance(0.5);
  const [low, high] = green ? [near(dice, 100, 0.35, 0.82), near(dice, 45, 0.4, 0.8)] : [near(dice, 45, 0.3, 0.92), near(dice, 40, 0.35, 0.86)];
  const ink = near(dice, 22, 0.55, 0.38);
  const rate = dice.between(0.8, 1.3);
  const levels = dice.integer(9, 15);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out) => {
    const height = noise.fractal(x * rate, y * rate, 2) * levels;
    const step = 0.02;
    const right = noise.fractal(x * rate + step, y * rate, 2) * levels;
    const below = noise.fractal(x * rate, y * rate + step, 2) * levels;
    const slope = Math.abs(right - height) + Math.abs(below - height);
    const line = Math.abs(height - Math.round(height)) / (slope + 0.05);
    paint(out, mix(low, high, height / levels));
    paint(out, ink, Math.max(0, Math.min(1, (Math.round(height) % 5 === 0 ? 1.6 : 1) - line)));
  });
}

function drawCamouflage(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.choose([95, 80]) + dice.between(-8, 8);
  const colours: Colour[] = [
    near(dice, hue, 0.3, 0.45),
    near(dice, hue - 45, 0.35, 0.28),
    near(dice, hue + 10, 0.25, 0.24),
    near(dice, 45, 0.3, 0.64),
  ];
  const rate = dice.between(1.2, 2);
  cover(scene, { zoom: [0.7, 1.3], turn: ANY }, (x, y, out) => {
    paint(out, colours[0]!);
    for (let i = 1; i < 4; i++) {
      const patch = noise.fractal(x * rate + 7 * i, y * rate * 1.4, 3, 4 * i) - 0.53;
      paint(out, colours[i]!, Math.max(0, Math.min(1, patch * 40)));
    }
  });
}

function drawRust(scene: Scene): void {
  const { dice, noise } = scene;
  const paintwork = near(dice, dice.choose([200, 150, 210, 40]), 0.25, 0.5, 20);
  const level = dice.between(0.36, 0.52);
  const rate = dice.between(1.3, 2.4);
  cover(scene, { zoom: [0.8, 1.3], turn: 0.5 }, (x, y, out) => {
    const spread = noise.fractal(x * rate, y * rate * 0.7, 4);
    const fine = noise.fractal(x * 11, y * 11, 3, 6);
    const corroded = Math.max(0, Math.min(1, (spread - level) * 16 + (fine - 0.5) * 2));
    paint(out, mix(paintwork, [0.9, 0.9, 0.9], 0.25 * fine));
    paint(out, hsl(12 + 18 * fine, 0.75, 0.16 + 0.34 * fine), corroded);
  });
}

function drawDunes(scene: Scene): void {
  const { dice, noise } = scene;
  const [lit, shadow] = [near(dice, 38, 0.6, 0.76, 6), near(dice, 26, 0.5, 0.45, 6)];
  const rate = dice.between(11, 20);
  const bend = dice.between(0.5, 1.2);
  cover(scene, { zoom: [0.8, 1.3], turn: 0.6 }, (x, y, out) => {
    const phase = y * rate + 5 * bend * noise.fractal(x * 1.4, y * 0.8, 2);
    const wave = 0.5 + 0.5 * Math.sin(phase + 0.7 * Math.sin(phase));
    const broad = noise.value(x * 0.9, y * 0.9, 6);
    paint(out, mix(shadow, lit, Math.min(1, 0.2 + 0.55 * wave + 0.4 * broad + 0.2 * (noise.at(x * 40, y * 40) - 0.5))));
  });
}

function drawPool(scene: Scene): void {
  const { dice, noise } = scene;
  const [deep, bright] = [near(dice, 196, 0.7, 0.4, 10), near(dice, 188, 0.6, 0.85, 8)];
  const size = dice.between(1.8, 3);
  cover(scene, { zoom: [0.8, 1.4], turn: ANY }, (x, y, out) => {
    const bend = noise.fractal(x * 2, y * 2, 2, 5);
    noise.cell(x * size + bend, y * size * 1.3 - bend);
    const light = Math.max(0, 1 - (noise.second - noise.nearest) * 2.4);
    paint(out, mix(deep, bright, light ** 2 * 0.9 + 0.15 * bend));
  });
}

function drawGrass({ canvas, dice, noise, pen }: Scene): void {
  const hue = dice.between(80, 120);
  const lean = dice.between(-0.25, 0.25);
  const long = dice.between(0.25, 0.55);
  canvas.shade((x, y, out) => paint(out, hsl(hue, 0.5, 0.1 + 0.12 * noise.value(x * 5, y * 5))));
  for (let i = 0; i < 260; i++) {
    const y = -canvas.halfHeight + ((i + 10) / 260) * (2 * canvas.halfHeight + long);
    const x = dice.between(-1.1, 1.1) * canvas.halfWidth;
    const tip = lean + dice.between(-0.18, 0.18);
    const colour = hsl(hue + dice.between(-18, 14), dice.between(0.45, 0.7), dice.between(0.22, 0.5));
    const [bend, top] = [x + tip * 0.4, y - long * dice.between(0.8, 1.2)];
    pen.shape([x - 0.025, y, bend, y - long * 0.6, x + tip, top, bend + 0.03, y - long * 0.55, x + 0.025, y], colour);
  }
}

function drawStatic(scene: Scene): void {
  const { dice, noise } = scene;
  const size = dice.between(24, 44);
  const roll = dice.between(2, 6);
  const tint = dice.chance(0.25) ? dice.between(0.2, 0.5) : 0;
  cover(scene, { zoom: [0.8, 1.2], turn: 0.05 }, (x, y, out) => {
    const [i, j] = [Math.floor(x * size * 0.6), Math.floor(y * size)];
    const bar = 0.7 + 0.3 * Math.sin(y * roll);
    const grey = noise.at(i, j) * bar;
    paint(out, [grey, grey * (1 - tint) + tint * noise.at(i, j, 1), grey * (1 - tint) + tint * noise.at(i, j, 2)]);
  });
}

function drawClouds({ canvas, dice, noise }: Scene): void {
  const [high, low] = [near(dice, 214, 0.6, 0.45, 8), near(dice, 205, 0.6, 0.72, 8)];
  const [rate, level] = [dice.between(0.9, 1.8), dice.between(0.42, 0.54)];
  canvas.shade((x, y, out) => {
    const mass = noise.fractal(x * rate, y * rate * 1.5, 5);
    const lit = noise.fractal(x * rate - 0.1, y * rate * 1.5 - 0.2, 4);
    paint(out, mix(high, low, (y + 1) / 2));
    paint(out, mix([0.66, 0.7, 0.76], [1, 1, 1], Math.min(1, 0.6 + 3 * (mass - lit))), Math.max(0, Math.min(1, (mass - level) * 7)));
  });
}

function drawNebula({ canvas, dice, noise }: Scene): void {
  const hue = dice.between(250, 350);
  const other = hue + dice.choose([-90, 60, 120]);
  const rate = dice.between(0.7, 1.2);
  canvas.shade((x, y, out) => {
    const warp = noise.fractal(x * rate, y * rate, 3);
    const gas = noise.fractal(x * rate + 2 * warp, y * rate, 4, 4);
    const light = Math.max(0, gas - 0.3) ** 1.5 * 2.2;
    paint(out, mix(hsl(hue, 0.8, Math.min(0.85, light)), hsl(other, 0.8, Math.min(0.8, light)), warp));
    const star = noise.at(Math.floor(x * 34), Math.floor(y * 34), 9);
    if (star > 0.985) paint(out, [1, 1, 1], (star - 0.985) * 60);
  });
}
