/** Size limits: pixels from the table of embeddings, bytes from the listing. Reads no image unless the listing has no sizes. */
import { type Judged, type PartRows, type SizeRule, reject, undecided } from './filter.ts';

/** @param sizeBytes bytes of each image; −1 where they are not known, and then no limit on bytes applies */
export function judgeSize(rule: SizeRule, { width, height, ...rows }: PartRows, sizeBytes: Float64Array, judged: Judged): void {
  for (const i of undecided(rows, judged)) {
    const fault = faultOf(rule.size, width[i]!, height[i]!, sizeBytes[i]!);
    if (fault !== null) reject(judged, rule, i, fault);
  }
}

function faultOf({ sideMin = 0, sideMax = Infinity, areaMin = 0, areaMax = Infinity, bytesMin = 0, bytesMax = Infinity, aspectMax = Infinity }: SizeRule['size'], width: number, height: number, bytes: number): string | null {
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)];
  const area = width * height;
  if (shorter < sideMin) return `shorter side ${shorter}, at least ${sideMin} wanted`;
  if (longer > sideMax) return `longer side ${longer}, at most ${sideMax} wanted`;
  if (area < areaMin) return `area ${area}, at least ${areaMin} wanted`;
  if (area > areaMax) return `area ${area}, at most ${areaMax} wanted`;
  if (longer > aspectMax * shorter) return `${width} × ${height}, an aspect of at most ${aspectMax} wanted`;
  if (bytes < 0) return null;
  if (bytes < bytesMin) return `${bytes} bytes, at least ${bytesMin} wanted`;
  return bytes > bytesMax ? `${bytes} bytes, at most ${bytesMax} wanted` : null;
}

/** Whether the rule needs to know how many bytes an image has. */
export function looksAtBytes({ size }: SizeRule): boolean {
  return size.bytesMin !== undefined || size.bytesMax !== undefined;
}
