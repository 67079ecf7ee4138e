/** What a failed request or an answer without a picture is called. */
import { WinnowError } from '../errors.ts';
import { Refusal } from './client.ts';
import type { DownloadReason } from './status.ts';

/**
 * @param hasHead whether the head of the answer had come, so that what failed is its body
 * @throws {WinnowError} what is no fault of the URL: a full disk, too many open files
 */
export function reasonOfError(error: unknown, isExpired: boolean, hasHead: boolean): DownloadReason {
  if (error instanceof WinnowError) throw error;
  if (isExpired) return 'timed-out';
  for (const one of chainOf(error)) {
    if (one instanceof Refusal) return one.reason;
    const code = String((one as { code?: unknown }).code ?? '');
    if (code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM') throw new WinnowError('STORE_UNAVAILABLE', `Could not open another connection: ${code}; lower \`concurrency\` of the download, or raise the limit of open files`, { cause: error });
    const known = ofCode(code, hasHead);
    if (known !== null) return known;
  }
  return hasHead ? 'cut-off' : 'unreachable';
}

/** Null for an answer with a body to read. */
export function reasonOfStatus(status: number): DownloadReason | null {
  if (status === 200 || status === 203) return null;
  if (status === 404 || status === 410) return 'not-found';
  if (status === 408) return 'timed-out';
  if (status === 429) return 'rate-limited';
  if (status >= 500) return 'server-error';
  return status >= 400 ? 'refused' : 'bad-response';
}

function ofCode(code: string, hasHead: boolean): DownloadReason | null {
  if (code === 'ENOTFOUND') return 'host-unknown';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'timed-out';
  if (code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'UND_ERR_INVALID_ARG') return 'bad-response';
  if (code === 'Z_BUF_ERROR') return 'cut-off';
  if (code.startsWith('Z_') || code.startsWith('ERR__ERROR_')) return 'bad-response'; // not the encoding that it says; Brotli's have names of their own
  // Sent in pieces of stated length, and one ended early.
  if (code === 'HPE_INVALID_EOF_STATE' || code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') return 'cut-off';
  if (code.startsWith('HPE_')) return hasHead ? 'cut-off' : 'bad-response';
  return TLS.test(code) ? 'tls-failed' : null;
}

/** An error and what is behind it: causes, and those of each address that was tried. */
function* chainOf(error: unknown): Generator<unknown> {
  const pending = [error];
  for (let steps = 0; pending.length > 0 && steps < 32; steps++) {
    const one = pending.shift();
    if (one === null || typeof one !== 'object') continue;
    yield one;
    const { cause, errors } = one as { cause?: unknown; errors?: unknown };
    pending.push(cause, ...(Array.isArray(errors) ? (errors as unknown[]) : []));
  }
}

const TLS = /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|CRL_|ERR_OSSL|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH|EPROTO|ERROR_IN_CERT|INVALID_PURPOSE)/;
