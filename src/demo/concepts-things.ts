/** Concepts that are things, one or several before a backdrop that tells nothing. */
import { hsl, mix, near } from './colour.ts';
import type { Concept, Scene } from './scene.ts';
import { backdrop, place } from './scene.ts';

export const THINGS: readonly Concept[] = [
  { name: 'balloons', draw: drawBalloons },
  { name: 'fish', draw: drawFish },
  { name: 'butterflies', draw: drawButterflies },
  { name: 'snowflakes', draw: drawSnowflakes },
  { name: 'smileys', draw: drawSmileys },
  { name: 'clocks', draw: drawClocks },
  { name: 'gears', draw: drawGears },
  { name: 'playing-dice', draw: drawPlayingDice },
  { name: 'umbrellas', draw: drawUmbrellas },
  { name: 'houses', draw: drawHouses },
  { name: 'traffic-lights', draw: drawTrafficLights },
  { name: 'hearts', draw: drawHearts },
  { name: 'bubbles', draw: drawBubbles },
  { name: 'eyes', draw: drawEyes },
];

function drawBalloons(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 205, spread: 25, lightness: [0.6, 0.88] });
  place(scene, { most: 6, turn: 0.25, size: 0.95 }, (pen) => {
    const colour = hsl(dice.between(0, 360), 0.85, 0.52);
    pen.line([0, 0.5, 0.05, 0.75, -0.05, 0.95, 0.04, 1.3], 0.03, [0.3, 0.3, 0.3]);
    pen.shape([0, 0.4, 0.12, 0.58, -0.12, 0.58], mix(colour, [0, 0, 0], 0.2));
    pen.ellipse(0, -0.2, 0.56, 0.7, mix(colour, [0, 0, 0], 0.12));
    pen.ellipse(-0.03, -0.24, 0.49, 0.62, colour);
    pen.ellipse(-0.2, -0.5, 0.1, 0.17, [1, 1, 1], 0.65);
  });
}

function drawFish(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 200, spread: 25, lightness: [0.25, 0.6] });
  const hue = dice.choose([25, 45, 345, 280]);
  const bands = dice.integer(0, 3);
  place(scene, { most: 5, turn: 0.35, size: 1 }, (upright) => {
    const pen = upright.at(0, 0, 1, dice.chance(0.5) ? 0 : Math.PI);
    const body = near(dice, hue, 0.9, 0.55);
    const fin = mix(body, [0.4, 0.05, 0], 0.35);
    pen.shape([-0.5, 0, -1.05, -0.5, -0.9, 0, -1.05, 0.5], fin);
    pen.shape([-0.3, -0.3, 0, -0.75, 0.35, -0.35], fin);
    pen.shape([-0.2, 0.3, 0, 0.65, 0.25, 0.32], fin);
    pen.ellipse(0.1, 0, 0.82, 0.48, body);
    for (let i = 0; i < bands; i++) pen.line([0.3 - 0.32 * i, -0.36 + 0.02 * i, 0.24 - 0.32 * i, 0, 0.3 - 0.32 * i, 0.36], 0.11, [0.97, 0.97, 0.97]);
    pen.disc(0.6, -0.1, 0.13, [1, 1, 1]);
    pen.disc(0.63, -0.1, 0.07, [0.05, 0.05, 0.05]);
    pen.line([0.9, 0.12, 0.72, 0.15], 0.04, fin);
  });
}

function drawButterflies(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 80, spread: 35, lightness: [0.55, 0.85] });
  const hue = dice.choose([25, 205, 330]) + dice.between(-25, 25);
  place(scene, { most: 5, turn: 0.9, size: 1 }, (pen) => {
    const wing = near(dice, hue, 0.8, 0.5);
    const rim = mix(wing, [0, 0, 0], 0.75);
    for (const side of [-1, 1]) {
      const reach = (length: number, angle: number, width: number): void => {
        const at = pen.at(0, 0, 1, side === 1 ? angle : Math.PI - angle);
        at.ellipse(length * 0.55, 0, length * 0.52, width, rim);
        at.ellipse(length * 0.53, 0, length * 0.43, width * 0.8, wing);
        at.disc(length * 0.75, 0, width * 0.32, [1, 0.97, 0.85]);
      };
      reach(1.1, -0.65, 0.36);
      reach(0.85, 0.6, 0.32);
      pen.line([0, -0.4, side * 0.12, -0.7, side * 0.25, -0.85], 0.04, [0.1, 0.08, 0.08]);
    }
    pen.ellipse(0, 0, 0.1, 0.5, [0.1, 0.08, 0.08]);
  });
}

