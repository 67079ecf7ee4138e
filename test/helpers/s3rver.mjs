/**
 * s3rver in a process of its own, on a free port, until its standard input ends. Three things are mended to be as S3 has them:
 * an object appears whole (s3rver writes it in place and answers before the file is flushed), and keys are listed in the
 * order of their bytes, page after page (s3rver walks folders in their own order); and an upload that was completed is gone,
 * not a fault of the server. Its continuation tokens use DES, for which Node needs --openssl-legacy-provider.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { access, mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);
const S3rver = require('s3rver');
const S3Object = require('s3rver/lib/models/object.js');
const S3Error = require('s3rver/lib/models/error.js');
const [directory, ...buckets] = process.argv.slice(2);
const server = new S3rver({ directory, port: 0, address: '127.0.0.1', silent: true, vhostBuckets: false, configureBuckets: buckets.map((name) => ({ name })) });
const { store } = server;

const OBJECT = '._S3rver_object';
/** Keys of a bucket in the order of their bytes; made anew after a write or removal. */
const indexes = new Map();
let changes = 0;

function forget(bucket) {
  changes += 1;
  indexes.delete(bucket);
}

async function indexOf(bucket) {
  const known = indexes.get(bucket);
  if (known !== undefined) return known;
  const seen = changes;
  const root = store.getBucketPath(bucket);
  const keys = [];
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith(OBJECT)) keys.push(join(entry.parentPath, entry.name).slice(root.length + 1, -OBJECT.length));
  }
  const sorted = keys.map((key) => Buffer.from(key)).sort(Buffer.compare).map(String);
  if (changes === seen) indexes.set(bucket, sorted); // otherwise something was written meanwhile
  return sorted;
}

store.listObjects = async (bucket, { delimiter = '', startAfter = '', prefix = '', maxKeys = 1000 }) => {
  const after = Buffer.from(startAfter);
  const keys = [];
  const folded = [];
  let isTruncated = false;
  const index = await indexOf(bucket);
  for (let i = position(index, Buffer.compare(after, Buffer.from(prefix)) < 0 ? Buffer.from(prefix) : after); i < index.length; i++) {
    const key = index[i];
    if (Buffer.compare(Buffer.from(key), after) <= 0) continue;
    if (!key.startsWith(prefix)) break;
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const fold = end < 0 ? null : key.slice(0, end + 1);
    if (fold !== null && folded.at(-1) === fold) continue;
    if (keys.length + folded.length === maxKeys) {
      isTruncated = true;
      break;
    }
    if (fold === null) keys.push(key);
    else folded.push(fold);
  }
  const objects = [];
  for (const key of keys) {
    const metadata = await store.getMetadata(bucket, key).catch((error) => (error.code === 'ENOENT' ? null : Promise.reject(error)));
    if (metadata !== null) objects.push(new S3Object(bucket, key, null, metadata));
  }
  // The server takes the last of these for where the next page starts.
  if (folded.length > 0 && isTruncated) throw new Error('more folders than a page holds: not mended here');
  return { objects, commonPrefixes: folded, isTruncated };
};

/** First index whose key is not below. */
function position(index, bytes) {
  let low = 0;
  let high = index.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (Buffer.compare(Buffer.from(index[middle]), bytes) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

store.putObject = async (object) => {
  const path = store.getResourcePath(object.bucket, object.key, 'object');
  const chunks = [];
  if (Buffer.isBuffer(object.content)) chunks.push(object.content);
  else for await (const chunk of object.content) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const md5 = createHash('md5').update(bytes).digest('hex');
  await mkdir(dirname(path), { recursive: true });
  const partial = join(directory, `.${randomUUID()}`);
  await writeFile(partial, bytes);
  await store.putMetadata(object.bucket, object.key, object.metadata, md5);
  await rename(partial, path);
  forget(object.bucket);
  return { size: bytes.length, md5 };
};

const { getMetadata, deleteObject, putObjectMultipart } = store;
store.putObjectMultipart = async (bucket, upload, parts) => {
  await access(join(store.getResourcePath(bucket, undefined, 'uploads'), upload)).catch(() => {
    throw new S3Error('NoSuchUpload', 'The specified multipart upload does not exist.');
  });
  return putObjectMultipart.call(store, bucket, upload, parts);
};
store.getMetadata = async (bucket, key) => {
  for (let tried = 0; ; tried++) {
    try {
      return await getMetadata.call(store, bucket, key);
    } catch (error) {
      if (!(error instanceof SyntaxError) || tried === 20) throw error; // being written
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
};
store.deleteObject = async (bucket, key) => {
  await deleteObject.call(store, bucket, key).catch((error) => (['ENOENT', 'ENOTEMPTY'].includes(error.code) ? undefined : Promise.reject(error)));
  forget(bucket);
};

const { port } = await server.run();
process.stdout.write(`${port}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
