/** Concepts that are views: a sky, a horizon and what stands before it. */
import type { Colour } from './colour.ts';
import { hsl, mix, near } from './colour.ts';
import type { Concept, Scene } from './scene.ts';
import { backdrop, paint } from './scene.ts';

export const PLACES: readonly Concept[] = [
  { name: 'starry-night', draw: drawStars },
  { name: 'sunset-sea', draw: drawSunset },
  { name: 'dusk-mountains', draw: drawMountains },
  { name: 'snowy-pines', draw: drawPines },
  { name: 'city-night', draw: drawCity },
  { name: 'desert-cactus', draw: drawCactus },
  { name: 'country-road', draw: drawRoad },
  { name: 'rainbow', draw: drawRainbow },
  { name: 'lightning', draw: drawLightning },
  { name: 'fireworks', draw: drawFireworks },
  { name: 'sailboats', draw: drawSailboats },
];

/** A vertical gradient over the whole canvas. */
function drawSky({ canvas }: Scene, high: Colour, low: Colour, horizon = 1): void {
  canvas.shade((_, y, out) => paint(out, mix(high, low, Math.max(0, Math.min(1, (y + canvas.halfHeight) / (horizon + canvas.halfHeight))))));
}

/** Fills everything under a noisy ridge whose mean height is `level`. */
function drawRidge(scene: Scene, level: number, height: number, rate: number, layer: number, colour: Colour): void {
  const { canvas, noise, pen } = scene;
  const points = [-canvas.halfWidth, canvas.halfHeight];
  for (let i = 0; i <= 40; i++) {
    const x = canvas.halfWidth * (i / 20 - 1);
    points.push(x, level - height * (noise.fractal(x * rate, layer * 5.5, 4, layer) - 0.5) * 2);
  }
  pen.shape([...points, canvas.halfWidth, canvas.halfHeight], colour);
}

function drawStars(scene: Scene): void {
  const { canvas, dice, pen, noise } = scene;
  const hue = dice.between(215, 250);
  drawSky(scene, hsl(hue, 0.7, 0.06), hsl(hue - 15, 0.6, dice.between(0.14, 0.3)));
  const angle = dice.angle();
  const milky = dice.chance(0.5) ? 0.5 : 0;
  canvas.shade((x, y, out) => {
    const across = x * Math.cos(angle) + y * Math.sin(angle);
    if (milky > 0) paint(out, [0.75, 0.75, 0.9], milky * Math.exp(-across * across * 8) * noise.fractal(x * 4, y * 4, 3));
  });
  for (let i = dice.integer(70, 160); i > 0; i--) {
    const bright = dice.between(0, 1) ** 3;
    pen.disc(dice.between(-1.4, 1.4), dice.between(-1.4, 1.4), 0.008 + 0.022 * bright, hsl(dice.between(20, 240), 0.4, 0.9), 0.4 + 0.6 * bright);
  }
  if (dice.chance(0.6)) {
    const [x, y] = [dice.between(-0.6, 0.6), dice.between(-0.7, 0)];
    pen.disc(x, y, 0.16, [0.96, 0.94, 0.8]);
    pen.disc(x + dice.choose([-0.08, 0.08]), y - 0.03, 0.14, hsl(hue - 5, 0.65, 0.1));
  }
  if (dice.chance(0.7)) drawRidge(scene, 0.8, 0.2, 1.5, 2, [0.02, 0.02, 0.04]);
}

function drawSunset(scene: Scene): void {
  const { canvas, dice, pen, noise } = scene;
  const horizon = dice.between(0, 0.4);
  const glow = dice.between(10, 42);
  drawSky(scene, near(dice, dice.choose([265, 340, 15]), 0.5, 0.35), hsl(glow, 0.95, 0.64), horizon);
  const x = dice.between(-0.6, 0.6) * canvas.halfWidth;
  const radius = dice.between(0.16, 0.32);
  const y = horizon - dice.between(-0.3, 1.4) * radius;
  pen.disc(x, y, radius * 1.7, hsl(glow + 8, 1, 0.75), 0.3);
  pen.disc(x, y, radius, hsl(glow + 14, 1, 0.8));
  for (let i = dice.integer(0, 5); i > 0; i--) {
    pen.ellipse(dice.between(-1, 1), dice.between(-0.9, horizon - 0.1), dice.between(0.2, 0.5), 0.04, hsl(glow - 20, 0.5, 0.5), 0.6);
  }
  const sea = near(dice, dice.choose([230, 265, 200]), 0.45, 0.24);
  const ripple = dice.between(12, 22);
  canvas.shade((u, v, out) => {
    if (v < horizon) return;
    const depth = v - horizon;
    const wave = noise.value(u * 5, v * ripple, 3);
    const path = Math.exp(-(((u - x) / (radius * (0.7 + depth))) ** 2));
    paint(out, mix(sea, hsl(glow, 0.8, 0.6), 0.3 * (1 - depth) * wave));
    if (wave > 0.45) paint(out, hsl(glow + 12, 1, 0.72), path * 0.9);
  });
}

