/** Concepts that grow: flowers, leaves, trees, fruit. */
import { hsl, mix, near } from './colour.ts';
import type { Pen } from './pen.ts';
import type { Concept, Scene } from './scene.ts';
import { backdrop, place } from './scene.ts';

const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));

export const PLANTS: readonly Concept[] = [
  { name: 'leaf-rosettes', draw: drawLeafRosettes },
  { name: 'sunflowers', draw: drawSunflowers },
  { name: 'daisies', draw: drawDaisies },
  { name: 'tulips', draw: drawTulips },
  { name: 'bare-trees', draw: drawBareTrees },
  { name: 'autumn-leaves', draw: drawAutumnLeaves },
  { name: 'mushrooms', draw: drawMushrooms },
  { name: 'cherries', draw: drawCherries },
  { name: 'orange-slices', draw: drawOrangeSlices },
];

function drawLeafRosettes(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 30, spread: 25, lightness: [0.15, 0.6] });
  const hue = dice.between(85, 170);
  const [saturation, pale] = [dice.between(0.2, 0.6), dice.between(0.5, 0.72)];
  const wide = dice.between(0.18, 0.5);
  const count = dice.integer(16, 44);
  const rim = dice.chance(0.4) ? near(dice, 350, 0.5, 0.45) : hsl(hue, 0.5, 0.14);
  place(scene, { most: 4, turn: Math.PI, size: 1.25 }, (centre) => {
    for (let i = count; i > 0; i--) {
      const t = i / count;
      const leaf = centre.at(0, 0, 0.12 + 0.9 * Math.sqrt(t), i * GOLDEN_ANGLE);
      leaf.leaf(1, wide, rim);
      leaf.at(0, 0, 0.94).leaf(1, wide * 0.82, hsl(hue + 20 * (1 - t), saturation, pale - 0.32 * t));
      leaf.line([0.1, 0, 0.9, 0], 0.03, hsl(hue + 10, 0.4, 0.75), 0.5);
    }
  });
}

function drawPetals(pen: Pen, count: number, reach: number, width: number, colour: readonly [number, number, number]): void {
  for (let i = 0; i < count; i++) pen.at(0, 0, 1, (2 * Math.PI * i) / count).leaf(reach, width, colour);
}

function drawSunflowers(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([205, 110]), spread: 25 });
  const petal = near(dice, 47, 0.95, 0.53, 6);
  const count = dice.integer(13, 20);
  place(scene, { most: 5, turn: Math.PI, size: 1.05 }, (pen) => {
    drawPetals(pen, count, 1, 0.36, mix(petal, [0.6, 0.3, 0], 0.35));
    drawPetals(pen.at(0, 0, 0.94, 0.16), count, 1, 0.28, petal);
    pen.disc(0, 0, 0.47, [0.25, 0.14, 0.06]);
    for (let i = 1; i < 60; i++) {
      const r = 0.055 * Math.sqrt(i);
      pen.disc(r * Math.cos(i * GOLDEN_ANGLE), r * Math.sin(i * GOLDEN_ANGLE), 0.025, hsl(30, 0.6, 0.2 + 0.004 * i));
    }
  });
}

function drawDaisies(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([110, 110, 280]), spread: 25, lightness: [0.2, 0.45] });
  const count = dice.integer(9, 15);
  const white = near(dice, 220, 0.1, 0.94);
  place(scene, { most: 9, turn: Math.PI }, (pen) => {
    drawPetals(pen.at(0.04, 0.06), count, 1, 0.34, [0.25, 0.3, 0.3]);
    drawPetals(pen, count, 1, 0.32, white);
    pen.disc(0, 0, 0.28, near(dice, 46, 0.95, 0.52, 5));
    pen.disc(-0.06, -0.06, 0.13, [1, 0.9, 0.45], 0.6);
  });
}

