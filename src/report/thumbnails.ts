/** The images of a page within a budget: read where they lie, made small, inlined; what is not there says why. */
import { DEFAULT_DECODE_LIMITS } from '../embed/embedding.ts';
import { WinnowError, throwIfAborted } from '../errors.ts';
import type { ByteReader } from '../ingest/image.ts';
import { boundedText, escapeHtml } from './page.ts';
import type { ImageFacts } from './scan-images.ts';
import { THUMBNAIL_SIDE, drawThumbnail } from './thumbnail.ts';

export interface WantedImage {
  /** Key prefix of its listing, such as `images` or `seeds/places/images`. */
  readonly table: string;
  readonly row: number;
}

export interface Thumbnails {
  /** An `img`, or a grey cell that says why there is none. @param mark `kept` or `crowded` give the cell a border that says so */
  cell(image: WantedImage, mark?: 'kept' | 'crowded' | 'keeper'): string;
  /** The image as a `data:` URI, or null. */
  uri(image: WantedImage): string | null;
  readonly facts: (image: WantedImage) => ImageFacts | null;
  /** Images inlined, and the bytes they take in the page, each as often as it is shown. */
  readonly shown: number;
  readonly bytes: number;
  /** Images that the budget left out. */
  readonly leftOut: number;
  /** Sources that could not be opened, with the reason. */
  readonly faults: ReadonlyMap<string, string>;
}

export interface ThumbnailOptions {
  readonly reader: ByteReader;
  readonly facts: (image: WantedImage) => ImageFacts | null;
  /** Characters of `data:` URIs at most. */
  readonly budgetBytes: number;
  readonly signal: AbortSignal;
}

/** Also small images are shown: a rejected one is looked at to see why. */
const LIMITS = { ...DEFAULT_DECODE_LIMITS, sideMin: 1 };
const AT_ONCE = 16;

/** @param wanted in order of priority, repeated as often as shown: the first are kept when the budget does not hold all */
export async function drawThumbnails(wanted: readonly WantedImage[], { reader, facts, budgetBytes, signal }: ThumbnailOptions): Promise<Thumbnails> {
  const uses = new Map<string, { image: WantedImage; count: number }>();
  for (const image of wanted) {
    const use = uses.get(keyOf(image));
    if (use === undefined) uses.set(keyOf(image), { image, count: 1 });
    else use.count++;
  }
  const uris = new Map<string, string>();
  const why = new Map<string, string>();
  const faults = new Map<string, string>();
  const read = (image: WantedImage): Promise<string | { fault: string }> => readOne(facts(image), reader, faults);
  let [bytes, leftOut] = [0, 0];
  const queue = [...uses.values()];
  for (let first = 0; first < queue.length; first += AT_ONCE) {
    throwIfAborted(signal);
    const some = queue.slice(first, first + AT_ONCE);
    const drawn = bytes >= budgetBytes ? some.map(() => ({ fault: OVER })) : await Promise.all(some.map(({ image }) => read(image)));
    some.forEach(({ image, count }, i) => {
      const found = drawn[i]!;
      const size = typeof found === 'string' ? found.length * count : 0;
      if (typeof found === 'string' && bytes + size <= budgetBytes) {
        uris.set(keyOf(image), found);
        bytes += size;
        return;
      }
      const fault = typeof found === 'string' ? OVER : found.fault;
      if (fault === OVER) leftOut++;
      why.set(keyOf(image), fault);
    });
  }
  return {
    uri: (image) => uris.get(keyOf(image)) ?? null,
    cell: (image, mark) => cellOf(uris.get(keyOf(image)), why.get(keyOf(image)) ?? 'not read', facts(image), mark),
    facts, bytes, leftOut, faults,
    shown: uris.size,
  };
}

const OVER = 'left out: the page has a size limit';
const NOT_AT_HAND = 'its source is not at hand';

function keyOf({ table, row }: WantedImage): string {
  return `${table}:${row}`;
}

async function readOne(place: ImageFacts | null, reader: ByteReader, faults: Map<string, string>): Promise<string | { fault: string }> {
  if (place === null) return { fault: 'not listed' };
  if (faults.has(place.source)) return { fault: NOT_AT_HAND };
  try {
    const read = await reader.read(place, LIMITS.sizeBytesMax);
    if (read.status !== 'ok') return { fault: read.status };
    const drawn = await drawThumbnail(read.bytes, LIMITS);
    return 'webp' in drawn ? `data:image/webp;base64,${Buffer.from(drawn.webp).toString('base64')}` : drawn;
  } catch (error) {
    if (!(error instanceof WinnowError) || error.code === 'ABORTED') throw error;
    faults.set(place.source, error.code);
    return { fault: NOT_AT_HAND };
  }
}

/** The name of an image for those who cannot see it: its label, else its caption, else its place. */
function nameOf(facts: ImageFacts | null): string {
  return facts === null ? 'image' : boundedText(facts.label ?? facts.caption ?? facts.uri, 80);
}

function cellOf(uri: string | undefined, why: string, facts: ImageFacts | null, mark: string | undefined): string {
  const name = escapeHtml(nameOf(facts));
  const title = facts === null ? '' : ` title="${escapeHtml(boundedText(facts.uri, 160))}"`;
  const look = mark === undefined ? '' : ` ${mark}`;
  const said = mark === undefined ? '' : `, ${SAID[mark] ?? mark}`;
  if (uri === undefined) return `<li class="cell${look}"${title}><span class="thumb missing" role="img" aria-label="${name}${said}: ${escapeHtml(why)}">${escapeHtml(why)}</span></li>`;
  return `<li class="cell${look}"${title}><img class="thumb" src="${uri}" alt="${name}${said}" width="${THUMBNAIL_SIDE}" height="${THUMBNAIL_SIDE}" decoding="async"></li>`;
}

const SAID: Readonly<Record<string, string>> = { kept: 'kept', crowded: 'of a crowded group', keeper: 'the one that stays' };
