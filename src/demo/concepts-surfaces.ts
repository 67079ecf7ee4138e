/** Concepts made of built surfaces: tiles, bricks, wires, paper. */
import { hsl, mix, near } from './colour.ts';
import type { Concept, Scene } from './scene.ts';
import { cover, edge, paint, stripe } from './scene.ts';

const UPRIGHT = 0.2;
const ANY = Math.PI;

export const SURFACES: readonly Concept[] = [
  { name: 'brick-wall', draw: drawBricks },
  { name: 'honeycomb', draw: drawHoneycomb },
  { name: 'fish-scales', draw: (scene) => drawScales(scene, 178, Math.PI) },
  { name: 'roof-tiles', draw: (scene) => drawScales(scene, 16, 0.15) },
  { name: 'maze', draw: drawMaze },
  { name: 'arc-tiles', draw: drawArcTiles },
  { name: 'piano-keys', draw: drawPiano },
  { name: 'chain-link', draw: drawChainLink },
  { name: 'printed-page', draw: drawPage },
  { name: 'circuit-board', draw: drawCircuit },
  { name: 'stained-glass', draw: drawStainedGlass },
  { name: 'wood-planks', draw: drawWood },
];

function drawBricks(scene: Scene): void {
  const { dice, noise } = scene;
  const mortar = near(dice, 35, 0.1, dice.between(0.45, 0.8));
  const hue = dice.between(4, 22);
  const [width, height] = [dice.between(0.5, 0.7), dice.between(0.2, 0.28)];
  const joint = dice.between(0.02, 0.04);
  cover(scene, { zoom: [0.7, 1.3], turn: UPRIGHT }, (x, y, out, pixel) => {
    const row = Math.floor(y / height);
    const u = x / width + (row & 1) / 2;
    const column = Math.floor(u);
    const inside = Math.min((0.5 - Math.abs(u - column - 0.5)) * width, (0.5 - Math.abs(y / height - row - 0.5)) * height) - joint;
    const rough = noise.fractal(x * 12, y * 12, 2);
    const brick = hsl(hue + 12 * noise.at(column, row), 0.5, 0.28 + 0.16 * noise.at(column, row, 1) + 0.14 * rough);
    paint(out, mix(mix(mortar, [0.4, 0.38, 0.35], rough * 0.5), brick, edge(inside, pixel)));
  });
}

function drawHoneycomb(scene: Scene): void {
  const { dice, noise } = scene;
  const wax = near(dice, 38, 0.75, 0.3, 6);
  const side = dice.between(0.28, 0.45);
  const full = dice.between(0.3, 0.9);
  cover(scene, { zoom: [0.8, 1.2], turn: ANY }, (x, y, out, pixel) => {
    // The hexagon around the nearer of two interleaved rectangular grids of centres.
    const tall = side * Math.sqrt(3);
    const [i, j] = [Math.round(x / side), Math.round(y / tall)];
    const [p, q] = [Math.floor(x / side), Math.floor(y / tall)];
    const near1 = [x - i * side, y - j * tall] as const;
    const near2 = [x - (p + 0.5) * side, y - (q + 0.5) * tall] as const;
    const first = near1[0] ** 2 + near1[1] ** 2 < near2[0] ** 2 + near2[1] ** 2;
    const [dx, dy] = first ? near1 : near2;
    const reach = Math.max(Math.abs(dx), Math.abs(dx) / 2 + (Math.abs(dy) * Math.sqrt(3)) / 2);
    const value = first ? noise.at(i, j) : noise.at(p, q, 3);
    const honey = hsl(36 + 12 * value, 0.95, (value < full ? 0.55 : 0.25) - 0.5 * Math.hypot(dx + 0.1, dy + 0.1) + 0.08);
    paint(out, mix(wax, honey, edge(side * 0.43 - reach, pixel)));
  });
}

function drawScales(scene: Scene, hue: number, turn: number): void {
  const { dice, noise } = scene;
  const step = dice.between(0.28, 0.44);
  const rise = step * dice.between(0.42, 0.55);
  const base = hue + dice.between(-14, 14);
  const light = dice.between(0.42, 0.55);
  cover(scene, { zoom: [0.8, 1.3], turn }, (x, y, out) => {
    // Rows overlap like slates: the first row, from below, whose disc reaches the point, is on top.
    const low = Math.ceil((y + step) / rise);
    for (let row = low - 4; row <= low; row++) {
      const u = x / step + (row & 1) / 2;
      const column = Math.floor(u);
      const dx = (u - column - 0.5) * step;
      const dy = y - row * rise + step * 0.4;
      const radius = Math.hypot(dx, dy) / step;
      if (dy > 0 && radius > 0.58) continue;
      const value = noise.at(column, row);
      const rim = radius > 0.5 && dy > 0 ? 0.45 : 1;
      return paint(out, hsl(base + 20 * (value - 0.5), 0.5, light * rim * (0.6 + 0.3 * value + 0.9 * Math.max(0, dy))));
    }
    paint(out, hsl(base, 0.4, 0.12));
  });
}

