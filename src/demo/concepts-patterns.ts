/** Concepts made of repeated shapes: stripes, dots and weaves. */
import { hsl, mix, near } from './colour.ts';
import type { Concept, Scene } from './scene.ts';
import { cover, edge, paint, stripe } from './scene.ts';

const UPRIGHT = 0.2;
const ANY = Math.PI;

export const PATTERNS: readonly Concept[] = [
  { name: 'blue-stripes', draw: (scene) => drawStripes(scene, 215, 25) },
  { name: 'candy-stripes', draw: (scene) => drawStripes(scene, 355, 8) },
  { name: 'zebra-stripes', draw: drawZebra },
  { name: 'checkerboard', draw: drawCheckerboard },
  { name: 'tartan', draw: drawTartan },
  { name: 'argyle', draw: drawArgyle },
  { name: 'polka-dots', draw: drawPolkaDots },
  { name: 'halftone', draw: drawHalftone },
  { name: 'chevrons', draw: drawChevrons },
  { name: 'red-rings', draw: drawRings },
  { name: 'sunburst', draw: drawSunburst },
  { name: 'purple-spirals', draw: drawSpirals },
  { name: 'basket-weave', draw: drawBasket },
  { name: 'knitted-wool', draw: drawKnit },
  { name: 'pixel-mosaic', draw: drawMosaic },
];

function drawStripes(scene: Scene, hue: number, spread: number): void {
  const { dice } = scene;
  const dark = near(dice, hue, 0.75, 0.42, spread);
  const light = hue === 355 ? near(dice, 20, 0.3, 0.93) : near(dice, hue - 10, 0.5, 0.82, spread);
  const period = dice.between(0.2, 0.5);
  const share = dice.between(0.3, 0.65);
  const [wave, length] = [dice.chance(0.5) ? dice.between(0.03, 0.12) : 0, dice.between(2, 5)];
  const thin = dice.chance(0.35);
  cover(scene, { zoom: [0.7, 1.4], turn: ANY }, (x, y, out, pixel) => {
    const at = x + wave * Math.sin(y * length);
    paint(out, mix(light, dark, stripe(at, period, share, pixel)));
    if (thin) paint(out, dark, stripe(at + period / 2, period, 0.08, pixel));
  });
}

function drawZebra(scene: Scene): void {
  const { dice, noise } = scene;
  const light = near(dice, 40, 0.2, 0.92);
  const dark = near(dice, 20, 0.15, 0.1);
  const period = dice.between(0.3, 0.5);
  const bend = dice.between(0.5, 1.1);
  cover(scene, { zoom: [0.8, 1.4], turn: ANY }, (x, y, out, pixel) => {
    const warp = bend * noise.fractal(x * 1.3, y * 1.3, 2);
    const share = 0.3 + 0.45 * noise.value(x * 2, y * 2, 5);
    paint(out, mix(light, dark, stripe(x + warp, period, share, pixel)));
  });
}

function drawCheckerboard(scene: Scene): void {
  const { dice } = scene;
  const hue = dice.between(0, 360);
  const dark = near(dice, hue, dice.between(0, 0.7), 0.2);
  const light = near(dice, hue + dice.between(-60, 60), dice.between(0, 0.5), 0.86);
  const side = dice.between(0.2, 0.42);
  const tilt = dice.chance(0.4) ? dice.between(0.1, 0.35) : 0;
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const depth = 1 / (1 + tilt * y);
    const a = stripe(x * depth, 2 * side, 0.5, pixel) * 2 - 1;
    const b = stripe(y * depth, 2 * side, 0.5, pixel) * 2 - 1;
    paint(out, mix(dark, light, 0.5 + 0.5 * a * b));
  });
}

function drawTartan(scene: Scene): void {
  const { dice } = scene;
  const hue = dice.choose([0, 0, 130, 215]) + dice.between(-15, 15);
  const ground = hsl(hue, 0.6, dice.between(0.3, 0.45));
  const bands = [
    { period: 0.8, share: dice.between(0.3, 0.45), phase: 0, colour: near(dice, hue + dice.choose([120, 180, 240]), 0.5, 0.15) },
    { period: 0.8, share: 0.06, phase: dice.between(0.1, 0.3), colour: near(dice, 50, 0.7, 0.75) },
    { period: 0.8, share: 0.04, phase: 0.4, colour: near(dice, 0, 0, 0.9) },
  ];
  cover(scene, { zoom: [0.7, 1.3], turn: dice.chance(0.3) ? 0.9 : UPRIGHT }, (x, y, out, pixel) => {
    paint(out, ground);
    const twill = stripe(x + y, 0.06, 0.5, pixel);
    for (const { period, share, phase, colour } of bands) {
      paint(out, colour, stripe(x + phase, period, share, pixel) * (0.35 + 0.4 * twill));
      paint(out, colour, stripe(y + phase, period, share, pixel) * (0.75 - 0.4 * twill));
    }
  });
}

