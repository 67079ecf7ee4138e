/**
 * Contamination: an evaluation set of 500 photographs, 200 of which are planted in a pool of 20,000, half of them altered: all
 * 17,243 photographs there are, and drawn pictures for the rest. The gate must fire, and the report must list what was planted and nothing else.
 *
 *   npx tsx test/bench/planted-evaluation.ts [folder] [model]     # needs ../shared/data; the folder keeps what was made
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ingestImages } from '../../pipelines/1-ingest.ts';
import { embedImages } from '../../pipelines/2-embed.ts';
import { decodeTable } from '../../src/arrow/ipc.ts';
import { openSession } from '../../src/cli/session.ts';
import { SILENT_PROGRESS } from '../../src/cli/progress.ts';
import { drawCorpus } from '../../src/demo/draw.ts';
import { ExecutionConfig } from '../../src/config.ts';
import { type ContaminationManifest, readContamination } from '../../src/dedup/contamination.ts';
import { decontaminate } from '../../src/dedup/decontaminate.ts';
import { EmbedConfig } from '../../src/embed/config.ts';
import { WinnowError } from '../../src/errors.ts';
import { type ImagesManifest, SourceConfig } from '../../src/ingest/image.ts';
import { resolveSources } from '../../src/ingest/ingest.ts';
import { createLog } from '../../src/log.ts';
import type { StoredManifest } from '../../src/run/manifest.ts';
import type { Store } from '../../src/store/store.ts';
import { sharedData, withoutSharedData } from '../helpers/shared-data.ts';
import { ALTERATIONS, type Alteration, alter } from './alter-image.ts';

const PLANTED = 200;
const DRAWN = 2_557;

async function main(folder: string, model: string): Promise<void> {
  const missing = withoutSharedData();
  if (missing !== null) return void process.stdout.write(`${missing}\n`);
  const kinds = await plant(join(folder, 'planted'));
  if (!existsSync(join(folder, 'drawn'))) await drawCorpus(join(folder, 'drawn'), { images: DRAWN, concepts: 76 });
  const places = { drawn: { folder: join(folder, 'drawn') }, tars: { tars: join(sharedData, 'pool-tars') }, longtail: { folder: join(sharedData, 'longtail') }, raw: { folder: join(sharedData, 'raw') }, planted: { folder: join(folder, 'planted') } };
  const pool = resolveSources(Object.entries(places).map(([name, place]) => SourceConfig.parse({ name, ...place })), '/');
  const set = resolveSources([SourceConfig.parse({ name: 'evaluation', folder: join(sharedData, 'seeds') })], '/');
  const locations = Object.fromEntries([...pool, ...set].map(({ name, location }) => [name, location]));
  const session = await openSession({ store: join(folder, 'store'), seed: 0, execution: ExecutionConfig.parse({}), clusterEngine: 'onnxruntime', locations, signal: new AbortController().signal, log: createLog({ level: 'warn' }), progress: SILENT_PROGRESS, command: 'bench' });
  const { context } = session;
  const config = EmbedConfig.parse({});
  const images = await ingestImages(context, 'images', pool);
  const embeddings = await embedImages(context, 'embeddings', images, config, model);
  const listed = await ingestImages(context, 'evaluation/set/images', set);
  const evaluation = { name: 'evaluation', images: listed, embeddings: await embedImages(context, 'evaluation/set/embeddings', listed, config, model) };
  const uris = await urisOf(context.store, images);
  const setUris = await urisOf(context.store, evaluation.images);
  say(`${uris.length} images in the pool, ${setUris.length} in the set, ${PLANTED} planted`);
  for (const threshold of [0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99, 0.995]) {
    const request = { images, embeddings, verdicts: [], duplicates: null, sets: [{ ...evaluation, threshold, mode: 'drop' as const }] };
    const { manifest } = await decontaminate(context, request);
    const gate = await decontaminate(context, { ...request, sets: [{ ...evaluation, threshold, mode: 'fail' }] }).then(() => 'does not fire', (error: unknown) => (error instanceof WinnowError && error.code === 'CONTAMINATED' ? 'fires' : String(error)));
    report(threshold, gate, await rowsOf(context.store, manifest), { uris, setUris, kinds, matched: manifest.sets[0]!.matched });
  }
  await session.close('done');
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Every second one altered, by the kinds in turn. @returns kind by name of the file */
async function plant(folder: string): Promise<Map<string, Alteration>> {
  await mkdir(folder, { recursive: true });
  const names = (await readdir(join(sharedData, 'seeds'))).filter((name) => /\.jpe?g$/i.test(name)).sort();
  const kinds = new Map<string, Alteration>();
  for (let i = 0; i < PLANTED; i++) {
    const name = names[Math.floor((i * names.length) / PLANTED)]!;
    const kind = i % 2 === 0 ? 'exact' : ALTERATIONS[1 + (Math.floor(i / 2) % (ALTERATIONS.length - 1))]!;
    kinds.set(`planted/${name}`, kind);
    if (!existsSync(join(folder, name))) await writeFile(join(folder, name), await alter(await readFile(join(sharedData, 'seeds', name)), kind, i));
  }
  return kinds;
}