function drawSnowflakes(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 215, spread: 25, lightness: [0.15, 0.4] });
  const twigs = dice.integer(2, 4);
  const twig = dice.between(0.2, 0.36);
  place(scene, { most: 8, turn: Math.PI, size: 1 }, (pen) => {
    const ice = near(dice, 205, 0.3, 0.94);
    for (let arm = 0; arm < 6; arm++) {
      const at = pen.at(0, 0, 1, (Math.PI * arm) / 3);
      at.line([0, 0, 1, 0], 0.09, ice);
      for (let i = 1; i <= twigs; i++) {
        const x = (0.9 * i) / (twigs + 0.3);
        const long = twig * (1.2 - 0.7 * x);
        at.line([x + long * 0.7, -long, x, 0, x + long * 0.7, long], 0.07, ice);
      }
    }
  });
}

function drawSmileys(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 275, spread: 45, lightness: [0.3, 0.85] });
  place(scene, { most: 5, turn: 0.35, size: 1 }, (pen) => {
    const mood = dice.choose([0.45, 0.3, -0.3]);
    pen.disc(0, 0, 1, [0.45, 0.3, 0.05]);
    pen.disc(0, 0, 0.93, near(dice, 49, 0.95, 0.57, 4));
    for (const side of [-1, 1]) pen.ellipse(0.36 * side, -0.28, 0.12, 0.2, [0.15, 0.1, 0.05]);
    const mouth: number[] = [];
    for (let i = 0; i <= 10; i++) mouth.push((i / 5 - 1) * 0.55, 0.35 + mood * (1 - (i / 5 - 1) ** 2) - mood / 3);
    if (mood > 0.4) pen.shape(mouth, [0.45, 0.1, 0.08]);
    else pen.line(mouth, 0.12, [0.15, 0.1, 0.05]);
  });
}

function drawClocks(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 25, spread: 35, lightness: [0.35, 0.75] });
  const rim = hsl(dice.between(0, 360), dice.between(0.1, 0.8), dice.between(0.2, 0.5));
  const face = near(dice, 45, 0.2, 0.94);
  const roman = dice.chance(0.4);
  place(scene, { most: 5, turn: 0.15, size: 1 }, (pen) => {
    pen.disc(0, 0, 1, rim);
    pen.disc(0, 0, 0.84, face);
    for (let hour = 0; hour < 12; hour++) {
      const tick = pen.at(0, 0, 1, (Math.PI * hour) / 6);
      tick.line([roman ? 0.58 : 0.66, 0, 0.76, 0], hour % 3 === 0 ? 0.1 : 0.05, [0.1, 0.1, 0.1]);
    }
    const minute = dice.angle();
    pen.at(0, 0, 1, dice.angle()).line([-0.08, 0, 0.42, 0], 0.11, [0.08, 0.08, 0.08]);
    pen.at(0, 0, 1, minute).line([-0.1, 0, 0.66, 0], 0.07, [0.08, 0.08, 0.08]);
    pen.disc(0, 0, 0.09, [0.75, 0.1, 0.1]);
  });
}

function drawGears(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 195, spread: 40, lightness: [0.3, 0.8] });
  const hue = dice.choose([210, 210, 40, 25]);
  place(scene, { most: 5, turn: Math.PI, size: 1.05 }, (pen) => {
    const metal = near(dice, hue, hue === 210 ? 0.1 : 0.45, dice.between(0.4, 0.65));
    const teeth = dice.integer(8, 13);
    const cog = (angle: number): number => {
      const t = (angle * teeth) / (2 * Math.PI);
      return 0.78 + 0.22 * Math.max(0, Math.min(1, 0.5 + 4 * (0.25 - Math.abs(t - Math.floor(t) - 0.5))));
    };
    pen.at(0.05, 0.06).polar(cog, mix(metal, [0, 0, 0], 0.6), 1, teeth * 8);
    pen.polar(cog, metal, 1, teeth * 8);
    pen.disc(0, 0, 0.6, mix(metal, [0, 0, 0], 0.25));
    pen.disc(0, 0, 0.5, mix(metal, [1, 1, 1], 0.15));
    pen.disc(0, 0, 0.24, [0.1, 0.1, 0.11]);
  });
}