function drawArgyle(scene: Scene): void {
  const { dice } = scene;
  const hue = dice.between(0, 360);
  const [a, b, c] = [near(dice, hue, 0.4, 0.3), near(dice, hue + 150, 0.45, 0.6), near(dice, 40, 0.3, 0.88)];
  const tall = dice.between(1.3, 2);
  const side = dice.between(0.4, 0.7);
  cover(scene, { zoom: [0.8, 1.3], turn: UPRIGHT }, (x, y, out, pixel) => {
    const u = (x + y / tall) / side;
    const v = (x - y / tall) / side;
    const [i, j] = [Math.floor(u), Math.floor(v)];
    paint(out, (i + j) & 1 ? a : i & 1 ? b : c);
    const dash = 0.5 * pixel + 0.015;
    const line = Math.min(Math.abs(u - i - 0.5), Math.abs(v - j - 0.5)) * side * 0.8;
    paint(out, c, 0.8 * edge(dash - line, pixel));
  });
}

function drawPolkaDots(scene: Scene): void {
  const { dice } = scene;
  const hue = dice.between(0, 360);
  const swap = dice.chance(0.5);
  const [strong, pale] = [near(dice, hue, 0.65, 0.5), near(dice, hue + dice.between(-30, 30), 0.3, 0.92)];
  const step = dice.between(0.3, 0.55);
  const radius = step * dice.between(0.22, 0.36);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const row = Math.floor(y / step);
    const u = x / step + (row & 1) / 2;
    const distance = Math.hypot(u - Math.floor(u) - 0.5, y / step - row - 0.5) * step;
    paint(out, mix(swap ? strong : pale, swap ? pale : strong, edge(radius - distance, pixel)));
  });
}

function drawHalftone(scene: Scene): void {
  const { dice } = scene;
  const ink = dice.choose([hsl(0, 0, 0.08), hsl(220, 0.6, 0.2), hsl(330, 0.8, 0.35)]);
  const paper = near(dice, 50, 0.4, 0.9, 20);
  const step = dice.between(0.11, 0.17);
  const [dx, dy] = [dice.between(-0.7, 0.7), dice.between(-0.7, 0.7)];
  const round = dice.chance(0.5);
  cover(scene, { zoom: [0.9, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const [u, v] = [(x + y) / step, (x - y) / step];
    const tone = round ? Math.hypot(x - dx, y - dy) * 0.75 : 0.5 + x * dx + y * dy;
    const distance = Math.hypot(u - Math.floor(u) - 0.5, v - Math.floor(v) - 0.5) * step * 0.7;
    paint(out, mix(paper, ink, edge(Math.max(0.02, Math.min(1, tone)) * step * 0.48 - distance, pixel)));
  });
}

function drawChevrons(scene: Scene): void {
  const { dice } = scene;
  const hue = dice.between(0, 360);
  const colours = [near(dice, hue, 0.6, 0.45), near(dice, hue + 40, 0.5, 0.9), near(dice, hue + 200, 0.55, 0.5), near(dice, hue + 40, 0.5, 0.9)];
  const [width, height] = [dice.between(0.4, 0.8), dice.between(0.16, 0.3)];
  const slope = dice.between(0.6, 1.1);
  cover(scene, { zoom: [0.8, 1.3], turn: dice.chance(0.4) ? ANY : UPRIGHT }, (x, y, out, pixel) => {
    const fold = Math.abs(x / width - Math.floor(x / width) - 0.5) * width * 2 * slope;
    const t = (y + fold) / height;
    const i = Math.floor(t);
    const soft = edge((t - i) * height - pixel / 2, pixel);
    paint(out, mix(colours[(i + 3) & 3]!, colours[i & 3]!, soft));
  });
}

function drawRings(scene: Scene): void {
  const { dice, noise } = scene;
  const red = near(dice, 358, 0.8, 0.45, 10);
  const ground = near(dice, 30, 0.4, 0.9, 25);
  const period = dice.between(0.24, 0.5);
  const share = dice.between(0.35, 0.65);
  const squash = dice.between(0.7, 1);
  const wobble = dice.between(0, 0.2);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY, shift: 0.6 }, (x, y, out, pixel) => {
    const radius = Math.hypot(x, y / squash) + wobble * noise.value(x * 2, y * 2);
    paint(out, mix(ground, red, stripe(radius, period, share, pixel)));
  });
}

