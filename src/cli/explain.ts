/** `winnow explain IMAGE`: why an image is in the dataset or is not, on one screen or as JSON. */
import { WinnowError } from '../errors.ts';
import { type Explanation, openExplainer } from '../explain/explain.ts';
import { openStoreToRead } from './session.ts';

/** Images told of at most, where a name stands for several. */
const SHOWN = 10;

/** @param image a content id, a uri, the end of one, or `row:N` @throws {WinnowError} INPUT_MISSING when there is no such image */
export async function explain(storeUri: string, image: string, signal: AbortSignal): Promise<{ text: string; json: unknown }> {
  const store = await openStoreToRead(storeUri);
  const explainer = await openExplainer(store);
  const asked = /^row:(\d{1,15})$/.exec(image)?.[1];
  const rows = asked !== undefined ? [Number(asked)].filter((row) => row < explainer.rows) : await explainer.find(image, SHOWN + 1, signal);
  if (rows.length === 0) {
    throw new WinnowError('INPUT_MISSING', `Expected a content id (32 hex digits), a uri, the end of one, or row:0 … row:${explainer.rows - 1} of ${storeUri}, got ${JSON.stringify(image.slice(0, 200))}, which no image has`);
  }
  const explanations = [];
  for (const row of rows.slice(0, SHOWN)) explanations.push(await explainer.explain(row));
  const more = rows.length > SHOWN ? [`More than ${SHOWN} images are called so: give more of the uri.`] : [];
  return { text: `${[...explanations.map(render), ...more].join('\n\n')}\n`, json: explanations };
}

function render(explanation: Explanation): string {
  const { row, uri, id, image, verdicts, path, distance, selections, places } = explanation;
  const lines = [uri, `  ${verdictOf(explanation)}`, ''];
  const tell = (name: string, value: string): void => void lines.push(`  ${name.padEnd(12)} ${value}`);
  tell('row', String(row));
  tell('id', id ?? 'none: its bytes could not be read');
  const { width, height, size, label, caption, status } = image;
  tell('read', [status === undefined ? 'not yet' : String(status), ...(Number(width) > 0 ? [`${width} × ${height} pixels`] : []), ...(size === null || size === undefined ? [] : [`${size} bytes`])].join(', '));
  for (const [name, value] of Object.entries({ label, caption })) if (value !== null && value !== undefined) tell(name, clip(String(value)));
  for (const [step, found] of Object.entries(verdicts)) tell(step, clip(describe(found)));
  if (path !== null) {
    tell('distance', `${distance!.toPrecision(4)} squared, to the centroid of its level-1 cluster`);
    for (const { level, cluster, size: images, quota } of path) tell(`level ${level}`, `cluster ${cluster}, ${images} images${quota === null ? '' : `, of which ${quota} are drawn`}`);
  }
  for (const { part, kind, copies, score, query, queryUri } of selections) {
    tell('selected', kind === 'balanced' ? `${part}: ${copies} time${copies === 1 ? '' : 's'}` : `${part}: similarity ${score.toFixed(4)} to ${queryUri ?? `seed image ${query}`}`);
  }
  for (const { part, shard, index } of places) tell('dataset', `${part}, image ${index}, in ${shard}`);
  return lines.join('\n');
}

function verdictOf({ fate, selections, places }: Explanation): string {
  const elsewhere = selections.filter(({ kind }) => kind !== 'balanced');
  const also = elsewhere.length > 0 ? `; retrieved ${elsewhere.length} time${elsewhere.length === 1 ? '' : 's'}` : '';
  switch (fate.fate) {
    case 'rejected':
      return `Out: ${fate.reason} (${fate.at})`;
    case 'set-aside':
      return `Not in the tree: its cluster is an outlier, set aside${also}`;
    case 'not-drawn':
      return `${elsewhere.length > 0 ? 'In' : 'Out'}: not drawn for the balanced part, its cluster had others to give${also}`;
    case 'drawn':
      return `In: drawn for the balanced part${also}${places.length === 0 ? '; the dataset is not written yet' : ''}`;
    case 'embedded':
      return 'Embedded; the tree is not built yet';
    case 'listed':
      return 'Listed; nothing has read it yet';
  }
}

function describe(found: Readonly<Record<string, unknown>>): string {
  const said = Object.entries(found).filter(([, value]) => value !== null && value !== undefined && value !== false);
  return said.length === 0 ? 'nothing against it' : said.map(([name, value]) => `${name} ${typeof value === 'number' && !Number.isInteger(value) ? value.toPrecision(4) : String(value)}`).join(', ');
}

function clip(text: string): string {
  const flat = text.replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ');
  return flat.length <= 200 ? flat : `${flat.slice(0, 199)}…`;
}
