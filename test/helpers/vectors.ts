/** Made-up vectors with known structure, from keyed draws. */
import { toGrid } from '../../src/cluster/points.ts';
import { randomStream } from '../../src/random.ts';

export interface Mixture {
  readonly values: Float32Array;
  /** Component of each row. */
  readonly component: Uint32Array;
}

/** n rows around `components` centres in the unit ball; component c gets a share ∝ 1 / (c + 1)^zipf. On the grid. */
export function gaussianMixture(n: number, d: number, components: number, options: { seed?: number; spread?: number; zipf?: number } = {}): Mixture {
  const { seed = 0, spread = 0.05, zipf = 0 } = options;
  const centre = randomStream(seed, 'centre');
  const noise = randomStream(seed, 'noise');
  const pick = randomStream(seed, 'component');
  const weights = Array.from({ length: components }, (_, c) => (c + 1) ** -zipf);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const values = new Float32Array(n * d);
  const component = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    let rest = pick.uniform(i) * total;
    let c = 0;
    while (c < components - 1 && rest > weights[c]!) rest -= weights[c++]!;
    component[i] = c;
    for (let j = 0; j < d; j++) values[i * d + j] = toGrid(Math.max(-1, Math.min(1, (centre.normal(c * d + j) * 0.3) + spread * noise.normal(i * d + j))));
  }
  return { values, component };
}