function drawSunburst(scene: Scene): void {
  const { dice } = scene;
  const a = near(dice, 48, 0.95, 0.6, 8);
  const b = near(dice, dice.choose([20, 32]), 0.9, 0.5, 8);
  const rays = dice.integer(8, 18);
  const twist = dice.chance(0.3) ? dice.between(0.1, 0.5) : 0;
  const core = dice.chance(0.5) ? dice.between(0.1, 0.3) : 0;
  cover(scene, { zoom: [0.9, 1.3], turn: ANY, shift: 0.7 }, (x, y, out, pixel) => {
    const radius = Math.hypot(x, y);
    const angle = (Math.atan2(y, x) / (2 * Math.PI) + twist * radius * 0.2) * rays;
    paint(out, mix(a, b, stripe(angle, 1, 0.5, (pixel * rays) / (2 * Math.PI * radius + pixel))));
    paint(out, hsl(52, 1, 0.8), edge(core - radius, pixel));
  });
}

function drawSpirals(scene: Scene): void {
  const { dice } = scene;
  const dark = near(dice, 275, 0.6, 0.28, 18);
  const light = near(dice, dice.choose([285, 320, 250]), 0.6, 0.78, 12);
  const arms = dice.integer(1, 4) * dice.choose([-1, 1]);
  const pitch = dice.between(0.22, 0.42);
  const share = dice.between(0.35, 0.6);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY, shift: 0.45 }, (x, y, out, pixel) => {
    const turn = (Math.atan2(y, x) / (2 * Math.PI)) * arms;
    paint(out, mix(light, dark, stripe(Math.hypot(x, y) + turn * pitch, pitch, share, pixel)));
  });
}

function drawBasket(scene: Scene): void {
  const { dice, noise } = scene;
  const light = near(dice, 34, 0.5, 0.62, 10);
  const dark = near(dice, 28, 0.5, 0.2, 8);
  const side = dice.between(0.26, 0.42);
  const strands = dice.integer(2, 3);
  cover(scene, { zoom: [0.8, 1.2], turn: dice.chance(0.4) ? 0.9 : UPRIGHT }, (x, y, out) => {
    const [i, j] = [Math.floor(x / side), Math.floor(y / side)];
    const across = (i + j) & 1;
    const [u, v] = [x / side - i, y / side - j];
    const [along, over] = across ? [u, v] : [v, u];
    const strand = over * strands - Math.floor(over * strands) - 0.5;
    const shape = Math.sqrt(Math.max(0, 1 - 4 * strand * strand)) * (0.45 + 0.55 * Math.sin(Math.PI * along));
    paint(out, mix(dark, light, shape * (0.8 + 0.3 * noise.value(x * 22, y * 22))));
  });
}

function drawKnit(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(0, 360);
  const [a, b] = [near(dice, hue, 0.5, 0.55), near(dice, hue + dice.between(60, 300), 0.4, 0.75)];
  const [width, height] = [dice.between(0.2, 0.32), dice.between(0.14, 0.2)];
  const rows = dice.integer(2, 6);
  cover(scene, { zoom: [0.8, 1.2], turn: UPRIGHT }, (x, y, out) => {
    const u = x / width - Math.floor(x / width) - 0.5;
    const t = y / height + Math.abs(u) * 1.9;
    const row = Math.floor(t);
    const across = 4 * Math.abs(Math.abs(u) - 0.25);
    const along = 2 * Math.abs(t - row - 0.5);
    const shade = Math.max(0.15, 1 - across ** 3 - 0.7 * along ** 4) * (0.8 + 0.4 * noise.value(x * 30, y * 30));
    paint(out, mix([0.05, 0.04, 0.06], Math.floor(row / rows) & 1 ? b : a, Math.min(1, shade)));
  });
}

function drawMosaic(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(0, 360);
  const spread = dice.between(120, 360);
  const side = dice.between(0.14, 0.28);
  const gap = dice.chance(0.4) ? 0.08 : 0;
  cover(scene, { zoom: [0.8, 1.3], turn: UPRIGHT }, (x, y, out) => {
    const [i, j] = [Math.floor(x / side), Math.floor(y / side)];
    const rim = Math.max(Math.abs(x / side - i - 0.5), Math.abs(y / side - j - 0.5)) > 0.5 - gap;
    paint(out, rim ? [0.9, 0.9, 0.9] : hsl(hue + spread * noise.at(i, j), 0.4 + 0.55 * noise.at(i, j, 1), 0.3 + 0.45 * noise.at(i, j, 2)));
  });
}
