/** The talk with another process: ready, rounds, absence, and an early end. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openPeers } from '../../src/bench/peer.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

async function peerOf(program: string): Promise<string> {
  const folder = await temporaryFolder('peer');
  await writeFile(join(folder, 'package.json'), '{"type": "module"}');
  await writeFile(join(folder, 'peer.ts'), program);
  return folder;
}

const SAY = 'const say = (value: unknown): void => void process.stdout.write(JSON.stringify(value) + "\\n");\n';
const request = { script: 'peer.ts', settings: { n: 3 }, amount: 12 };

describe('openPeers', () => {
  it('starts a program with its settings, and asks it for rounds', async () => {
    const folder = await peerOf(`${SAY}const { n } = JSON.parse(process.argv[2]!);\nsay({ ready: 'p' + n });\nlet runs = 0;\nprocess.stdin.on('data', () => say({ seconds: ++runs, cpuSeconds: 2, facts: { n, kernel: Number(process.env.KERNEL) } }));`);
    const { contenders, missing } = await openPeers(folder, [{ ...request, env: { KERNEL: '5' }, suffix: ', fast' }]);
    expect(missing).toEqual([]);
    const [peer] = contenders;
    expect(peer).toMatchObject({ name: 'p3, fast', amount: 12 });
    expect(await peer!.run()).toEqual({ seconds: 1, cpuSeconds: 2, facts: { n: 3, kernel: 5 } });
    expect(await peer!.run()).toMatchObject({ seconds: 2 });
    await peer!.close();
  });

  it('says which peers are missing, and why', async () => {
    const folder = await peerOf(`${SAY}say({ missing: 'no such library' });`);
    expect(await openPeers(folder, [request])).toEqual({ contenders: [], missing: ['no such library'] });
    const { missing } = await openPeers(null, [request]);
    expect(missing).toEqual([expect.stringMatching(/from a checkout only/)]);
    expect(await openPeers(null, [])).toEqual({ contenders: [], missing: [] });
  });

  it('names the peer that ends early, with what it said', async () => {
    const folder = await peerOf(`${SAY}say({ ready: 'p' });\nprocess.stdin.once('data', () => { throw new RangeError('too large'); });`);
    const { contenders } = await openPeers(folder, [request]);
    await expect(contenders[0]!.run()).rejects.toThrow(/peer\.ts ended early: RangeError: too large/);
    await contenders[0]!.close();
  });
});
