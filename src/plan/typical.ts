/** Rates of a plan on a machine that was never calibrated: those of a quiet 2-core server of 2025. */
import { RATES_FORMAT, type Rates } from '../bench/rates.ts';
import { VIT_S14, vitFlop } from '../bench/vit-model.ts';

export const TYPICAL_RATES: Rates = {
  format: RATES_FORMAT,
  machine: { cpu: 'AMD EPYC, fifth generation', cores: 2 },
  assign: [{ k: 16, flops: 30e9 }, { k: 128, flops: 120e9 }, { k: 1024, flops: 260e9 }, { k: 8192, flops: 280e9 }],
  kmeans: [{ k: 16, first: 15e9, flops: 15e9 }, { k: 128, first: 70e9, flops: 70e9 }, { k: 1024, first: 200e9, flops: 300e9 }],
  seeding: [{ d: 64, flops: 15e9 }, { d: 384, flops: 40e9 }, { d: 1280, flops: 55e9 }],
  retrieval: 180e9,
  decode: 1500,
  embed: [{ model: 'descriptor', flop: null, images: 800 }, { model: 'ViT-S/14', flop: vitFlop(VIT_S14), images: 24 }],
  read: 4e8,
  readAgain: 6e8,
  write: 6e8,
  hash: 1.6e9,
  look: 900,
  list: 70_000,
  listTars: 35_000,
  leaves: 8e6,
  draw: 3e6,
  assemble: 5e7,
  task: 0.005,
  start: { ingest: 0.1, embed: 0.2, filter: 0.1, dedup: 0.2, cluster: 0.2, sample: 0.02, retrieve: 0.1, mix: 0.01, shard: 0.1 },
  shard: 250_000,
};