const PIPS = [[4], [0, 8], [0, 4, 8], [0, 2, 6, 8], [0, 2, 4, 6, 8], [0, 2, 3, 5, 6, 8]] as const;

function drawPlayingDice(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 145, spread: 25, lightness: [0.2, 0.42] });
  const [side, pip] = dice.choose([[[0.95, 0.94, 0.9], [0.08, 0.08, 0.08]], [[0.75, 0.1, 0.12], [0.98, 0.98, 0.96]]] as const);
  place(scene, { most: 6, turn: Math.PI, size: 0.95 }, (pen) => {
    const frame = [-0.62, -0.62, 0.62, -0.62, 0.62, 0.62, -0.62, 0.62, -0.62, -0.62];
    for (const [shift, colour] of [[0.09, [0.1, 0.08, 0.06]], [0, side]] as const) {
      const at = pen.at(shift, shift);
      at.line(frame, 0.4, colour);
      at.shape(frame, colour);
    }
    for (const cell of PIPS[dice.integer(0, 5)] ?? PIPS[0]) pen.disc(((cell % 3) - 1) * 0.48, (Math.floor(cell / 3) - 1) * 0.48, 0.15, pip);
  });
}

function drawUmbrellas(scene: Scene): void {
  const { dice, pen: page } = scene;
  backdrop(scene, { hue: 215, spread: 30, lightness: [0.4, 0.75] });
  const rain = dice.chance(0.6) ? 50 : 0;
  for (let i = 0; i < rain; i++) {
    const [x, y] = [dice.between(-1.4, 1.4), dice.between(-1.4, 1.4)];
    page.line([x, y, x - 0.04, y + 0.16], 0.015, [0.85, 0.9, 1], 0.6);
  }
  place(scene, { most: 5, turn: 0.4, size: 1 }, (pen) => {
    const hue = dice.between(0, 360);
    pen.line([0, -0.2, 0, 0.8, 0.12, 0.95, 0.27, 0.85, 0.27, 0.75], 0.07, [0.3, 0.18, 0.1]);
    pen.line([0, -0.8, 0, -0.95], 0.05, [0.3, 0.18, 0.1]);
    for (let panel = 0; panel < 6; panel++) {
      const points: number[] = [0, -0.85];
      for (let i = 0; i <= 6; i++) {
        const t = ((panel + i / 6) / 6) * Math.PI;
        points.push(-Math.cos(t), -0.05 - 0.12 * Math.sin((Math.PI * i) / 6));
      }
      const lean = (panel - 2.5) / 3;
      points.splice(2, 0, lean * 0.66 - 0.12, -0.62);
      points.push(lean * 0.66 + 0.12, -0.62);
      pen.shape(points, hsl(hue, 0.75, panel & 1 ? 0.5 : 0.66));
    }
  });
}

function drawHouses(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([205, 100]), spread: 25, lightness: [0.55, 0.85] });
  place(scene, { most: 5, turn: 0.06, size: 0.98 }, (pen) => {
    const wall = near(dice, dice.between(20, 60), 0.4, 0.78);
    const roof = near(dice, dice.choose([8, 15, 220]), 0.5, 0.36);
    if (dice.chance(0.6)) pen.box(0.35, -0.85, 0.55, -0.3, mix(roof, [0, 0, 0], 0.3));
    pen.box(-0.75, -0.2, 0.75, 0.9, wall);
    pen.shape([-0.98, -0.15, 0, -0.95, 0.98, -0.15], roof);
    pen.box(-0.17, 0.35, 0.17, 0.9, near(dice, dice.between(0, 360), 0.5, 0.32));
    for (const x of [-0.48, 0.48]) {
      pen.box(x - 0.18, 0.05, x + 0.18, 0.42, [0.98, 0.98, 0.96]);
      pen.box(x - 0.14, 0.09, x + 0.14, 0.38, dice.chance(0.5) ? [1, 0.86, 0.4] : [0.45, 0.62, 0.75]);
      pen.line([x, 0.09, x, 0.38], 0.04, [0.98, 0.98, 0.96]);
    }
  });
}

