/**
 * Paths inside a source: `/`-separated, relative to its location, and what goes wrong when one is opened.
 */
import { WinnowError, type ErrorCode } from '../errors.ts';

/** Lower-case text after the last dot of the last segment; empty without one. */
export function extensionOf(path: string): string {
  const dot = path.lastIndexOf('.');
  return dot <= path.lastIndexOf('/') ? '' : path.slice(dot + 1).toLowerCase();
}

/** Name of the folder that holds a path, or null at the top. */
export function parentOf(path: string): string | null {
  const end = path.lastIndexOf('/');
  return end <= 0 ? null : path.slice(path.lastIndexOf('/', end - 1) + 1, end);
}

/** Whether a path stays under what it is joined to, links aside: no empty, `.` or `..` segment, no NUL. */
export function isPlainPath(path: string): boolean {
  return !path.includes('\0') && path.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..');
}

/** Whether an absolute path is `root` or lies under it. Both without links and `..`. */
export function isInside(root: string, path: string): boolean {
  return path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`);
}

/** The errno of a failed system call, or an empty string. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** A failed system call on a source as the error to stop with. `action` reads on from "Could not". */
export function sourceError(action: string, error: unknown): WinnowError {
  if (error instanceof WinnowError) return error;
  const system = systemCode(error);
  const { code, says } = FAULTS[system] ?? { code: 'STORE_UNAVAILABLE', says: String(error) };
  return new WinnowError(code, `Could not ${action}: ${says}`, { details: { system }, cause: error });
}

/** Why one image could not be read, in words without a machine path. */
export function faultReason(error: unknown): string {
  const system = systemCode(error);
  return FAULTS[system]?.says ?? (system === '' ? 'reading failed' : `reading failed with ${system}`);
}

const FAULTS: Readonly<Record<string, { code: ErrorCode; says: string }>> = {
  ENOENT: { code: 'INPUT_MISSING', says: 'it does not exist' },
  ENOTDIR: { code: 'INPUT_MISSING', says: 'a part of the path is a file, not a folder' },
  EACCES: { code: 'STORE_DENIED', says: 'permission denied' },
  EPERM: { code: 'STORE_DENIED', says: 'operation not permitted' },
  ELOOP: { code: 'INPUT_MALFORMED', says: 'its links lead in a circle' },
  ENAMETOOLONG: { code: 'INPUT_MALFORMED', says: 'the path is longer than the system allows' },
  EMFILE: { code: 'STORE_UNAVAILABLE', says: 'too many files are open' },
  ENFILE: { code: 'STORE_UNAVAILABLE', says: 'too many files are open on this machine' },
};