function drawTulips(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([195, 60, 120]), spread: 30, lightness: [0.6, 0.9] });
  const hue = dice.choose([350, 350, 320, 15, 50, 280]);
  place(scene, { most: 6, turn: 0.2, size: 1 }, (pen) => {
    const petal = near(dice, hue, 0.8, 0.52);
    const green = near(dice, 118, 0.45, 0.35);
    pen.line([0, 0, 0.03, 1.1], 0.1, green);
    pen.at(0, 1.05, 1, -1.2).leaf(0.95, 0.3, green);
    pen.at(0, 1.05, 1, -2).leaf(0.8, 0.28, mix(green, [0, 0, 0], 0.2));
    pen.at(0, 0.1, 1, -Math.PI / 2).leaf(1.05, 0.7, mix(petal, [0, 0, 0], 0.3));
    pen.at(-0.08, 0.12, 1, -Math.PI / 2 - 0.32).leaf(1, 0.55, petal);
    pen.at(0.08, 0.12, 1, -Math.PI / 2 + 0.32).leaf(1, 0.55, mix(petal, [1, 1, 1], 0.18));
  });
}

function drawBareTrees(scene: Scene): void {
  const { canvas, dice, pen } = scene;
  backdrop(scene, { hue: dice.choose([210, 35, 20]), spread: 15, lightness: [0.68, 0.9] });
  const bark = near(dice, 25, 0.25, 0.14);
  const spread = dice.between(0.35, 0.6);
  const branch = (from: Pen, length: number, width: number, depth: number): void => {
    from.line([0, 0, 0, -length], width, bark);
    if (depth === 0) return;
    for (let i = dice.chance(0.3) ? 3 : 2; i > 0; i--) {
      const side = i === 3 ? 0 : i === 2 ? 1 : -1;
      branch(from.at(0, -length, 1, side * spread + dice.between(-0.22, 0.22)), length * dice.between(0.65, 0.82), width * 0.65, depth - 1);
    }
  };
  const count = dice.integer(1, 3);
  for (let i = 0; i < count; i++) {
    const x = ((i + 0.5) / count - 0.5) * 2 * canvas.halfWidth + dice.between(-0.2, 0.2);
    branch(pen.at(x, canvas.halfHeight, 1, dice.between(-0.1, 0.1)), dice.between(0.45, 0.62), dice.between(0.08, 0.15), count === 1 ? 6 : 5);
  }
  if (dice.chance(0.5)) pen.box(-2, canvas.halfHeight - 0.12, 2, canvas.halfHeight, near(dice, dice.choose([35, 210]), 0.15, 0.75));
}

function drawAutumnLeaves(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([35, 200, 90]), spread: 20 });
  const lobes = dice.choose([5, 7]);
  place(scene, { most: 12, turn: Math.PI, size: 1.1 }, (pen) => {
    const leaf = near(dice, dice.choose([12, 26, 40, 4]), 0.8, 0.46, 8);
    const outline = (angle: number): number => {
      const lobe = 0.3 * Math.abs(Math.cos((angle * lobes) / 2)) ** 1.5;
      const teeth = 0.12 * Math.abs(Math.cos(angle * lobes * 1.5));
      return 0.55 + lobe + teeth - 0.25 * Math.exp(-8 * (angle - Math.PI) ** 2);
    };
    const vein = mix(leaf, [0.25, 0.05, 0], 0.55);
    pen.line([-0.3, 0, -1.05, 0.12], 0.06, mix(leaf, [0.2, 0.05, 0], 0.6));
    pen.polar(outline, leaf, 1, 84);
    for (let i = 0; i < lobes; i++) {
      const angle = (2 * Math.PI * i) / lobes;
      if (Math.abs(angle - Math.PI) < 0.5) continue;
      pen.line([-0.35, 0, 0.72 * Math.cos(angle), 0.72 * Math.sin(angle)], 0.035, vein, 0.8);
    }
  });
}

