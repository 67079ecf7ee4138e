/**
 * The `Store` port: everything a run makes lies under one prefix and is read and written through these five verbs.
 * Small on purpose, so that a file system and an object store can both keep its laws (`test/store/store-conformance.ts`).
 */

export interface StoreEntry {
  /** `/`-separated, relative to the store's prefix, no leading slash, no `.` or `..` segment. */
  readonly key: string;
  readonly sizeBytes: number;
}

export interface Written {
  readonly sizeBytes: number;
  /** SHA-256 of the bytes, hex. */
  readonly sha256: string;
}

export interface Store {
  /** Where this is, for messages and logs; never written into an output file. */
  readonly uri: string;
  /**
   * @param range byte range; a range past the end of the object is an error, not a short read
   * @throws {WinnowError} INPUT_MISSING when there is no such key
   */
  read(key: string, range?: { offset: number; length: number }): Promise<Uint8Array>;
  /**
   * Writes the whole object or nothing: no reader ever sees a part of it, and a crash leaves the old object or none.
   * Equal keys with equal bytes may be written twice, by two processes at once too.
   */
  write(key: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<Written>;
  /** Null when there is no such key. */
  head(key: string): Promise<StoreEntry | null>;
  /** Every entry whose key starts with `prefix`, ascending by code units of the key. Unfinished writes never show. */
  list(prefix: string): AsyncIterable<StoreEntry>;
  /** Removes the key, or everything under it when it ends in `/`. Removing what is not there is no error. */
  remove(key: string): Promise<void>;
}

/** A key's segments may not be empty, `.` or `..`: a key can never leave the store. */
export function isValidKey(key: string): boolean {
  const path = key.endsWith('/') ? key.slice(0, -1) : key;
  return path.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..' && !segment.includes('\0'));
}