function drawMaze(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(0, 360);
  const light = dice.chance(0.5);
  const floor = light ? near(dice, hue, 0.2, 0.9) : near(dice, hue, 0.4, 0.15);
  const wall = light ? near(dice, hue, 0.5, 0.2) : near(dice, hue, 0.5, 0.75);
  const side = dice.between(0.18, 0.27);
  const half = dice.between(0.14, 0.22);
  cover(scene, { zoom: [0.85, 1.2], turn: UPRIGHT }, (x, y, out, pixel) => {
    // A binary-tree maze: every cell closes its north or its west side.
    const [i, j] = [Math.floor(x / side), Math.floor(y / side)];
    const [u, v] = [x / side - i, y / side - j];
    let distance = Math.min(Math.hypot(u, v), Math.hypot(1 - u, v), Math.hypot(u, 1 - v), Math.hypot(1 - u, 1 - v));
    if (noise.at(i, j) < 0.5) distance = Math.min(distance, v);
    else distance = Math.min(distance, u);
    if (noise.at(i, j + 1) < 0.5) distance = Math.min(distance, 1 - v);
    if (noise.at(i + 1, j) >= 0.5) distance = Math.min(distance, 1 - u);
    paint(out, mix(floor, wall, edge((half - distance) * side, pixel)));
  });
}

function drawArcTiles(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(0, 360);
  const [ground, arc] = [near(dice, hue, 0.45, 0.3), near(dice, hue + dice.between(100, 260), 0.6, 0.75)];
  const side = dice.between(0.3, 0.48);
  const half = dice.between(0.1, 0.18);
  const double = dice.chance(0.4);
  cover(scene, { zoom: [0.8, 1.3], turn: ANY }, (x, y, out, pixel) => {
    const [i, j] = [Math.floor(x / side), Math.floor(y / side)];
    const v = y / side - j;
    const u = noise.at(i, j) < 0.5 ? x / side - i : 1 - (x / side - i);
    const distance = Math.min(Math.abs(Math.hypot(u, v) - 0.5), Math.abs(Math.hypot(1 - u, 1 - v) - 0.5));
    paint(out, mix(ground, arc, edge((half - distance) * side, pixel)));
    if (double) paint(out, ground, edge((half * 0.4 - distance) * side, pixel));
  });
}

function drawPiano(scene: Scene): void {
  const { dice } = scene;
  const ivory = near(dice, 45, 0.3, 0.92);
  const ebony = near(dice, 240, 0.1, 0.1);
  const frame = near(dice, dice.choose([0, 25, 240]), 0.5, 0.2);
  const width = dice.between(0.24, 0.36);
  const depth = dice.between(0.15, 0.4);
  cover(scene, { zoom: [0.9, 1.2], turn: 0.35, shift: 0.25 }, (x, y, out, pixel) => {
    if (y < -0.75) return paint(out, frame);
    const t = x / width;
    paint(out, mix(ivory, [0.3, 0.3, 0.3], stripe(x + width / 2, width, 0.06, pixel)));
    paint(out, [0.4, 0.38, 0.36], edge(y - 0.85, pixel));
    const key = Math.round(t);
    const black = [true, true, false, true, true, true, false][((key % 7) + 7) % 7];
    if (black) paint(out, ebony, edge((0.3 - Math.abs(t - key)) * width, pixel) * edge(depth - y, pixel));
  });
}

function drawChainLink(scene: Scene): void {
  const { dice, noise } = scene;
  const far = near(dice, dice.choose([110, 205, 30]), 0.35, 0.45, 20);
  const wire = near(dice, 210, 0.06, dice.between(0.7, 0.85));
  const side = dice.between(0.26, 0.4);
  const half = dice.between(0.018, 0.032);
  cover(scene, { zoom: [0.8, 1.3], turn: UPRIGHT }, (x, y, out, pixel) => {
    paint(out, mix(far, [0.1, 0.12, 0.1], noise.fractal(x * 2, y * 2, 2)));
    const [u, v] = [(x + y * 0.9) / side, (x - y * 0.9) / side];
    const wave = 0.06 * Math.sin((u + v) * Math.PI);
    const a = Math.abs(u - Math.round(u) + wave) * side * 0.72;
    const b = Math.abs(v - Math.round(v) - wave) * side * 0.72;
    const near1 = Math.min(a, b);
    paint(out, [0.05, 0.05, 0.05], 0.6 * edge(half + pixel - near1, pixel));
    paint(out, mix(wire, [0.35, 0.36, 0.38], near1 / half), edge(half - near1, pixel));
  });
}

