/**
 * The one table of operating errors (design, section "Errors"). A programmer error is an assertion, a bad image is a
 * row's status; everything else that can stop a run is a `WinnowError` with one of these codes. Names are never reused.
 */

interface CodeFacts {
  /** Whether trying the same call again may succeed without anybody changing anything. */
  retryable: boolean;
  /** Whether the user's input, recipe or command is the cause: the CLI then exits with 2. */
  userFault: boolean;
}

export const ERROR_CODES = {
  CONFIG_INVALID: { retryable: false, userFault: true },
  INPUT_MISSING: { retryable: false, userFault: true },
  INPUT_EMPTY: { retryable: false, userFault: true },
  INPUT_MALFORMED: { retryable: false, userFault: true },
  FORMAT_VERSION: { retryable: false, userFault: true },
  CHECKSUM_MISMATCH: { retryable: false, userFault: false },
  DIMENSION_MISMATCH: { retryable: false, userFault: true },
  NOT_FINITE: { retryable: false, userFault: true },
  MODEL_INVALID: { retryable: false, userFault: true },
  MODEL_UNAVAILABLE: { retryable: true, userFault: true },
  PROVIDER_UNAVAILABLE: { retryable: false, userFault: true },
  TARGET_UNREACHABLE: { retryable: false, userFault: true },
  OVERRIDES_STALE: { retryable: false, userFault: true },
  TOO_FEW_ROWS: { retryable: false, userFault: true },
  COMMAND_FAILED: { retryable: false, userFault: true },
  CONTAMINATED: { retryable: false, userFault: true },
  TOO_MANY_DROPPED: { retryable: false, userFault: true },
  STORE_DENIED: { retryable: false, userFault: true },
  STORE_BUSY: { retryable: true, userFault: true },
  STORE_FULL: { retryable: false, userFault: false },
  STORE_UNAVAILABLE: { retryable: true, userFault: false },
  ABORTED: { retryable: true, userFault: false },
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** An operating error: something outside the program's control that a person has to know about. */
export class WinnowError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  /** Facts behind the message, JSON-able: what was expected, what came, where. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: { details?: Record<string, unknown>; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WinnowError';
    this.code = code;
    this.retryable = ERROR_CODES[code].retryable;
    this.details = options.details ?? {};
  }
}

/** True when the user's input, recipe or command is at fault, so that the CLI exits with 2 instead of 1. */
export function isUserFault(error: unknown): boolean {
  return error instanceof WinnowError && ERROR_CODES[error.code].userFault;
}

/**
 * Throws the signal's reason as an `ABORTED` error. Every loop over tasks or blocks calls this.
 *
 * @throws {WinnowError} ABORTED once `signal` is aborted
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new WinnowError('ABORTED', 'Stopped before the end; the next run goes on from here', { cause: signal.reason });
}
