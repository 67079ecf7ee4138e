/**
 * Nouns of the ingest stage: where images come from and the table that lists them. Row r of `images/` is the r-th image
 * of the first source, then of the second, and so on; every later table counts rows the same way.
 */
import { z } from 'zod';
import { DownloadConfig } from '../download/config.ts';
import type { Columns } from '../arrow/tables.ts';
import type { Manifest } from '../run/manifest.ts';
import { type ColourStats, type ColourSums, addColours, totalColours } from './colour-sums.ts';
import { RASTER_FAULTS } from './raster.ts';
import { TilesConfig } from './tiles-config.ts';
import { parseTilePath } from './tile-path.ts';

export { type ColourStats, type ColourSums, addColours, totalColours };

const sourceName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'letters, digits, ".", "_" and "-" only')
  .describe('Name of the source: the first segment of every uri that comes from it. Default: the last segment of its path.');

/** One place images come from: exactly one of `folder`, `tars`, `list`, `urls`, `tiles`. Paths are relative to the recipe's file. */
export const SourceConfig = z
  .strictObject({
    name: sourceName.optional(),
    folder: z.string().min(1).optional().describe('A folder or s3://bucket/prefix, read recursively in code-unit order of the relative path. Links that leave the folder are not followed.'),
    tars: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).optional().describe('WebDataset tars: a folder of .tar files, one .tar, or a list of them, on this machine or in one bucket (s3://bucket/…). Bytes are read in place.'),
    list: z.string().min(1).optional().describe('A .csv, .jsonl or .parquet file with one image a row, on this machine or in a bucket.'),
    tiles: TilesConfig.optional().describe('Square tiles cut at random from a folder of large rasters on this machine, such as ortho-rectified satellite scenes.'),
    urls: z.string().min(1).optional().describe('A .csv, .jsonl or .parquet file with one http: or https: URL a row, on this machine or in a bucket. The pictures are downloaded into tars in the store.'),
    download: DownloadConfig.optional().describe('`urls`: manners, limits and rules of the download.'),
    column: z.string().min(1).default('uri').describe('`list`, `urls`: the column that holds the path, URI or URL.'),
    root: z.string().min(1).optional().describe('`list`: the folder or s3://bucket/prefix that entries start from and may not leave. Default: the folder of the list. A list in a bucket names images in buckets only.'),
    label: z
      .union([z.literal('parent'), z.literal('none'), z.strictObject({ column: z.string().min(1) }), z.strictObject({ extension: z.string().min(1) })])
      .default('none')
      .describe('Label of an image: its parent folder, none, a column of the list, or a tar sibling such as {extension: cls}. Never used to choose images; reports compare with it.'),
    extensions: z.array(z.string().regex(/^[a-z0-9]+$/)).min(1).optional().describe('`folder`, `tars`, `tiles`: file extensions, lower case without a dot, that count as images. Default: common image formats; for `tiles` those of rasters.'),
  })
  .superRefine((source, context) => {
    const given = (['folder', 'tars', 'list', 'urls', 'tiles'] as const).filter((key) => source[key] !== undefined);
    if (given.length !== 1) context.addIssue({ code: 'custom', message: `Expected exactly one of folder, tars, list, urls, tiles, got ${given.length === 0 ? 'none' : given.join(' and ')}` });
    if (source.download !== undefined && source.urls === undefined) context.addIssue({ code: 'custom', path: ['download'], message: 'Expected urls beside download; nothing else is downloaded' });
    if (typeof source.label !== 'object') return;
    if ('column' in source.label && source.list === undefined && source.urls === undefined) context.addIssue({ code: 'custom', path: ['label'], message: 'Expected a list beside label: {column}; only lists have columns' });
    if ('extension' in source.label && source.tars === undefined) context.addIssue({ code: 'custom', path: ['label'], message: 'Expected tars beside label: {extension}; only tars have siblings' });
  });

export type SourceConfig = z.infer<typeof SourceConfig>;

export type SourceKind = 'folder' | 'tars' | 'list' | 'urls' | 'tiles';

/** A source with its name, and with its paths made absolute. `location`, `entries` are machine facts: never written to an output. */
export interface NamedSource {
  readonly config: SourceConfig;
  readonly name: string;
  readonly kind: SourceKind;
  /** Folder, or `s3://bucket/prefix` with where its server is, that the `path` of every row starts from. */
  readonly location: string;
  /** What was named: the folder, the tars and folders of tars in the order given, or the list. */
  readonly entries: readonly string[];
}

/** Why something that lies in a source is not a row. Each is counted in the manifest's stats: nothing is lost silently. */
export const SKIP_REASONS = [
  'hidden', // a name that begins with a dot; a hidden folder counts once
  'extension', // not one of the source's extensions, nor (in a tar) a caption, meta or label of its key
  'not-a-file', // a fifo, socket or device; in a tar also a link or a sparse file
  'name-not-utf8', // a name that no column of text can hold; a folder counts once
  'link-outside', // a link that leaves the folder
  'link-broken', // a link to nothing
  'link-cycle', // a link back into a folder being listed, or one that was followed before
  'store', // the run's own store, when it lies in the folder it lists
  'vanished', // gone between two looks
  'no-image', // a key of a tar without any image
  'blank', // a row of a list without an entry
  ...RASTER_FAULTS, // of `tiles`: a raster that no tile is cut from, by reason
  'tile-nodata', // a tile given up because every window tried for it has too large a share without data
] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

