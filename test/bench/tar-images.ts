/** The pictures of a tar, as bytes. */
import { createReadStream } from 'node:fs';
import tar from 'tar-stream';

export async function* readTarImages(path: string): AsyncIterable<{ name: string; bytes: Buffer }> {
  for await (const entry of createReadStream(path).pipe(tar.extract())) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    if (/\.jpe?g$/i.test(entry.header.name)) yield { name: entry.header.name, bytes: Buffer.concat(chunks) };
  }
}
