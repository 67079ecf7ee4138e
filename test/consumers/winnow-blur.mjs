// A program for `shard.derive`: rows as an Arrow stream on stdin, images in the place of others as one on stdout.
// It blurs whole pictures whose uri has a word in it; put a face finder in `boxesOf` to blur parts of each.
//
//     shard: { withBytes: true, derive: { command: [node, winnow-blur.mjs, portraits], version: "1" } }
import { Binary, RecordBatchReader, Table, Uint64, Utf8, tableToIPC, vectorFromArray } from 'apache-arrow';
import sharp from 'sharp';

const word = process.argv[2] ?? '';

function boxesOf(uri, width, height) {
  return uri.includes(word) ? [{ left: 0, top: 0, width, height }] : [];
}

async function blur(uri, bytes) {
  const { autoOrient } = await sharp(bytes).metadata();
  const boxes = boxesOf(uri, autoOrient.width, autoOrient.height);
  if (boxes.length === 0) return null; // unchanged
  const upright = await sharp(bytes).autoOrient().png().toBuffer();
  const blurred = await Promise.all(boxes.map(async (box) => ({ input: await sharp(upright).extract(box).blur(4).png().toBuffer(), left: box.left, top: box.top })));
  return sharp(upright).composite(blurred).jpeg({ quality: 90 }).toBuffer();
}

const [rows, images, notes] = [[], [], []];
for await (const batch of await RecordBatchReader.from(process.stdin)) {
  for (const { row, uri, image } of batch) {
    const derived = await blur(uri, image);
    rows.push(row);
    images.push(derived);
    notes.push(derived === null ? null : 'blurred');
  }
}
process.stdout.write(tableToIPC(new Table({ row: vectorFromArray(rows, new Uint64()), image: vectorFromArray(images, new Binary()), note: vectorFromArray(notes, new Utf8()) }), 'stream'));
