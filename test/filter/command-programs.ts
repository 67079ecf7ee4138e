/** Programs for `command:` that go wrong, each in one way, as words of Node itself. They know the rows they are to be asked about. */
import { encodeTable } from '../../src/arrow/ipc.ts';
import type { Columns } from '../../src/arrow/tables.ts';

/** Reads all of stdin, then does what the text says; `out` writes and ends. */
export function program(text: string): string[] {
  return [process.execPath, '-e', `const chunks = []; process.stdin.on('data', (one) => chunks.push(one)).on('end', () => { ${text} });`];
}

/** Writes these bytes, whatever it is asked. */
export function answers(bytes: Uint8Array): string[] {
  return program(`process.stdout.write(Buffer.from('${Buffer.from(bytes).toString('base64')}', 'base64'))`);
}

/** Decisions on rows, and other columns in place of the right ones. */
export function decisions(keep: readonly (readonly [row: number, keep: boolean, reason?: string])[], other: Columns = {}): Uint8Array {
  return encodeTable({
    row: { type: 'uint64', values: Float64Array.from(keep, ([row]) => row) },
    keep: { type: 'bool', values: Uint8Array.from(keep, ([, one]) => (one ? 1 : 0)) },
    reason: { type: 'utf8', values: keep.map(([, , reason]) => reason ?? null) },
    ...other,
  });
}
