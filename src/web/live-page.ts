/** The live page: pieces of HTML by name, so that a change sends the piece that changed, and the page that holds them all. */
import { duration } from '../cli/progress.ts';
import { escapeHtml, shownText } from '../report/page.ts';
import type { LiveRun, LiveStage } from '../run/live-log.ts';
import { percent, whole } from './atlas-html.ts';
import type { LiveState } from './live-state.ts';
import type { Section } from './route.ts';
import { webPage } from './shell.ts';

/** Where the live page lies on its server. */
export const LIVE_PATH = '/live';

/** Pieces in the order of the page. */
export const PIECES = ['state', 'stages', 'rates', 'workers', 'failures', 'past'] as const;
export type Piece = (typeof PIECES)[number];

/** What the page shows beside the store's own facts. */
export interface LiveOptions {
  /** Where a queue's dashboard is mounted on this server; null: nowhere. */
  readonly queuesPath: string | null;
  /** Name of an image, by row: its URI where it is known. */
  nameOf(row: number): Promise<string | null>;
}

/** Equal states give equal pieces. @param now in milliseconds since 1970 */
export async function renderPieces(state: LiveState, options: LiveOptions, now: number): Promise<Record<Piece, string>> {
  return { state: stateOf(state, now), stages: stagesOf(state), rates: ratesOf(state.run), workers: workersOf(state, options), failures: await failuresOf(state, options), past: pastOf(state) };
}

/** The whole document; its script takes up where it was made. @param id of the newest event that is in it */
export function livePage(pieces: Readonly<Record<Piece, string>>, id: string, sections: readonly Pick<Section, 'title' | 'path'>[]): string {
  const titles: Record<Piece, string> = { state: '', stages: 'Stages', rates: 'Throughput', workers: 'Workers', failures: 'Failures', past: 'Runs before' };
  const parts = PIECES.map((piece) => `${titles[piece] === '' ? '' : `<h2>${titles[piece]}</h2>`}<div id="${piece}" class="quiet">${pieces[piece]}</div>`);
  return webPage({
    title: 'Live', section: LIVE_PATH, sections, script: 'live.js',
    main: `<h1>Live</h1><p id="link" class="muted" data-events="${LIVE_PATH}/events" data-last="${escapeHtml(id)}" role="status">Reload to see more.</p>${parts.join('')}`,
  });
}

/** Without a sign of life for so long a run is taken for dead; it writes at least every five seconds. */
const DEAD_MS = 20_000;

function stateOf({ run, made }: LiveState, now: number): string {
  const store = `<p class="muted">In the store: ${made.map(({ path, isDone }) => `${path} ${isDone ? '✓' : '–'}`).join(' · ')}</p>`;
  if (run === null) return `<p><span class="state waiting">no run yet</span> Start one with <code>winnow run</code>; this page follows it.</p>${store}`;
  const facts = `<code>${escapeHtml(run.command)}</code> on ${escapeHtml(run.host)}, started ${escapeHtml(new Date(run.started).toISOString().replace('T', ' ').slice(0, 19))} UTC, ${duration(Math.max(0, run.updated - run.started) / 1000)}`;
  if (run.outcome === 'done') return `<p><span class="state done" data-title="done">done</span> ${facts}</p>${store}`;
  if (run.outcome !== null) return `<p><span class="state failed" data-title="failed">ended: ${escapeHtml(run.outcome)}</span> ${facts}</p>${run.message === null ? '' : `<p class="note error">${escapeHtml(run.message.slice(0, 600))}</p>`}${store}`;
  if (now - run.updated > DEAD_MS) return `<p><span class="state failed" data-title="no sign of life">no sign of life</span> ${facts}; the last one was ${duration((now - run.updated) / 1000)} ago. Run it again and it goes on.</p>${store}`;
  const stage = run.stages.at(-1);
  const share = stage === undefined || stage.total === null || stage.total === 0 ? '' : ` ${percent(Math.min(1, stage.done / stage.total))}`;
  return `<p><span class="state running" data-title="${escapeHtml(`${stage?.stage ?? ''}${share}`)}">running</span> ${facts}</p>${store}`;
}

