/** Reads the bytes of images where they lie in a bucket: whole objects, checked, and ranges of tars. */
import { WinnowError } from '../errors.ts';
import type { ImageBytes, ImagePlace } from './image.ts';
import { isPlainPath } from './path.ts';
import { openS3Source } from './s3-source.ts';

export interface S3Images {
  /** @throws {WinnowError} when the source, not the one image, is at fault */
  read(place: ImagePlace, sizeBytesMax: number): Promise<ImageBytes>;
}

/** @param location `s3://bucket/prefix` that no path leads out of */
export async function openS3Images(location: string): Promise<S3Images> {
  const { bucket, prefix } = await openS3Source(location);
  return {
    read: async ({ path, offset, length }, sizeBytesMax) => {
      if (!isPlainPath(path)) return { status: 'unreadable', reason: 'the path leads out of the source' };
      if (offset >= 0 && length > sizeBytesMax) return { status: 'too-large-file', sizeBytes: length };
      try {
        const got = await bucket.read(prefix + path, offset < 0 ? { sizeBytesMax } : { range: { offset, length } });
        return got.status === 'ok' ? got : { status: 'too-large-file', sizeBytes: got.sizeBytes };
      } catch (error) {
        const reason = error instanceof WinnowError ? OWN_FAULTS[String(error.details.name)] : undefined;
        const isShort = error instanceof WinnowError && error.code === 'INPUT_MALFORMED';
        if (reason === undefined && !isShort) throw error;
        if (reason === DENIED) await bucket.probe(prefix); // throws when the whole source is out of reach
        return { status: 'unreadable', reason: reason ?? `it ended before byte ${offset + length}` };
      }
    },
  };
}

const DENIED = 'permission denied';
/** What is one image's fault, by the server's name for it. */
const OWN_FAULTS: Readonly<Record<string, string>> = { NoSuchKey: 'it does not exist', NotFound: 'it does not exist', AccessDenied: DENIED, Forbidden: DENIED };