function drawMountains(scene: Scene): void {
  const { dice, pen } = scene;
  const hue = dice.between(225, 290);
  drawSky(scene, hsl(hue, 0.45, 0.4), hsl(dice.between(320, 385), 0.7, 0.78), 0.3);
  if (dice.chance(0.5)) pen.disc(dice.between(-0.7, 0.7), dice.between(-0.7, -0.2), dice.between(0.08, 0.16), [1, 0.95, 0.86]);
  const layers = dice.integer(3, 5);
  const rate = dice.between(0.9, 1.8);
  for (let i = 0; i < layers; i++) {
    const t = i / (layers - 1);
    drawRidge(scene, -0.15 + 0.8 * t, 0.55 - 0.25 * t, rate, i, hsl(hue + 10 * t, 0.35, 0.58 - 0.45 * t));
  }
}

function drawPines(scene: Scene): void {
  const { dice, pen } = scene;
  drawSky(scene, near(dice, 210, 0.3, 0.62), near(dice, 205, 0.25, 0.88));
  drawRidge(scene, dice.between(0.3, 0.6), 0.15, 1, 1, [0.93, 0.95, 0.98]);
  const count = dice.integer(3, 10);
  const green = near(dice, 155, 0.35, 0.22);
  for (let i = 0; i < count; i++) {
    const size = dice.between(0.4, 0.75) * (count < 6 ? 1.2 : 0.8);
    const tree = pen.at(dice.between(-1.1, 1.1), 0.45 + (0.5 * i) / count, size);
    tree.box(-0.07, -0.1, 0.07, 0.15, [0.28, 0.2, 0.15]);
    for (let tier = 0; tier < 4; tier++) {
      const [y, half] = [-0.35 * tier, 0.5 - 0.1 * tier];
      tree.shape([0, y - 0.65, half, y, -half, y], mix(green, [0, 0, 0], 0.1 * (3 - tier)));
      tree.shape([0, y - 0.65, half * 0.6, y - 0.24, half * 0.2, y - 0.32, -half * 0.2, y - 0.2, -half * 0.55, y - 0.3], [0.95, 0.97, 1]);
    }
  }
  for (let i = dice.integer(0, 60); i > 0; i--) pen.disc(dice.between(-1.4, 1.4), dice.between(-1.4, 1.4), dice.between(0.01, 0.03), [1, 1, 1], 0.9);
}

function drawCity(scene: Scene): void {
  const { canvas, dice, pen } = scene;
  const hue = dice.between(215, 285);
  drawSky(scene, hsl(hue, 0.5, 0.07), hsl(hue + dice.between(-20, 40), 0.5, 0.3), 0.6);
  const lamp = dice.between(38, 55);
  for (let layer = 0; layer < 2; layer++) {
    for (let x = -canvas.halfWidth - 0.1; x < canvas.halfWidth; ) {
      const width = dice.between(0.22, 0.42);
      const top = dice.between(-0.75, 0.3) + 0.25 * layer;
      pen.box(x, top, x + width, canvas.halfHeight, hsl(hue, 0.3, layer === 0 ? 0.14 : 0.05));
      if (dice.chance(0.2)) pen.line([x + width / 2, top, x + width / 2, top - 0.2], 0.02, hsl(hue, 0.3, 0.1));
      const step = dice.between(0.07, 0.1);
      for (let v = top + 0.06; v < canvas.halfHeight; v += step * 1.3) {
        for (let u = x + 0.04; u < x + width - step * 0.8; u += step) {
          if (dice.chance(0.5)) pen.box(u, v, u + step * 0.5, v + step * 0.6, hsl(lamp, 0.9, dice.between(0.5, 0.8)), 0.6 + 0.4 * layer);
        }
      }
      x += width + dice.between(0, 0.06);
    }
  }
}