async function urisOf(store: Store, { manifest }: StoredManifest<ImagesManifest>): Promise<string[]> {
  const uris: string[] = [];
  for (const part of manifest.parts) uris.push(...(decodeTable(await store.read(part.path), part.path).strings('uri') as string[]));
  return uris;
}

async function rowsOf(store: Store, { parts }: ContaminationManifest): Promise<{ row: number; reference: number; similarity: number }[]> {
  const rows: { row: number; reference: number; similarity: number }[] = [];
  for (const part of parts) {
    const { reason, reference, similarity } = await readContamination(store, part);
    reason.forEach((one, i) => one !== null && rows.push({ row: part.firstRow + i, reference: reference[i]!, similarity: similarity[i]! }));
  }
  return rows;
}

function report(threshold: number, gate: string, rows: readonly { row: number; reference: number; similarity: number }[], { uris, setUris, kinds, matched }: { uris: string[]; setUris: string[]; kinds: ReadonlyMap<string, Alteration>; matched: number }): void {
  const isRight = ({ row, reference }: { row: number; reference: number }): boolean => uris[row]!.split('/').at(-1) === setUris[reference]!.split('/').at(-1);
  const found = rows.filter(isRight);
  const missed = [...kinds].filter(([uri]) => !found.some(({ row }) => uris[row] === uri)).map(([, kind]) => kind);
  const tally = ALTERATIONS.map((kind) => [kind, missed.filter((one) => one === kind).length] as const).filter(([, count]) => count > 0).map(([kind, count]) => `${count} ${kind}`);
  const exact = [...kinds.values()].filter((kind) => kind === 'exact').length;
  const foundExact = found.filter(({ row }) => kinds.get(uris[row]!) === 'exact').length;
  say(`> ${threshold}: gate ${gate}; ${matched} of the set; rows ${rows.length}; recall ${found.length}/${PLANTED} (as they are ${foundExact}/${exact}, altered ${found.length - foundExact}/${PLANTED - exact}); precision ${((100 * found.length) / rows.length).toFixed(1)} %; missed: ${tally.join(', ') || 'none'}`);
  for (const { row, reference, similarity } of rows.filter((one) => !isRight(one)).sort((a, b) => b.similarity - a.similarity).slice(0, 6)) say(`    ${similarity.toFixed(3)} ${uris[row]} ~ ${setUris[reference]}`);
}

await main(resolve(process.argv[2] ?? '/tmp/winnow-planted-evaluation'), process.argv[3] === undefined || process.argv[3] === 'descriptor' ? (process.argv[3] ?? join(sharedData, 'models/mobilenetv2_fp32_224.onnx')) : resolve(process.argv[3]));