function drawPage(scene: Scene): void {
  const { dice, noise } = scene;
  const paper = near(dice, 45, 0.35, 0.9, 10);
  const ink = near(dice, 230, 0.15, 0.18);
  const line = dice.between(0.11, 0.17);
  const columns = dice.integer(1, 3);
  const title = dice.chance(0.5) ? dice.between(-0.7, -0.3) : -9;
  cover(scene, { zoom: [0.85, 1.2], turn: 0.3, shift: 0.3 }, (x, y, out, pixel) => {
    paint(out, paper);
    const big = y < title && y > title - 0.35;
    const height = big ? 0.3 : line;
    const row = Math.floor((y - title) / height);
    const v = (y - title) / height - row;
    const column = (x * columns) / 2.2 + 50;
    if (!big && column - Math.floor(column) > 0.92) return;
    // Words are runs of letters of uneven height; a gap opens where the word noise is low.
    const letter = x / (height * 0.42);
    if (noise.value(letter * 0.28, row * 7, 1) < 0.33) return;
    const tall = 0.22 + 0.14 * noise.at(Math.floor(letter), row);
    const stroke = stripe(letter, 0.5, 0.35 + 0.4 * noise.at(Math.floor(letter * 2), row, 3), pixel / (height * 0.42));
    paint(out, ink, stroke * edge((tall - Math.abs(v - 0.5)) * height, pixel));
  });
}

function drawCircuit(scene: Scene): void {
  const { dice, noise } = scene;
  const board = near(dice, 145, 0.6, 0.2, 14);
  const trace = near(dice, dice.choose([125, 48]), 0.5, 0.55);
  const side = dice.between(0.13, 0.18);
  cover(scene, { zoom: [0.85, 1.2], turn: UPRIGHT }, (x, y, out, pixel) => {
    const [i, j] = [Math.floor(x / side), Math.floor(y / side)];
    const [u, v] = [x / side - i - 0.5, y / side - j - 0.5];
    const chip = noise.at(i >> 2, j >> 2, 4) < 0.22 && (i & 3) > 0 && (j & 3) > 0;
    paint(out, board);
    const vertical = noise.at(i, j >> 2) < 0.5 ? Math.abs(u) : 9;
    const across = noise.at(i >> 2, j, 1) < 0.45 ? Math.abs(v) : 9;
    paint(out, trace, edge((0.12 - Math.min(vertical, across)) * side, pixel));
    if (noise.at(i, j, 2) < 0.16) {
      const radius = Math.hypot(u, v);
      paint(out, [0.85, 0.75, 0.4], edge((0.34 - radius) * side, pixel));
      paint(out, [0.08, 0.08, 0.08], edge((0.14 - radius) * side, pixel));
    }
    if (chip) paint(out, [0.09, 0.09, 0.1]);
  });
}

function drawStainedGlass(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(0, 360);
  const size = dice.between(2.2, 3.6);
  const lead = dice.between(0.06, 0.1);
  cover(scene, { zoom: [0.8, 1.2], turn: ANY }, (x, y, out, pixel) => {
    noise.cell(x * size, y * size);
    const glass = hsl(hue + 300 * noise.cellValue, 0.85, 0.42 + 0.25 * noise.value(x * 5, y * 5, 4));
    paint(out, mix([0.05, 0.05, 0.06], glass, edge((noise.second - noise.nearest - lead) / size, pixel)));
  });
}

function drawWood(scene: Scene): void {
  const { dice, noise } = scene;
  const hue = dice.between(20, 34);
  const light = dice.between(0.34, 0.58);
  const plank = dice.between(0.4, 0.7);
  cover(scene, { zoom: [0.8, 1.3], turn: dice.chance(0.5) ? UPRIGHT : ANY }, (x, y, out, pixel) => {
    const j = Math.floor(y / plank);
    const grain = noise.fractal(x * 0.9 + j * 31, y * 7 + j * 13, 3);
    const ring = 0.5 + 0.5 * Math.sin(grain * 34);
    const tone = light * (0.72 + 0.25 * noise.at(j, 7) + 0.22 * ring);
    const gap = edge(Math.abs(y / plank - Math.round(y / plank)) * plank - 0.012, pixel);
    paint(out, mix([0.1, 0.06, 0.03], hsl(hue + 6 * noise.at(j, 3), 0.5, tone), gap));
  });
}
