/** `winnow status` at 80 columns, with names as long as a cluster makes them. */
import { describe, expect, it } from 'vitest';
import { renderStatus } from '../../src/cli/status.ts';
import type { QueueStatus } from '../../workers/status.ts';

const STATUS: QueueStatus = {
  runs: [{ run: 'run-0123456789abcdef', name: 'satellite-493m-second-attempt', number: 1, store: `s3://a-bucket-with-a-long-name/${'prefix/'.repeat(12)}store`, scope: 'level-1/round-0', stage: 'cluster', tasks: 259_400, done: 129_000, failed: 3, version: '0.1.0', seen: 1000 }],
  stages: [{ stage: 'cluster', waiting: 259_400, active: 512, delayed: 12, failed: 3, done: 12_345_678, perMinute: 1234.5, etaSeconds: 86_400 * 3 }],
  workers: [{ host: 'gpu-worker-17.cluster.example.org', pid: 123_456, stages: ['embed', 'cluster', 'sample', 'retrieve', 'shard'], concurrency: 4, providers: ['cuda', 'webgpu', 'cpu'], version: '0.1.0' }],
  failures: [{ stage: 'cluster', task: 'a'.repeat(40), run: 'run-0123456789abcdef', reason: `CHECKSUM_MISMATCH: ${'expected another hash '.repeat(20)}` }],
};

describe('renderStatus', () => {
  it('keeps to 80 columns but for words that are longer', () => {
    const lines = renderStatus(STATUS, 61_000).split('\n');
    expect(lines.filter((line) => line.length > 80 && line.trim().includes(' '))).toEqual([]);
    expect(lines.join('\n')).toContain('winnow retry --failed');
    expect(lines.find((line) => line.startsWith('  cluster'))).toMatch(/259412 +512 +12345678 +3 +1235? +72 h 0 min$/);
  });
});
