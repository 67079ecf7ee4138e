import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createOnnxEncoder } from '../../src/embed/encode.ts';
import { resolveModel } from '../../src/embed/model.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { COMMIT, type HubServer, sha256, startHub } from './hub-server.ts';
import { TINY_PREPROCESSOR, tinyVit } from './tiny-models.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const VIT = tinyVit();
const PREPROCESSOR = text(JSON.stringify(TINY_PREPROCESSOR));

async function folderWith(files: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const folder = await temporaryFolder();
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
  return folder;
}

describe('resolveModel on this machine', () => {
  it('finds the ONNX file of a folder and the configurations at its top', async () => {
    for (const path of ['model.onnx', 'onnx/model.onnx', 'encoder-only.onnx', 'onnx/some_name.onnx']) {
      const folder = await folderWith({ [path]: VIT, 'preprocessor_config.json': PREPROCESSOR, 'config.json': text('{"patch_size": 8}') });
      for (const reference of [folder, join(folder, path), pathToFileURL(join(folder, path)).href]) {
        const files = await resolveModel(reference);
        expect(files.path).toBe(join(folder, path));
        expect(files).toMatchObject({ sizeBytes: VIT.length, preprocessor: TINY_PREPROCESSOR, config: { patch_size: 8 } });
        expect(files.provenance).toMatchObject({ file: path.split('/').at(-1), sha256: sha256(VIT) });
        expect(JSON.stringify(files.provenance)).not.toContain(folder);
      }
    }
  });

  it('takes the vision tower of two', async () => {
    const folder = await folderWith({ 'onnx/model.onnx': text('both'), 'onnx/text_model.onnx': text('text'), 'onnx/vision_model.onnx': VIT });
    expect((await resolveModel(folder)).path).toBe(join(folder, 'onnx', 'vision_model.onnx'));
  });

  it('counts weights that lie beside the file', async () => {
    const folder = await folderWith({ 'model.onnx': VIT, 'model.onnx_data': text('12345'), 'model.onnx_data_1': text('67'), 'model.onnx.data': text('8'), 'other.onnx_data': text('no') });
    const files = await resolveModel(folder);
    expect(files.sizeBytes).toBe(VIT.length + 8);
    expect(files.provenance.weights).toEqual([
      { file: 'model.onnx.data', sha256: sha256(text('8')) },
      { file: 'model.onnx_data', sha256: sha256(text('12345')) },
      { file: 'model.onnx_data_1', sha256: sha256(text('67')) },
    ]);
  });

  it('says what is missing', async () => {
    await expect(resolveModel('/nowhere/model.onnx')).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE', message: 'Expected an ONNX file or a folder with one at /nowhere/model.onnx, found nothing' });
    await expect(resolveModel(await folderWith({ 'readme.md': text('') }))).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining('there is no ONNX file') });
    await expect(resolveModel(await folderWith({ 'a.onnx': VIT, 'b.onnx': VIT }))).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining('there are a.onnx, b.onnx') });
    await expect(resolveModel(await folderWith({ 'model.onnx': VIT, 'config.json': text('{') }))).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringMatching(/JSON in .*config.json/) });
  });
});

const FILES = {
  'README.md': text('# model'),
  'config.json': text('{"patch_size": 8, "num_register_tokens": 0}'),
  'preprocessor_config.json': PREPROCESSOR,
  'onnx/model.onnx': VIT,
  'onnx/model.onnx_data': new Uint8Array(5000).fill(7),
  'onnx/model_quantized.onnx': text('other'),
};

async function fetchWith(hub: HubServer, cacheFolder: string, reference = 'hf:owner/name'): ReturnType<typeof resolveModel> {
  return resolveModel(reference, { hubUrl: hub.url, cacheFolder });
}

