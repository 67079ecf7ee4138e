/** Commands around a finished dataset and the training loop: its batches on stdout or over HTTP, a rehearsal, other formats. */
import { type Command, Option } from 'commander';
import type { BatchesFlags, ServeFlags } from '../batches.ts';
import type { ExportFlags } from '../export.ts';
import type { PageFlags } from '../pages.ts';
import { WinnowError } from '../../errors.ts';
import { collect, count, positive, print, wholeNumber } from '../options.ts';
import { createCliLog } from '../session.ts';
import type { SimulateFlags } from '../simulate.ts';
import { redisOf } from './queue.ts';

/** Adds `batches`, `serve`, `simulate` and `export`. */
export function addFeed(program: Command, signal: AbortSignal): void {
  addBatches(program, signal);
  addServe(program, signal);
  addSimulate(program);
  addExport(program, signal);
}

function addBatches(program: Command, signal: AbortSignal): void {
  withFeed(program.command('batches').description('stream training batches of one rank as Arrow IPC on stdout'))
    .requiredOption('--steps <n>', 'batches to stream', count)
    .option('--from-step <n>', 'first step', wholeNumber, 0)
    .option('--every <n>', 'steps from one batch to the next: one of n workers takes every n-th', count, 1)
    .option('--rank <n>', 'rank of this process', wholeNumber, 0)
    .option('--world-size <n>', 'ranks in all; default: 1, or the sum of the groups', count)
    .option('--groups <sizes>', 'rank groups that each see the whole batch, such as 48,48,80,120', countList)
    .option('--batch-size <n>', 'images of the global batch; default: the recipe\'s', count)
    .option('--seed <n>', 'another order than the recipe\'s seed gives', wholeNumber)
    .option('--part <name>', 'draw from this part alone')
    .option('--with-images', 'add the encoded bytes of each image')
    .option('--columns <names>', 'these columns alone, such as index,image; fewer are faster from a bucket', (value: string) => value.split(','))
    .option('--strict', 'fail on an image that cannot be read; default: put another in its place, counted')
    .addHelpText('after', '\nExample:\n  winnow batches ./winnow-out --steps 10 | python -c "import pyarrow.ipc, sys; print(pyarrow.ipc.open_stream(sys.stdin.buffer).read_next_batch())"\n')
    .action(async (store: string, flags: BatchesFlags) => {
      const { streamBatches } = await import('../batches.ts');
      for await (const chunk of streamBatches(store, flags, createCliLog({ json: false, level: 'info' }), signal)) await writeOut(chunk);
    });
}

/** Settles when the bytes have left: their memory is then used again. */
function writeOut(chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => process.stdout.write(chunk, (error) => (error ? reject(error) : resolve())));
}

function addServe(program: Command, signal: AbortSignal): void {
  withFeed(program.command('serve').description('serve the live page of a store and, with --batches, training batches to many ranks over HTTP, until stopped'), '[store]')
    .option('--batches', 'also serve GET /batches?step=&steps=&rank=&worldSize=, /schema, /health, /metrics')
    .option('--host <address>', 'address to listen on; another than loopback needs --token, and serves batches alone without one', '127.0.0.1')
    .option('--port <n>', 'port, 0 for any free one', wholeNumber, 8910)
    .option('--token <text>', 'what every request must bring, 16 characters or more; default: WINNOW_TOKEN')
    .option('--redis <url>', 'show what this queue does, too')
    .option('--queues', 'without a store: Bull Board over the queues of --redis or WINNOW_REDIS, and their depths at /metrics')
    .option('--memory-mb <n>', 'megabytes that all streams may hold', count, 2048)
    .option('--streams <n>', 'streams at once', count, 1024)
    .option('--stall-seconds <n>', 'let a client go that has read nothing for so long', count, 600)
    .addHelpText('after', '\nExamples:\n  winnow serve ./winnow-out               # watch a run at http://127.0.0.1:8910/live\n  winnow serve --batches ./winnow-out --port 8910\n  winnow serve --queues --redis redis://queue:6379 --port 8912\n')
    .action(async (store: string | undefined, flags: ServeFlags & PageFlags & { batches?: boolean; queues?: boolean }) => {
      if (flags.queues === true) {
        if (store !== undefined || flags.batches === true) throw new WinnowError('CONFIG_INVALID', 'Expected --queues alone, got a store or --batches too: `winnow serve STORE --redis URL` shows both');
        const { serveQueues } = await import('../../../workers/serve-queues.ts');
        const token = flags.token ?? process.env['WINNOW_TOKEN'] ?? null;
        return serveQueues({ redis: redisOf(flags), host: flags.host, port: flags.port, token, signal, onListening: (url) => process.stderr.write(`Serving the queues at ${url}\n`) });
      }
      if (store === undefined) throw new WinnowError('CONFIG_INVALID', 'Expected a store to serve, or --queues, got neither');
      const { serveStore } = await import('../serve.ts');
      const log = createCliLog({ json: false, level: 'info' });
      await serveStore(store, flags, { log, signal, onReady: (url) => process.stderr.write(`Serving ${store} at ${url}\n`) });
    });
}