/** What is odd about rows that are listed all the same; counted beside the skips. */
export const REMARKS = [
  'text-too-long', // a caption, meta or label of more than 1 MiB, left out
  'text-not-utf8', // a caption, meta or label with bytes that are not UTF-8, each read as U+FFFD
  'text-repeated', // a second caption, meta or label of one key, left out
  'meta-not-json', // a .json that is not JSON, kept as a JSON string
  'tar-unended', // a tar without the two zero blocks that end one: perhaps cut off between members
  'outside-root', // an entry of a list that leads out of the root: listed, but its bytes are not read
  'binary-column', // a column of bytes in a Parquet list, left out of meta
  'raster-own-pixels', // a raster without a georeference, cut at its own pixels though a resolution is wanted
  'tile-again', // a window drawn again because too much of it is without data
] as const;
export type Remark = (typeof REMARKS)[number];

/** Where one image's bytes lie: a row's own columns. `offset` < 0: the whole file. */
export interface ImagePlace {
  readonly source: string;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** The bytes of an image, or why there are none; the last two are statuses of the row. */
export type ImageBytes =
  | { readonly status: 'ok'; readonly bytes: Uint8Array; /** Of a tile's pixels, which are at hand when it is cut. */ readonly colours?: ColourSums }
  /** `reason` names no machine path. */
  | { readonly status: 'unreadable'; readonly reason: string }
  | { readonly status: 'too-large-file'; readonly sizeBytes: number };

/** Reads images where they lie. Safe to call many times at once. */
export interface ByteReader {
  /**
   * @param sizeBytesMax a larger image is not read
   * @throws {WinnowError} when the source, not the one image, is at fault: not named, gone, out of file handles
   */
  read(place: ImagePlace, sizeBytesMax: number): Promise<ImageBytes>;
  /** Closes every file, after the reads under way. */
  close(): Promise<void>;
}

/** File extensions that count as images where a source does not say. */
export const IMAGE_EXTENSIONS = ['jpg', 'jpeg', 'jpe', 'jfif', 'png', 'webp', 'gif', 'tif', 'tiff', 'avif', 'heic', 'heif', 'bmp', 'jp2', 'jxl'] as const;

/** Most rows of one part of the `images/` table; a constant of the format, so that no setting changes the bytes. */
export const IMAGES_PART_ROWS = 65_536;

/** A part also ends after the row that brings its text to this many UTF-16 units, so that long captions and meta stay bounded. */
export const IMAGES_PART_TEXT = 2 ** 26;

/**
 * Rows of `images/` as columns. `uri` is `<source>/<relative path>` (for a tar member `<source>/<tar>/<member>`; for a list
 * entry that is a URL and lies outside the root, the entry as it is). `offset` and `length` say where in the tar the bytes lie.
 */
export interface ImageRows {
  readonly rowCount: number;
  readonly uri: readonly string[];
  /** Path of the file to open, relative to the source's location; for a tar member, the tar. */
  readonly path: readonly string[];
  readonly source: readonly string[];
  /** Bytes into the file, or −1. */
  readonly offset: Float64Array;
  readonly length: Float64Array;
  /** Bytes of the image as listed, or −1 when listing does not say. */
  readonly size: Float64Array;
  readonly label: readonly (string | null)[];
  readonly caption: readonly (string | null)[];
  /** JSON text of a `.json` sibling or of the other columns of a list. */
  readonly meta: readonly (string | null)[];
  /** How the download of a row ended, so that its bytes are not looked for; null where nothing was downloaded. Absent: all null. */
  readonly status?: readonly (string | null)[];
}

export interface ImagesManifest extends Manifest {
  readonly sources: readonly { readonly name: string; readonly kind: SourceKind; readonly firstRow: number; readonly rowCount: number }[];
}

/**
 * The Arrow columns of a run of image rows. `caption` and `meta` are left out when `withText` is false; `x`, `y`, `w`, `h`, a
 * tile's window in pixels of its raster, when `withWindows` is; `status` where the rows have it.
 */
export function imageColumns(rows: ImageRows, withText: boolean, withWindows = false): Columns {
  const known = (values: Float64Array): Uint8Array => Uint8Array.from(values, (value) => (value < 0 ? 0 : 1));
  const clamped = (values: Float64Array): Float64Array => values.map((value) => Math.max(0, value));
  const place = { offset: { type: 'uint64', values: clamped(rows.offset), valid: known(rows.offset) }, length: { type: 'uint64', values: clamped(rows.length), valid: known(rows.length) } } as const;
  return {
    uri: { type: 'utf8', values: rows.uri },
    source: { type: 'dictionary', values: rows.source },
    path: { type: 'utf8', values: rows.path },
    ...place,
    size: { type: 'uint64', values: clamped(rows.size), valid: known(rows.size) },
    label: { type: 'utf8', values: rows.label },
    ...(withText ? { caption: { type: 'utf8', values: rows.caption }, meta: { type: 'utf8', values: rows.meta } } : {}),
    ...(withWindows ? windowColumns(rows.path) : {}),
    ...(rows.status === undefined ? {} : { status: { type: 'dictionary', values: rows.status } }),
  };
}

function windowColumns(paths: readonly string[]): Columns {
  const tiles = paths.map(parseTilePath);
  const valid = Uint8Array.from(tiles, (tile) => (tile === null ? 0 : 1));
  const column = (name: 'x' | 'y' | 'w' | 'h'): Columns[string] => ({ type: 'uint32', values: Uint32Array.from(tiles, (tile) => tile?.[name] ?? 0), valid });
  return { x: column('x'), y: column('y'), w: column('w'), h: column('h') };
}
