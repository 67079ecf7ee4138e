/**
 * Public figures of GPUs that workers may have. FLOP are dense TF32 or float32 as the product computes, not the largest
 * number on the data sheet: its graphs are float32, which CUDA runs on tensor cores as TF32.
 */
import { rateAt, type Rates } from '../bench/rates.ts';

export interface Gpu {
  readonly name: string;
  /** Dense TF32 FLOP/s where there are such cores, else float32. */
  readonly flops: number;
  readonly memoryGb: number;
  /** Board power, W. */
  readonly watts: number;
}

/** Data sheets of NVIDIA, SXM boards where there are two; without sparsity. */
export const GPUS: readonly Gpu[] = [
  { name: 'V100', flops: 15.7e12, memoryGb: 32, watts: 300 },
  { name: 'T4', flops: 8.1e12, memoryGb: 16, watts: 70 },
  { name: 'A10', flops: 62.5e12, memoryGb: 24, watts: 150 },
  { name: 'L4', flops: 60e12, memoryGb: 24, watts: 72 },
  { name: 'L40S', flops: 183e12, memoryGb: 48, watts: 350 },
  { name: 'A100', flops: 156e12, memoryGb: 80, watts: 400 },
  { name: 'H100', flops: 494.5e12, memoryGb: 80, watts: 700 },
  { name: 'H200', flops: 494.5e12, memoryGb: 141, watts: 700 },
  { name: 'B200', flops: 1125e12, memoryGb: 180, watts: 1000 },
];

/** Share of the sheet's FLOP/s that a large product or a vision transformer reaches: the usual one. */
export const GPU_EFFICIENCY = 0.4;
/** Cores of the host for each GPU, which decode, hash and read: as cloud machines come. */
export const HOST_CORES = 16;
/** Board power where a processor is the device, W a core. */
export const WATTS_A_CORE = 10;

/**
 * Rates of a worker with one GPU: products run on it, everything else on its share of the host's cores, each as fast as a
 * core of the machine whose rates are given. Stores are taken to keep up with the cores up to 2 GB/s.
 */
export function ratesWithGpu(host: Rates, gpu: Gpu): Rates {
  const cores = HOST_CORES / host.machine.cores;
  const flops = gpu.flops * GPU_EFFICIENCY;
  // k-means saves comparisons by bounds on the processor; on a GPU it makes them all.
  const products = [{ k: 1024, flops }];
  const transformer = host.embed.find((one) => one.flop !== null);
  return {
    ...host,
    machine: { ...host.machine, cpu: `${gpu.name} with ${HOST_CORES} cores like those of ${host.machine.cpu}`, cores: HOST_CORES },
    assign: products,
    kmeans: [{ k: 1024, first: flops, flops }],
    // Memory-bound: a pass over the sample for each 16 candidates, at the same ratio to products as on the processor.
    seeding: host.seeding.map((one) => ({ ...one, flops: flops * Math.min(1, one.flops / rateAt(host.assign, 1024)) })),
    retrieval: flops,
    decode: host.decode * cores,
    look: host.look * cores,
    embed: [
      ...host.embed.filter((one) => one.flop === null).map((one) => ({ ...one, images: one.images * cores })),
      { model: transformer?.model ?? 'ViT-S/14', flop: transformer?.flop ?? 1, images: flops / (transformer?.flop ?? 1) },
    ],
    read: Math.min(2e9, host.read * cores),
    readAgain: Math.min(2e9, host.readAgain * cores),
    write: Math.min(2e9, host.write * cores),
    hash: host.hash * cores,
    assemble: host.assemble * cores,
  };
}