function stagesOf({ run }: LiveState): string {
  if (run === null || run.stages.length === 0) return '<p class="muted">None yet.</p>';
  const rows = run.stages.map((stage, i) => {
    const isLast = i === run.stages.length - 1;
    const state = stage.ended !== null ? 'done' : run.outcome === null ? 'running' : 'failed';
    const seconds = (stage.ended ?? endOf(run)) - stage.began;
    const rate = rateOf(run, i, state === 'running');
    const left = stage.total === null || rate === null || stage.ended !== null || stage.done >= stage.total ? null : (stage.total - stage.done) / rate;
    const bar = stage.total === null ? '' : `<progress max="${Math.max(1, stage.total)}" value="${stage.ended === null ? Math.min(stage.done, stage.total) : Math.max(1, stage.total)}" aria-label="${escapeHtml(stage.stage)}"></progress>`;
    const said = stage.summary ?? (isLast ? stage.note : '');
    return `<tr><th scope="row">${escapeHtml(stage.stage)} <span class="state ${state}">${state}</span></th><td class="bar">${bar}</td><td class="n">${short(stage.done)}${stage.total === null ? '' : ` of ${short(stage.total)}`} ${escapeHtml(stage.unit)}</td><td class="n">${rate === null ? '' : `${rateText(rate)} ${escapeHtml(stage.unit)}/s`}</td><td class="n">${duration(Math.max(0, seconds))}</td><td class="n">${left === null ? '' : `${duration(left)} to go`}</td><td>${escapeHtml(said.slice(0, 200))}</td></tr>`;
  });
  return `<div class="scroll" tabindex="0" role="region" aria-label="Stages of the run"><table class="stages"><thead><tr><th scope="col">Stage</th><th scope="col">Progress</th><th scope="col" class="n">Done</th><th scope="col" class="n">Rate</th><th scope="col" class="n">Time</th><th scope="col" class="n">Left</th><th scope="col">Says</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function endOf(run: LiveRun): number {
  return Math.max(0, run.updated - run.started) / 1000;
}

/** Samples that the present rate is taken over. */
const RECENT = 10;

/** Units a second: of the last samples while it runs, of the whole stage afterwards; null when nothing was done. */
function rateOf(run: LiveRun, index: number, isRunning: boolean): number | null {
  const stage = run.stages[index]!;
  const own = run.samples.filter(([, of]) => of === index);
  const [from, to] = [own.at(-RECENT), own.at(-1)];
  if (isRunning && from !== undefined && to !== undefined && to[0] > from[0]) return to[2] > from[2] ? (to[2] - from[2]) / (to[0] - from[0]) : null;
  const seconds = (stage.ended ?? endOf(run)) - stage.began;
  return stage.done > stage.kept && seconds > 0.05 ? (stage.done - stage.kept) / seconds : null;
}

function rateText(rate: number): string {
  return rate >= 100 ? short(Math.round(rate)) : rate.toPrecision(2);
}

const COMPACT = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** Whole numbers up to 999,999, then 1.23M, 1.69B. */
function short(count: number): string {
  return count < 1e6 ? whole(count) : COMPACT.format(count);
}

const CHARTS = 4;

/** The stage under way and those that took longest, latest first. */
function ratesOf(run: LiveRun | null): string {
  const drawn = (run?.stages ?? []).map((stage, i) => ({ i, chart: rateChart(run!, stage, i), seconds: stage.ended === null ? Infinity : stage.ended - stage.began })).filter(({ chart }) => chart !== null);
  const shown = drawn.sort((a, b) => b.seconds - a.seconds || a.i - b.i).slice(0, CHARTS).sort((a, b) => b.i - a.i);
  return shown.length === 0 ? '<p class="muted">Nothing measured yet.</p>' : shown.map(({ chart }) => chart).join('');
}

/** Null until two samples are there, and for a stage that was over at once. The rate between two samples stands at the second; that of the first two at both. */
function rateChart(run: LiveRun, { stage, unit }: LiveStage, index: number): string | null {
  const own = run.samples.filter(([, of]) => of === index);
  if (own.length < 2 || own.at(-1)![0] - own[0]![0] < 0.1) return null;
  const between = own.slice(1).map(([at, , done], i) => ({ at, rate: Math.max(0, done - own[i]![2]) / Math.max(0.01, at - own[i]![0]) }));
  const points = [{ ...between[0]!, at: own[0]![0] }, ...between];
  const most = Math.max(...points.map(({ rate }) => rate), 1e-9);
  const [first, last] = [points[0]!.at, points.at(-1)!.at];
  const place = ({ at, rate }: { at: number; rate: number }): string => `${((720 * (at - first)) / Math.max(0.01, last - first)).toFixed(1)} ${(162 - (150 * rate) / most).toFixed(1)}`;
  const now = points.at(-1)!.rate;
  return `<figure><svg class="rate" viewBox="0 0 720 170" preserveAspectRatio="none" role="img" aria-label="${escapeHtml(`${stage}: ${rateText(now)} ${unit} a second last, ${rateText(most)} at most`)}"><line x1="0" x2="720" y1="162" y2="162"/><path d="M${points.map(place).join('L')}"/></svg><figcaption>${escapeHtml(stage)}: ${rateText(now)} ${escapeHtml(unit)}/s last, ${rateText(most)} at most; over ${duration(last - first)}</figcaption></figure>`;
}

function workersOf({ queue, run }: LiveState, { queuesPath }: LiveOptions): string {
  if (queue === null) return run === null ? '<p class="muted">None.</p>' : `<p>One process of ${escapeHtml(run.host)} (${run.pid}) does all the work.</p>`;
  if ('error' in queue) return `<p class="note error">The queue cannot be read: ${escapeHtml(queue.error.slice(0, 300))}</p>`;
  const link = queuesPath === null ? '' : `<p><a href="${escapeHtml(queuesPath)}">The queue’s own pages</a></p>`;
  const runs = queue.runs.map(({ name, stage, tasks, done, failed }) => `<li>${escapeHtml(name)}: ${stage === null ? 'no tasks yet' : `${escapeHtml(stage)}, ${whole(done)} of ${whole(tasks)} tasks${failed > 0 ? `, ${whole(failed)} failed` : ''}`}</li>`);
  const stages = queue.stages.filter(({ waiting, active, delayed, done, failed }) => waiting + active + delayed + done + failed > 0).map(({ stage, waiting, active, delayed, done, failed, perMinute, etaSeconds }) => `<tr><th scope="row">${escapeHtml(stage)}</th><td class="n">${whole(waiting + delayed)}</td><td class="n">${whole(active)}</td><td class="n">${whole(done)}</td><td class="n">${whole(failed)}</td><td class="n">${perMinute === null ? '–' : rateText(perMinute)}</td><td class="n">${etaSeconds === null || etaSeconds === 0 ? '' : duration(etaSeconds)}</td></tr>`);
  const workers = queue.workers.map(({ host, pid, stages: own, concurrency, providers }) => `<li>${escapeHtml(host)} ${pid}: ${escapeHtml(own.join(', '))}; ${concurrency} at once; ${escapeHtml(providers.join(', '))}</li>`);
  return `${runs.length === 0 ? '' : `<h3>Runs in line</h3><ul>${runs.join('')}</ul>`}
${stages.length === 0 ? '' : `<div class="scroll" tabindex="0" role="region" aria-label="Tasks in the queue"><table><caption>Tasks</caption><thead><tr><th scope="col">Stage</th><th scope="col" class="n">Waiting</th><th scope="col" class="n">Active</th><th scope="col" class="n">Done</th><th scope="col" class="n">Failed</th><th scope="col" class="n">A minute</th><th scope="col" class="n">Left</th></tr></thead><tbody>${stages.join('')}</tbody></table></div>`}
<h3>Who works</h3>${workers.length === 0 ? '<p class="muted">Nobody: <code>winnow worker</code> starts one.</p>' : `<ul>${workers.join('')}</ul>`}${link}`;
}

async function failuresOf({ rejected, queue }: LiveState, { nameOf }: LiveOptions): Promise<string> {
  const counts = Object.entries(rejected.counts).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const tasks = queue === null || 'error' in queue ? [] : queue.failures;
  if (counts.length === 0 && tasks.length === 0) return '<p class="muted">None.</p>';
  const images = await Promise.all(rejected.shown.map(async ({ row, status }) => `<li><img src="${LIVE_PATH}/thumb/${row}" alt="" width="96" height="96" loading="lazy"><span>${escapeHtml(status)}</span><span>${shownText((await nameOf(row)) ?? `row ${row}`, 60)}</span></li>`));
  return `${tasks.length === 0 ? '' : `<h3>Tasks that failed, newest first</h3><ul>${tasks.map(({ stage, task, reason }) => `<li><code>${escapeHtml(stage)} ${escapeHtml(task)}</code>: ${shownText(reason.replaceAll(/\s+/g, ' '), 300)}</li>`).join('')}</ul>`}
${counts.length === 0 ? '' : `<p>Rejected images: ${counts.map(([status, count]) => `${whole(count)} ${escapeHtml(status)}`).join(', ')}.${rejected.shown.length > 0 ? ' The first of them:' : ''}</p><ul class="pictures wide">${images.join('')}</ul>`}`;
}

function pastOf({ past }: LiveState): string {
  if (past.length === 0) return '<p class="muted">None.</p>';
  const rows = past.map(({ command, started, seconds, outcome, host }) => `<tr><td>${escapeHtml(started.replace('T', ' ').slice(0, 19))}</td><td>${escapeHtml(command.slice(0, 80))}</td><td class="n">${duration(Math.max(0, seconds || 0))}</td><td>${escapeHtml(outcome.slice(0, 40))}</td><td>${escapeHtml(host.slice(0, 60))}</td></tr>`);
  return `<div class="scroll" tabindex="0" role="region" aria-label="Runs before"><table><thead><tr><th scope="col">Started (UTC)</th><th scope="col">Command</th><th scope="col" class="n">Time</th><th scope="col">Ended</th><th scope="col">Host</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}
