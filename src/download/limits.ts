/** Time limits of one request: one for the whole, and one after another for its phases. */

export interface Limits {
  /** Aborted when a limit has passed, or when whoever asked gave up. */
  readonly signal: AbortSignal;
  /** Whether a limit has passed. */
  readonly isExpired: boolean;
  /** Begins the next phase, or goes on with this one after a sign of life. */
  arm(ms: number): void;
  end(): void;
}

/** @param outer stops the request too; that is no limit that passed */
export function startLimits(totalMs: number, outer: AbortSignal): Limits {
  const controller = new AbortController();
  let isExpired = false;
  const expire = (): void => {
    isExpired = true;
    controller.abort(new Error('a time limit has passed'));
  };
  const stop = (): void => controller.abort(outer.reason);
  if (outer.aborted) stop();
  outer.addEventListener('abort', stop, { once: true });
  const total = setTimeout(expire, totalMs);
  let phase: NodeJS.Timeout | null = null;
  let phaseMs = 0;
  return {
    signal: controller.signal,
    get isExpired() {
      return isExpired;
    },
    arm: (ms) => {
      if (phase !== null && ms === phaseMs) {
        phase.refresh();
        return;
      }
      if (phase !== null) clearTimeout(phase);
      phaseMs = ms;
      phase = setTimeout(expire, ms);
    },
    end: () => {
      clearTimeout(total);
      if (phase !== null) clearTimeout(phase);
      outer.removeEventListener('abort', stop);
    },
  };
}