function addSimulate(program: Command): void {
  program
    .command('simulate')
    .description('say what a mixture comes to over a run: passes, repeats, shares, bytes, time')
    .argument('[store]', 'a store with a finished dataset; or give --part')
    .requiredOption('--steps <n>', 'steps of the run', count)
    .option('--part <name=rows>', 'a part, instead of a store; may be repeated', collect, [])
    .option('--homogeneous <name=p>', 'with --part: its probability of a homogeneous batch; may be repeated', collect, [])
    .option('--recipe <file>', 'mix and batch as this recipe says')
    .option('--batch-size <n>', 'images of the global batch', count)
    .option('--seed <n>', 'seed of the draws', wholeNumber)
    .option('--image-bytes <n>', 'bytes of an image, where the dataset does not tell', count)
    .option('--window <n>', 'steps over which shards are counted', count, 100)
    .option('--rate <n>', 'images a second; default: the feed is timed for a second', positive)
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow simulate --steps 1000000 --batch-size 4096 --part imagenet-1k=1281167 --part lvd-1689m=1689000000 --homogeneous imagenet-1k=0.1\n')
    .action(async (store: string | undefined, flags: SimulateFlags & { json?: boolean }) => {
      const { simulateRun } = await import('../simulate.ts');
      print(await simulateRun(store ?? null, flags), flags.json);
    });
}

function addExport(program: Command, signal: AbortSignal): void {
  program
    .command('export')
    .description('write the dataset in the format of another loader')
    .argument('<store>', 'a store with a finished dataset')
    .requiredOption('--to <format>', 'webdataset, parquet, mds, faiss or ids')
    .option('--out <folder>', 'where a folder of that name is written', './winnow-export')
    .option('--part <name>', 'only this part; may be repeated', collect, [])
    .option('--with-images', 'parquet: add the original bytes; tars and MDS always have them')
    .option('--source <name=folder>', 'where a source lies now; may be repeated', collect, [])
    .option('--json', 'machine output on stdout')
    .addHelpText('after', '\nExample:\n  winnow export ./winnow-out --to webdataset --out ./tars\n')
    .action(async (store: string, flags: ExportFlags & { json?: boolean }) => {
      const { exportStore } = await import('../export.ts');
      print(await exportStore(store, flags, signal), flags.json);
    });
}

/** What `batches` and `serve` share. */
function withFeed(command: Command, store = '<store>'): Command {
  return command
    .argument(store, 'a store with a finished dataset')
    .option('--recipe <file>', 'mix and batch as this recipe says; default: as the dataset\'s own')
    .option('--source <name=folder>', 'where a source lies now; may be repeated', collect, [])
    .option('--cache-mb <n>', 'megabytes of images kept, and as many of tables', count, 128)
    .option('--ahead <n>', 'batches made ahead', wholeNumber, 2)
    .option('--reads <n>', 'reads under way at once', count, 16)
    .addOption(new Option('--verify <sum>', 'what images are checked by; crc32 is for shards with bytes, files are then checked by sha256').choices(['crc32', 'sha256', 'none']).default('crc32'));
}

function countList(value: string): number[] {
  return value.split(',').map(count);
}