/** x, y, radius on a cap of half width 1. */
const MUSHROOM_SPOTS = [
  [-0.5, -0.25, 0.11],
  [-0.1, -0.55, 0.14],
  [0.3, -0.25, 0.12],
  [0.45, -0.5, 0.08],
  [-0.2, -0.15, 0.09],
  [0.65, -0.15, 0.08],
  [-0.45, -0.55, 0.07],
] as const;

function drawMushrooms(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([110, 30, 150]), spread: 25, lightness: [0.2, 0.6] });
  place(scene, { most: 5, turn: 0.25, size: 1 }, (pen) => {
    const red = near(dice, 4, 0.85, 0.45, 8);
    const wide = dice.between(0.75, 1);
    pen.shape([-0.2, -0.1, 0.2, -0.1, 0.27, 0.9, 0.15, 0.98, -0.15, 0.98, -0.27, 0.9], near(dice, 42, 0.3, 0.88));
    pen.shape([-0.3, 0.2, 0.3, 0.2, 0.36, 0.32, -0.36, 0.32], [0.85, 0.82, 0.74]);
    pen.ellipse(0, 0, wide * 0.93, 0.16, [0.8, 0.74, 0.65]);
    const cap: number[] = [];
    for (let i = 0; i <= 20; i++) cap.push(-wide * Math.cos((Math.PI * i) / 20), -0.85 * Math.sin((Math.PI * i) / 20) ** 0.8);
    pen.shape(cap, red);
    for (const [x, y, r] of MUSHROOM_SPOTS) pen.ellipse(x * wide, y, r, r * 0.85, [0.97, 0.95, 0.9]);
  });
}

function drawCherries(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 50, spread: 50, lightness: [0.65, 0.92] });
  place(scene, { most: 7, turn: 0.5, size: 1 }, (pen) => {
    const red = near(dice, 350, 0.85, 0.36, 8);
    const stem = near(dice, 95, 0.45, 0.3);
    const [ax, bx, by] = [-0.45, dice.between(0.35, 0.5), dice.between(0.25, 0.6)];
    pen.line([ax, 0.3, -0.3, -0.2, 0.05, -0.85], 0.06, stem);
    pen.line([bx, by, 0.35, -0.2, 0.05, -0.85], 0.06, stem);
    pen.at(0.05, -0.85, 1, dice.between(-0.1, 0.5)).leaf(0.75, 0.36, near(dice, 110, 0.5, 0.4));
    for (const [x, y] of [[ax, 0.5], [bx, by]] as const) {
      pen.disc(x, y, 0.4, mix(red, [0, 0, 0], 0.35));
      pen.disc(x - 0.03, y - 0.03, 0.36, red);
      pen.disc(x - 0.14, y - 0.14, 0.09, [1, 0.85, 0.85], 0.8);
    }
  });
}

function drawOrangeSlices(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 220, spread: 60, lightness: [0.35, 0.9] });
  const hue = dice.choose([28, 28, 54, 84]);
  const wedges = dice.integer(8, 11);
  place(scene, { most: 6, turn: Math.PI, size: 1 }, (pen) => {
    const peel = near(dice, hue, 0.9, hue === 84 ? 0.38 : 0.5, 5);
    pen.disc(0, 0, 1, peel);
    pen.disc(0, 0, 0.9, [0.99, 0.95, 0.82]);
    for (let i = 0; i < wedges; i++) {
      const [a, b] = [(2 * Math.PI * (i + 0.08)) / wedges, (2 * Math.PI * (i + 0.92)) / wedges];
      const middle = (a + b) / 2;
      const wedge = [0.1 * Math.cos(middle), 0.1 * Math.sin(middle)];
      for (let j = 0; j <= 4; j++) wedge.push(0.82 * Math.cos(a + ((b - a) * j) / 4), 0.82 * Math.sin(a + ((b - a) * j) / 4));
      pen.shape(wedge, mix(peel, [1, 0.9, 0.4], 0.25));
      pen.at(0, 0, 1, middle).line([0.35, 0, 0.65, 0], 0.06, mix(peel, [1, 1, 0.8], 0.5), 0.6);
    }
  });
}