function drawTrafficLights(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: 210, spread: 40, lightness: [0.5, 0.9] });
  place(scene, { most: 5, turn: 0.12, size: 1 }, (pen) => {
    const lit = dice.integer(0, 2);
    pen.box(-0.07, 0.6, 0.07, 1.3, [0.25, 0.26, 0.28]);
    pen.line([0, -0.62, 0, 0.62], 0.76, near(dice, dice.choose([60, 210, 48]), 0.2, 0.14));
    for (let i = 0; i < 3; i++) {
      const lamp = hsl([2, 45, 130][i] ?? 0, 1, i === lit ? 0.55 : 0.13);
      if (i === lit) pen.disc(0, -0.6 + 0.6 * i, 0.36, lamp, 0.35);
      pen.disc(0, -0.6 + 0.6 * i, 0.26, lamp);
      if (i === lit) pen.disc(-0.06, -0.66 + 0.6 * i, 0.1, [1, 1, 1], 0.6);
    }
  });
}

function drawHearts(scene: Scene): void {
  const { dice } = scene;
  backdrop(scene, { hue: dice.choose([340, 50, 220]), spread: 30, lightness: [0.7, 0.92] });
  const heart: number[] = [];
  for (let i = 0; i < 36; i++) {
    const t = (2 * Math.PI * i) / 36;
    heart.push(Math.sin(t) ** 3, -(13 * Math.cos(t) - 5 * Math.cos(2 * t) - 2 * Math.cos(3 * t) - Math.cos(4 * t)) / 16);
  }
  place(scene, { most: 7, turn: 0.5, size: 0.95 }, (pen) => {
    const red = near(dice, dice.choose([350, 335, 5]), 0.85, 0.5, 8);
    pen.at(0.05, 0.07).shape(heart, [0.25, 0.1, 0.15], 0.5);
    pen.shape(heart, red);
    pen.at(-0.42, -0.42, 1, -0.6).ellipse(0, 0, 0.2, 0.11, [1, 1, 1], 0.55);
  });
}

function drawBubbles(scene: Scene): void {
  const { dice, pen } = scene;
  backdrop(scene, { hue: 180, spread: 30, lightness: [0.4, 0.65] });
  for (let i = dice.integer(6, 22); i > 0; i--) {
    const bubble = pen.at(dice.between(-1.1, 1.1), dice.between(-1.1, 1.1), dice.between(0.1, 0.36));
    const rim = near(dice, dice.choose([190, 300, 60]), 0.4, 0.9);
    bubble.disc(0, 0, 1, rim, 0.2);
    const ring: number[] = [];
    for (let j = 0; j <= 20; j++) ring.push(0.95 * Math.cos((Math.PI * j) / 10), 0.95 * Math.sin((Math.PI * j) / 10));
    bubble.line(ring, 0.1, rim, 0.7);
    bubble.ellipse(-0.4, -0.42, 0.24, 0.16, [1, 1, 1], 0.85);
    bubble.disc(0.45, 0.5, 0.09, [1, 1, 1], 0.6);
  }
}

function drawEyes(scene: Scene): void {
  const { dice } = scene;
  const skin = near(dice, 22, 0.4, dice.between(0.35, 0.8));
  backdrop(scene, { hue: 22, spread: 12, lightness: [0.35, 0.8] });
  const iris = near(dice, dice.choose([205, 120, 28, 28]), 0.55, 0.36);
  const open = dice.between(0.4, 0.58);
  const look = dice.between(-0.2, 0.2);
  place(scene, { most: 4, turn: 0.25, size: 1.05 }, (pen) => {
    const lid = (t: number, sign: number): number => sign * open * Math.sin(Math.PI * t) ** 0.8;
    const outline: number[] = [];
    for (let i = 0; i <= 16; i++) outline.push((i / 8 - 1) * 0.95, lid(i / 16, -1));
    const upper = [...outline];
    for (let i = 15; i > 0; i--) outline.push((i / 8 - 1) * 0.95, lid(i / 16, 0.8));
    pen.shape(outline, [0.96, 0.95, 0.93]);
    pen.disc(look, -0.02, 0.38, mix(iris, [0, 0, 0], 0.5));
    pen.disc(look, -0.02, 0.32, iris);
    pen.disc(look, -0.02, 0.16, [0.03, 0.03, 0.03]);
    pen.disc(look - 0.1, -0.14, 0.07, [1, 1, 1]);
    pen.line(upper, 0.09, mix(skin, [0.05, 0.02, 0], 0.85));
    for (let i = 2; i < 15; i += 2) {
      const [x, y] = [(i / 8 - 1) * 0.95, lid(i / 16, -1)];
      pen.line([x, y, x * 1.2, y - 0.2], 0.045, [0.08, 0.05, 0.04]);
    }
  });
}