describe('resolveModel on the hub', () => {
  it('fetches the model, its weights and its configurations, and nothing else', async () => {
    const hub = await startHub(FILES);
    const cache = await temporaryFolder();
    const files = await fetchWith(hub, cache);
    expect(files.path).toBe(join(cache, 'models', 'owner--name', COMMIT, 'onnx', 'model.onnx'));
    expect(new Uint8Array(await readFile(files.path))).toEqual(VIT);
    expect(files).toMatchObject({ preprocessor: TINY_PREPROCESSOR, config: { patch_size: 8 }, sizeBytes: VIT.length + 5000 });
    expect(files.provenance).toMatchObject({ repository: 'owner/name', revision: COMMIT, file: 'onnx/model.onnx', sha256: sha256(VIT) });
    const fetched = (await readdir(cache, { recursive: true, withFileTypes: true })).filter((file) => file.isFile()).map(({ name }) => name);
    expect(fetched.sort()).toEqual(['.files.json', 'config.json', 'main', 'model.onnx', 'model.onnx_data', 'preprocessor_config.json']);
  });

  it('fetches a file once, asks again only where a branch points, and works from the cache without network', async () => {
    const hub = await startHub(FILES);
    const cache = await temporaryFolder();
    const first = await fetchWith(hub, cache);
    hub.requests.length = 0;
    expect(await fetchWith(hub, cache)).toEqual(first);
    expect(hub.requests).toEqual(['/api/models/owner/name/revision/main']);
    hub.requests.length = 0;
    expect((await fetchWith(hub, cache, `hf:owner/name@${COMMIT}`)).path).toBe(first.path);
    expect(hub.requests).toEqual([]);
    await hub.stop();
    expect(await fetchWith(hub, cache)).toEqual(first);
  });

  it('follows a branch that moves, and a revision and path that are named', async () => {
    const hub = await startHub(FILES);
    const cache = await temporaryFolder();
    await fetchWith(hub, cache);
    hub.commit = 'b'.repeat(40);
    expect((await fetchWith(hub, cache)).provenance.revision).toBe(hub.commit);
    const named = await fetchWith(hub, cache, 'hf:owner/name@v1/onnx/model_quantized.onnx');
    expect(named.provenance).toMatchObject({ revision: hub.commit, file: 'onnx/model_quantized.onnx', sha256: sha256(text('other')) });
  });

  it('keeps nothing of a file that came otherwise than listed, large or small', async () => {
    for (const bad of ['onnx/model.onnx', 'config.json']) {
      const hub = await startHub(FILES);
      const cache = await temporaryFolder();
      hub.tamper = (path, bytes) => (path === bad ? bytes.map((byte, i) => (i === 5 ? byte ^ 1 : byte)) : bytes);
      await expect(fetchWith(hub, cache)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH', message: expect.stringContaining(`Expected ${bad} of hf:owner/name to have the`) });
      expect((await readdir(cache, { recursive: true })).filter((path) => path.endsWith(`/${bad}`) || path.endsWith('.part'))).toEqual([]);
      hub.tamper = null;
      expect((await fetchWith(hub, cache)).provenance.sha256).toBe(sha256(VIT));
    }
  });

  it('keeps nothing of a download that breaks off', async () => {
    const hub = await startHub(FILES);
    const cache = await temporaryFolder();
    hub.tamper = (path, bytes) => (path.endsWith('.onnx') ? 'break off' : bytes);
    await expect(fetchWith(hub, cache)).rejects.toMatchObject({ code: 'MODEL_UNAVAILABLE', retryable: true });
    expect((await readdir(cache, { recursive: true })).filter((path) => path.includes('.part') || path.endsWith('.onnx'))).toEqual([]);
  });

  it('says in one sentence why a model cannot be had', async () => {
    const hub = await startHub(FILES);
    const cache = await temporaryFolder();
    const fails = async (reference: string, code: string, message: RegExp): Promise<void> => {
      await expect(fetchWith(hub, cache, reference)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    };
    await fails('hf:owner/private', 'MODEL_UNAVAILABLE', /no public model hf:owner\/private \(status 401\).*set HF_TOKEN/);
    await fails('hf:owner/name@nothing', 'MODEL_UNAVAILABLE', /hf:owner\/name@nothing \(status 404\)/);
    await fails('hf:owner/name/onnx/absent.onnx', 'MODEL_INVALID', /Expected onnx\/absent.onnx in hf:owner\/name; there are onnx\/model.onnx, onnx\/model_quantized.onnx/);
    await fails('hf:name', 'MODEL_INVALID', /Expected a model as hf:owner\/name/);
    await expect(resolveModel('hf:owner/name', { hubUrl: 'http://127.0.0.1:1', cacheFolder: cache })).rejects.toMatchObject({
      code: 'MODEL_UNAVAILABLE',
      message: expect.stringMatching(/^Cannot fetch hf:owner\/name from http:\/\/127.0.0.1:1 \(\S.*\); with the files in a folder of your own, give its path instead$/),
    });
  });

  it('leaves names alone that point out of the folder', async () => {
    const hub = await startHub({ 'model.onnx': VIT, 'model.onnx_data/../../../../escaped': text('x') });
    const cache = await temporaryFolder();
    await fetchWith(hub, cache);
    expect((await readdir(dirname(cache))).includes('escaped')).toBe(false);
    expect((await readdir(cache, { recursive: true })).filter((path) => path.endsWith('escaped'))).toEqual([]);
  });

  it('feeds an encoder', async () => {
    const { 'onnx/model.onnx_data': _unused, ...files } = FILES;
    const hub = await startHub(files);
    const encoder = await createOnnxEncoder({ model: 'hf:owner/name', threads: 1, hub: { hubUrl: hub.url, cacheFolder: await temporaryFolder() } });
    expect(encoder.d).toBe(6);
    expect(encoder.provenance).toMatchObject({ repository: 'owner/name', revision: COMMIT, file: 'onnx/model.onnx' });
    await encoder.close();
  });
});