function drawCactus(scene: Scene): void {
  const { dice, pen } = scene;
  drawSky(scene, near(dice, dice.choose([205, 30, 195]), 0.6, 0.6), near(dice, 45, 0.6, 0.85), 0.5);
  pen.disc(dice.between(-0.9, 0.9), dice.between(-0.8, -0.3), dice.between(0.12, 0.2), [1, 0.97, 0.8]);
  if (dice.chance(0.6)) drawRidge(scene, 0.25, 0.25, 1, 1, near(dice, 14, 0.5, 0.45));
  drawRidge(scene, dice.between(0.35, 0.55), 0.1, 0.8, 3, near(dice, 34, 0.6, 0.62));
  const green = near(dice, 125, 0.4, 0.3);
  for (let i = dice.integer(1, 4); i > 0; i--) {
    const plant = pen.at(dice.between(-0.8, 0.8), dice.between(0.5, 0.8), dice.between(0.6, 1.1));
    const ribs = (points: number[], width: number): void => {
      plant.line(points, width, green);
      plant.line(points, width * 0.35, mix(green, [1, 1, 0.7], 0.25));
    };
    const [left, right] = [dice.between(-0.7, -0.4), dice.between(-0.7, -0.4)];
    ribs([0, 0, 0, -1.2], 0.26);
    ribs([0, left, -0.36, left, -0.36, left - dice.between(0.2, 0.4)], 0.18);
    if (dice.chance(0.7)) ribs([0, right, 0.36, right, 0.36, right - dice.between(0.2, 0.4)], 0.18);
  }
}

function drawRoad(scene: Scene): void {
  const { canvas, dice, pen, noise } = scene;
  const horizon = dice.between(-0.35, 0.1);
  drawSky(scene, near(dice, 208, 0.5, 0.55), near(dice, 205, 0.4, 0.85), horizon);
  if (dice.chance(0.5)) drawRidge(scene, horizon - 0.05, 0.2, 1, 1, near(dice, dice.choose([130, 215, 30]), 0.2, 0.5));
  const land = near(dice, dice.choose([95, 60, 110]), 0.45, 0.4);
  const road = hsl(220, 0.05, dice.between(0.25, 0.42));
  const [centre, bend, half] = [dice.between(-0.4, 0.4), dice.between(-0.7, 0.7), dice.between(0.6, 0.95)];
  const yellow = dice.chance(0.5);
  canvas.shade((x, y, out) => {
    if (y < horizon) return;
    const depth = (y - horizon) / (canvas.halfHeight - horizon);
    const across = (x - centre * depth - bend * (1 - depth) ** 2 * 0.7) / (half * depth + 0.02);
    const far = 1 / (depth + 0.05);
    paint(out, mix(land, [0.1, 0.2, 0.05], 0.4 * noise.fractal(x * 6 * far ** 0.5, far * 8, 2)));
    if (Math.abs(across) < 1) paint(out, road);
    if (Math.abs(Math.abs(across) - 0.9) < 0.05) paint(out, [0.92, 0.92, 0.9]);
    if (Math.abs(across) < 0.05 && far * 2 - Math.floor(far * 2) < 0.55) paint(out, yellow ? [0.95, 0.8, 0.2] : [0.95, 0.95, 0.95]);
  });
  for (let i = dice.integer(0, 4); i > 0; i--) {
    const tree = pen.at(dice.choose([-1, 1]) * dice.between(0.75, 1.1), horizon + dice.between(0.1, 0.3), dice.between(0.2, 0.4));
    tree.box(-0.08, -0.6, 0.08, 0.1, [0.3, 0.2, 0.12]);
    tree.disc(0, -0.9, 0.5, near(dice, 115, 0.45, 0.28));
  }
}

function drawRainbow(scene: Scene): void {
  const { canvas, dice, pen } = scene;
  drawSky(scene, near(dice, 210, 0.35, 0.5), near(dice, 200, 0.4, 0.8));
  const [x, y] = [dice.between(-0.6, 0.6), dice.between(0.5, 1.1)];
  const [radius, width] = [dice.between(1, 1.5), dice.between(0.25, 0.5)];
  const strength = dice.between(0.65, 0.95);
  canvas.shade((u, v, out) => {
    const t = (radius - Math.hypot(u - x, v - y)) / width;
    if (t > 0 && t < 1) paint(out, hsl(t * 285, 0.9, 0.55), strength * Math.min(1, 8 * t, 8 * (1 - t)));
  });
  for (let i = dice.integer(1, 4); i > 0; i--) {
    const cloud = pen.at(dice.between(-1, 1), dice.between(-0.9, 0.5), dice.between(0.5, 1));
    for (let j = 0; j < 5; j++) cloud.disc(dice.between(-0.35, 0.35), dice.between(-0.08, 0.08), dice.between(0.1, 0.2), [1, 1, 1], 0.9);
  }
  drawRidge(scene, dice.between(0.55, 0.8), 0.15, 0.8, 2, near(dice, 110, 0.45, 0.35));
}

