/** A download into a bucket: tars and tables lie there, and images are read there in place. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { retryRows } from '../../src/cli/retry.ts';
import { run } from '../../src/cli/run.ts';
import { parseRecipe } from '../../src/config.ts';
import { SILENT } from '../../src/log.ts';
import { startS3Server } from '../helpers/s3-server.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { impatient } from './download-run.ts';
import { picture, startWebServer } from './web-server.ts';

it('goes to a bucket as it goes to a folder', async () => {
  const s3 = await startS3Server();
  onTestFinished(() => s3.close());
  const pictures = await Promise.all(Array.from({ length: 12 }, (_, n) => picture(n * 20)));
  let isWell = false;
  const server = await startWebServer((request, response) => {
    const n = Number(/(\d+)/.exec(request.url!)![1]);
    if (n === 4 && !isWell) response.writeHead(500).end();
    else response.end(pictures[n]);
  });
  const folder = await temporaryFolder('s3');
  await writeFile(join(folder, 'web.csv'), `uri\n${pictures.map((_, n) => server.url(`/${n}.jpg`)).join('\n')}\n`);
  const recipe = parseRecipe({ format: 'winnow-recipe/1', name: 's3', pool: [{ urls: 'web.csv', download: impatient([server.port], { retries: 0, blockRows: 5 }) }], embed: { maxDropRatio: 0.5 }, s3: s3.s3 }, 'test');
  const request = { loaded: { recipe, baseDirectory: folder }, progress: SILENT_PROGRESS, log: SILENT, signal: new AbortController().signal };
  const bucket = `s3://${s3.bucket}/${s3.prefix('web')}`;
  const results: unknown[] = [];
  for (const store of [join(folder, 'store'), bucket]) {
    isWell = false;
    const before = await run({ ...request, store, until: 'embed', force: [] });
    isWell = true;
    results.push([(before.json as { stages: unknown }).stages, (await retryRows({ ...request, store })).json, ((await run({ ...request, store, until: 'embed', force: [] })).json as { stages: unknown }).stages]);
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[0]).toMatchObject([{ embeddings: { stats: { statuses: { ok: 11, 'server-error': 1 } } } }, { asked: 1, downloaded: 1, images: 1 }, { embeddings: { stats: { statuses: { ok: 12 } } } }]);
});
