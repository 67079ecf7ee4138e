import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { SILENT } from '../../src/log.ts';
import { lockStore, openStore, storeFolder } from '../../src/store/open.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

describe('a store', () => {
  it('is opened by path or file: URL', async () => {
    const folder = join(await temporaryFolder(), 'store');
    await (await openStore(folder)).write('a', new Uint8Array(1));
    expect(await (await openStore(pathToFileURL(folder).href, { readOnly: true })).head('a')).toEqual({ key: 'a', sizeBytes: 1 });
    await (await lockStore(folder, { log: SILENT })).release();
  });

  it('is refused under another scheme, and a bucket where a folder is needed', async () => {
    for (const uri of ['gs://bucket/x', 'https://example.org/x', '']) await expect(openStore(uri)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/s3:\/\/bucket\/prefix, got/) });
    expect(() => storeFolder('s3://bucket/x')).toThrow(/a folder is needed here/);
  });

  it('on a disk loads nothing of the SDK, which one in a bucket does', async () => {
    const script = `
      const { openStore } = await import('./src/store/open.ts');
      const loaded = () => process.moduleLoadList.some((name) => name === 'NativeModule https');
      await openStore(process.env.FOLDER);
      const before = loaded();
      await openStore('s3://bucket/x', { s3: { endpoint: 'ftp://x' } }).catch(() => undefined);
      const refused = loaded();
      const { connectS3 } = await import('./src/store/s3-client.ts');
      await connectS3({ endpoint: 'http://127.0.0.1:9' });
      process.stdout.write(JSON.stringify([before, refused, loaded()]));`;
    const options = { cwd: fileURLToPath(new URL('../..', import.meta.url)), encoding: 'utf8', env: { ...process.env, FOLDER: await temporaryFolder() } } as const;
    expect(JSON.parse(execFileSync(process.execPath, ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', script], options))).toEqual([false, false, true]);
  });
});