function drawLightning(scene: Scene): void {
  const { canvas, dice, pen, noise } = scene;
  const hue = dice.between(220, 280);
  const rate = dice.between(1, 2);
  canvas.shade((x, y, out) => {
    const cloud = noise.fractal(x * rate, y * rate * 1.6, 4);
    paint(out, hsl(hue, 0.35, 0.08 + 0.42 * cloud * Math.max(0.2, 0.75 - y * 0.5)));
  });
  const bolt = (x: number, y: number, width: number, reach: number): void => {
    const points = [x, y];
    while (y < reach) {
      x += dice.between(-0.22, 0.22);
      y += dice.between(0.08, 0.2);
      points.push(x, y);
      if (width > 0.03 && dice.chance(0.25)) bolt(x, y, width * 0.5, y + dice.between(0.3, 0.6));
    }
    pen.line(points, width * 4, hsl(hue, 0.9, 0.75), 0.16);
    pen.line(points, width, [1, 0.98, 1]);
  };
  for (let i = dice.integer(1, 2); i > 0; i--) bolt(dice.between(-0.8, 0.8), -canvas.halfHeight, dice.between(0.04, 0.07), dice.between(0.5, 1));
  drawRidge(scene, 0.85, 0.12, 1.2, 2, [0.03, 0.03, 0.05]);
}

function drawFireworks(scene: Scene): void {
  const { dice, pen } = scene;
  drawSky(scene, hsl(dice.between(220, 260), 0.5, 0.04), hsl(dice.between(220, 290), 0.4, 0.14));
  for (let i = dice.integer(2, 6); i > 0; i--) {
    const burst = pen.at(dice.between(-0.8, 0.8), dice.between(-0.7, 0.5), dice.between(0.4, 0.85));
    const colour = hsl(dice.between(0, 360), 0.95, 0.66);
    const rays = dice.integer(12, 26);
    for (let ray = 0; ray < rays; ray++) {
      const angle = (2 * Math.PI * ray) / rays + dice.between(-0.1, 0.1);
      const long = dice.between(0.75, 1.05);
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      burst.line([0.15 * c, 0.15 * s, 0.6 * long * c, 0.6 * long * s + 0.03, long * c, long * s + 0.14], 0.045, colour, 0.9);
      burst.disc(long * c, long * s + 0.14, 0.05, mix(colour, [1, 1, 1], 0.6));
    }
  }
}

function drawSailboats(scene: Scene): void {
  const { canvas, dice, pen: page } = scene;
  backdrop(scene, { hue: dice.choose([205, 205, 30]), spread: 15, lightness: [0.7, 0.88] });
  const level = dice.between(0, 0.4);
  const sea = near(dice, 208, 0.6, 0.36);
  page.box(-canvas.halfWidth, level, canvas.halfWidth, canvas.halfHeight, sea);
  const count = dice.integer(1, 5);
  for (let i = 0; i < count; i++) {
    const x = ((i + 0.5) / count - 0.5) * 1.9 + dice.between(-0.1, 0.1);
    const size = dice.between(0.7, 1) / count ** 0.6;
    const pen = page.at(x, level + dice.between(0.1, 0.35), size, dice.between(-0.12, 0.12));
    const side = dice.choose([-1, 1]);
    pen.line([0, 0, 0, -1.25], 0.05, [0.3, 0.2, 0.15]);
    pen.shape([side * 0.05, -1.2, side * 0.05, -0.15, side * 0.68, -0.15], near(dice, dice.between(0, 360), dice.choose([0.1, 0.1, 0.8]), 0.88));
    pen.shape([-side * 0.05, -1.05, -side * 0.05, -0.15, -side * 0.48, -0.15], near(dice, dice.between(0, 360), dice.choose([0.1, 0.8]), 0.75));
    pen.shape([-0.75, -0.05, 0.8, -0.05, 0.5, 0.24, -0.52, 0.24], near(dice, dice.choose([0, 20, 220]), 0.6, 0.35));
  }
  for (let i = 0; i < 26; i++) {
    const [x, y] = [dice.between(-1.3, 1.3), dice.between(level + 0.1, 1.3)];
    page.line([x - 0.08, y, x, y - 0.03, x + 0.08, y], 0.02, [0.85, 0.93, 1], 0.6);
  }
}
