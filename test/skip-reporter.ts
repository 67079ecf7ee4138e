/** A reporter that says of every skipped test why it was: the others tell of them by number. */
import type { Reporter, TestCase, Vitest } from 'vitest/node';

export default class SkipReporter implements Reporter {
  readonly #lines: string[] = [];
  /** Whether tests were chosen by name: all others are skipped then, and nobody asks why. */
  #isNarrowed = false;

  onInit({ config }: Vitest): void {
    this.#isNarrowed = config.testNamePattern !== undefined;
  }

  onTestCaseResult(test: TestCase): void {
    const result = test.result();
    if (result.state !== 'skipped' || (this.#isNarrowed && result.note === undefined)) return;
    this.#lines.push(`skipped: ${test.module.relativeModuleId}: ${test.fullName}${result.note === undefined ? '' : `: ${result.note}`}`);
  }

  onTestRunEnd(): void {
    if (this.#lines.length > 0) process.stdout.write(`${this.#lines.sort().join('\n')}\n`);
  }
}
