/** `winnow atlas` and `winnow serve` as a stranger starts them: what they refuse, what they serve, how they end. */
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectOneSentence, startWinnow, winnow } from '../helpers/winnow.ts';
import { makeStore } from './made-site.ts';

const TOKEN = 'a token of a good length';
let folder: string;
let store: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-commands-'));
  ({ store } = await makeStore(folder, 200));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Starts a server, hands over its address, stops it as Ctrl-C does. */
async function serving(args: readonly string[], use: (url: string) => Promise<void>): Promise<void> {
  const running = startWinnow(args);
  let said = '';
  running.child.stderr!.on('data', (chunk: string) => (said += chunk));
  await running.saw(' at http');
  await use(/ at (http:\S+)/.exec(said)![1]!);
  running.child.kill('SIGINT');
  const { code, stderr } = await running.ended;
  expect(code, stderr).toBe(0);
  expect(stderr).not.toMatch(/\n\s+at .+:\d+/);
}

describe('the commands', () => {
  it('serve nobody off loopback without a token, and only whoever has it otherwise', async () => {
    const refused = await Promise.all(['atlas', 'serve'].map((verb) => winnow([verb, store, '--host', '0.0.0.0', '--port', '0'])));
    for (const ended of refused) expectOneSentence(ended, 2, /CONFIG_INVALID: Expected --token \(or WINNOW_TOKEN\) with --host 0\.0\.0\.0/);
    await serving(['atlas', store, '--host', '0.0.0.0', '--port', '0', '--token', TOKEN], async (url) => {
      const local = url.replace('0.0.0.0', '127.0.0.1');
      expect((await fetch(`${local}/atlas`)).status).toBe(401);
      expect((await fetch(`${local}/atlas`, { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(200);
    });
  });

  it('serve batches and the live page from one server', async () => {
    await serving(['serve', '--batches', store, '--port', '0'], async (url) => {
      expect(await (await fetch(`${url}/live`)).text()).toContain('>done<');
      expect(await (await fetch(`${url}/schema`)).json()).toMatchObject({ parts: [{ name: 'balanced' }, { name: 'around' }, { name: 'raw' }] });
      expect((await fetch(`${url}/batches?step=0&steps=2`)).headers.get('content-type')).toBe('application/vnd.apache.arrow.stream');
      expect(await (await fetch(`${url}/batches?rank=9&worldSize=2`)).json()).toMatchObject({ code: 'CONFIG_INVALID' });
    });
  });

  it('say what is missing', async () => {
    const [nowhere, unfinished, short] = await Promise.all([winnow(['serve', join(folder, 'nowhere')]), winnow(['atlas', folder, '--cache', join(folder, 'cache')]), winnow(['atlas', store, '--port', '0', '--token', 'short'])]);
    expectOneSentence(nowhere!, 2, /INPUT_MISSING/);
    expectOneSentence(unfinished!, 2, /INPUT_MISSING: .*`winnow ingest` first/);
    expectOneSentence(short!, 2, /at least 16 characters/);
  });
});
