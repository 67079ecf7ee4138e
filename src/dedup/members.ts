/**
 * The members of every group, group by group, each with what its image is called and what was said of it, so that the
 * captions and labels of copies that are dropped are found beside the image that stays.
 */
import { decodeTable, encodeTable } from '../arrow/ipc.ts';
import type { ImagesManifest } from '../ingest/image.ts';
import { type Part, readPart, writePart } from '../run/manifest.ts';
import type { Store } from '../store/store.ts';
import { joined } from './arrays.ts';
import { DUPLICATE_REASONS } from './duplicates.ts';
import { createSpill } from './spill.ts';

export interface MemberWriter {
  /** @param reason index in DUPLICATE_REASONS, −1 where the row stays */
  add(keeper: number, row: number, reason: number, nearest: number, similarity: number): Promise<void>;
  finish(): Promise<Part[]>;
}

/** Members sorted and joined at a time, and rows of a part. */
const BUCKET_MEMBERS = 2 ** 18;
const PART_ROWS = 65_536;
const MEMBER_WORDS = 5;

/** @param membersMax members there can be, which says into how many buckets they are sorted by keeper */
export function createMemberWriter(store: Store, { path, base, images, rows, membersMax }: { path: string; base: string; images: ImagesManifest; rows: number; membersMax: number }): MemberWriter {
  const buckets = Math.max(1, Math.ceil(membersMax / BUCKET_MEMBERS));
  const spill = createSpill(buckets, { store, prefix: `${base}/listed` }, BUCKET_MEMBERS, MEMBER_WORDS);
  return {
    add: async (keeper, row, reason, nearest, similarity) => {
      if (spill.add(Math.floor((keeper / rows) * buckets), keeper, row, reason, nearest, similarity)) await spill.settle();
    },
    finish: async () => {
      const parts: Part[] = [];
      for (let bucket = 0; bucket < buckets; bucket++) {
        const members = await readSorted(spill.take(bucket));
        const texts = await readTexts(store, images, members);
        for (let first = 0; first * MEMBER_WORDS < members.length; first += PART_ROWS) {
          const count = Math.min(PART_ROWS, members.length / MEMBER_WORDS - first);
          parts.push(await writePart(store, path, parts, count, encodeMembers(members, texts, first, count)));
        }
      }
      return parts;
    },
  };
}

/** By keeper, then row; buckets are ranges of keepers, so that they follow one another. */
async function readSorted(runs: AsyncIterable<Float64Array>): Promise<Float64Array> {
  const values: Float64Array[] = [];
  for await (const run of runs) values.push(run);
  const all = joined(values);
  const order = Uint32Array.from({ length: all.length / MEMBER_WORDS }, (_, i) => i * MEMBER_WORDS).sort((a, b) => all[a]! - all[b]! || all[a + 1]! - all[b + 1]!);
  const sorted = new Float64Array(all.length);
  order.forEach((from, to) => sorted.set(all.subarray(from, from + MEMBER_WORDS), to * MEMBER_WORDS));
  return sorted;
}

type Texts = Record<'uri' | 'label' | 'caption' | 'meta', (string | null)[]>;

/** What `images/` says of each member; parts without one are not read. */
async function readTexts(store: Store, images: ImagesManifest, members: Float64Array): Promise<Texts> {
  const n = members.length / MEMBER_WORDS;
  const texts: Texts = { uri: [], label: [], caption: [], meta: [] };
  for (const name of Object.keys(texts) as (keyof Texts)[]) texts[name] = new Array<string | null>(n).fill(null);
  const order = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => members[a * MEMBER_WORDS + 1]! - members[b * MEMBER_WORDS + 1]!);
  let next = 0;
  for (const part of images.parts) {
    const end = part.firstRow + part.rowCount;
    const from = next;
    while (next < n && members[order[next]! * MEMBER_WORDS + 1]! < end) next++;
    if (next === from) continue;
    const view = decodeTable(await readPart(store, part), part.path);
    for (const name of Object.keys(texts) as (keyof Texts)[]) {
      if (!view.has(name)) continue;
      const values = view.strings(name);
      for (const i of order.subarray(from, next)) texts[name][i] = values[members[i * MEMBER_WORDS + 1]! - part.firstRow] ?? null;
    }
  }
  return texts;
}

function encodeMembers(members: Float64Array, texts: Texts, first: number, count: number): Uint8Array {
  const column = (word: number): Float64Array => Float64Array.from({ length: count }, (_, i) => members[(first + i) * MEMBER_WORDS + word]!);
  const [keeper, row, reason, nearest] = [column(0), column(1), column(2), column(3)];
  const text = (name: keyof Texts): { type: 'utf8'; values: (string | null)[] } => ({ type: 'utf8', values: texts[name].slice(first, first + count) });
  return encodeTable({
    group: { type: 'uint64', values: keeper },
    row: { type: 'uint64', values: row },
    keeper: { type: 'bool', values: Uint8Array.from(row, (one, i) => (one === keeper[i] ? 1 : 0)) },
    reason: { type: 'dictionary', values: Array.from(reason, (one) => DUPLICATE_REASONS[one] ?? null), dictionary: DUPLICATE_REASONS },
    nearest: { type: 'uint64', values: nearest },
    similarity: { type: 'float32', values: Float32Array.from(column(4)) },
    uri: text('uri'),
    label: text('label'),
    caption: text('caption'),
    meta: text('meta'),
  });
}
