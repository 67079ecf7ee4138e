/** The list of all concepts. Its order is part of the corpus format: append, never reorder. */
import { MATERIALS } from './concepts-nature.ts';
import { PATTERNS } from './concepts-patterns.ts';
import { PLACES } from './concepts-places.ts';
import { PLANTS } from './concepts-plants.ts';
import { SURFACES } from './concepts-surfaces.ts';
import { THINGS } from './concepts-things.ts';
import type { Concept } from './scene.ts';

export const CONCEPTS: readonly Concept[] = [...PATTERNS, ...SURFACES, ...MATERIALS, ...PLACES, ...PLANTS, ...THINGS];
