/** `winnow diff A B`: what changed between two datasets and why, on one screen or as JSON. */
import { type DatasetDiff, type OneSided, diffDatasets } from '../report/diff.ts';
import { openStoreToRead } from './session.ts';

const WIDTH = 80;
const SETTINGS_SHOWN = 12;
const NAME = 30;

/** @throws {WinnowError} INPUT_MISSING when a store has no finished dataset */
export async function diff(a: string, b: string, signal: AbortSignal): Promise<{ text: string; json: unknown }> {
  const found = await diffDatasets(await openStoreToRead(a), await openStoreToRead(b), { signal });
  return { text: `${render(found, a, b).join('\n')}\n`, json: found };
}

function render({ images, onlyA, onlyB, parts, settings }: DatasetDiff, a: string, b: string): string[] {
  const isSame = onlyA.images + onlyB.images + settings.length === 0 && parts.every((part) => part.a === part.b);
  return [
    fit(`A ${a}`),
    fit(`B ${b}`),
    '',
    ...(isSame ? ['The same images, parts and settings.', ''] : []),
    heading('Images'),
    row('in it', images.a, images.b),
    row('also in the other', images.both, images.both),
    row('in it alone', onlyA.images, onlyB.images),
    '',
    heading('Rows of parts'),
    ...parts.map((part) => row(part.name, part.a, part.b)),
    ...side('Only in A, and in B', onlyA),
    ...side('Only in B, and in A', onlyB),
    ...(settings.length === 0 ? [] : ['', 'Settings that differ (A → B)']),
    ...settings.slice(0, SETTINGS_SHOWN).map(({ path, a: one, b: other }) => fit(`  ${path}: ${show(one)} → ${show(other)}`)),
    ...(settings.length > SETTINGS_SHOWN ? [`  and ${settings.length - SETTINGS_SHOWN} more: --json has all`] : []),
  ];
}

function side(title: string, { images, reasons }: OneSided): string[] {
  if (images === 0) return [];
  return ['', title, ...reasons.flatMap(({ reason, images: count, uris }) => [fit(`  ${String(count).padStart(10)} ${reason}`), fit(`             such as ${uris[0]}`)])];
}

function heading(title: string): string {
  return `${title.padEnd(NAME + 3)}${'A'.padStart(12)}${'B'.padStart(12)}`;
}

function row(name: string, a: number | null, b: number | null): string {
  return `  ${(name.length > NAME ? `${name.slice(0, NAME - 1)}…` : name).padEnd(NAME)} ${String(a ?? '–').padStart(12)}${String(b ?? '–').padStart(12)}`;
}

function show(value: unknown): string {
  return value === undefined ? 'none' : JSON.stringify(value);
}

function fit(line: string): string {
  return line.length > WIDTH ? `${line.slice(0, WIDTH - 1)}…` : line;
}
