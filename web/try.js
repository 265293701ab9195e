// @ts-check
/** The page at `/try`: watches one job of any server, and reports a sample job to it. */

import { home } from './addresses.js';
import { announce } from './announce.js';
import { confirmByTyping } from './confirm.js';
import { ConnectionSign } from './connection.js';
import { ValueSection, paintError } from './dashboard/details.js';
import { paintText } from './dashboard/text.js';
import './gallery.js';
import { Job, isLater } from './job.js';
import { logItem, logOnTop, stateItem } from './log.js';
import { byId, element, paint, paintHealth, write } from './paint.js';
import { Reports } from './reports.js';
import { doSampleJob } from './sample.js';
import * as signIn from './sign-in.js';
import { clock } from './times.js';
import { Watches } from './watches.js';

/** @typedef {import('./milepost.js').State} State */
/** @typedef {import('./reports.js').Answer} Answer */

signIn.start();
const serverField = /** @type {HTMLInputElement} */ (byId('server'));
const jobField = /** @type {HTMLInputElement} */ (byId('job'));
const live = byId('live');
const log = byId('log');
/** @type {Record<string, HTMLElement>} */
const parts = {};
for (const part of live.querySelectorAll('[data-part]')) {
  parts[part.getAttribute('data-part') ?? ''] = /** @type {HTMLElement} */ (part);
}

const result = new ValueSection(parts, 'result', () => watched?.job.id ?? '');

/**
 * What is watched. `isKnown`: whether somebody has reported the job; true if the server does not say in time.
 * @type {{ watches: Watches, job: Job, server: string, isKnown: Promise<boolean> } | null}
 */
let watched = null;
/** What is done here. @type {{ stop: AbortController, reports: Reports, attempt: number } | null} */
let work = null;
let isPlanned = false;
/** So long may a server take to say whether it knows a job, in milliseconds. */
const PATIENCE = 5000;
const MOST_MESSAGE_CHARS = 1000;
/** The jobs that this page began, by server and id. @type {Set<string>} */
const begun = new Set();

const sign = new ConnectionSign(() => watched?.watches.hurry());
const asked = new URL(location.href).searchParams;
serverField.value = asked.get('server') ?? home();
jobField.value = asked.get('job') ?? `try-${Math.random().toString(36).slice(2, 8)}`;
paintLog();
// What another server says would stand under this page's address, so a link alone does not show it.
if (asked.has('job') && (asked.get('server') ?? home()) === home()) connect();
else if (asked.has('job')) write(parts.message, 'This link names another server. Connect to watch its job.');

byId('connect').addEventListener('submit', (event) => {
  event.preventDefault();
  if (watched) disconnect();
  else connect();
});
// Another job or server is another watch.
for (const field of [serverField, jobField]) field.addEventListener('input', () => watched && disconnect());
onClick('run', false, () => run(nextAttempt(false)));
onClick('attempt', false, () => run(nextAttempt(true)));
onClick('fail', true, () => end({ status: 'failed', error: 'Somebody pressed the button', message: 'Error: Somebody pressed the button' }));
onClick('cancel', true, () => end({ status: 'cancelled', message: 'Cancelled by hand' }));
byId('clear').addEventListener('click', () => {
  log.replaceChildren();
  paintLog();
});
setInterval(() => {
  sign.paint();
  paintAside();
}, 1000);
addEventListener('pagehide', () => {
  // The work lives in this page. Who watches it elsewhere is not left waiting.
  work?.reports.sendLast({ status: 'failed', error: 'The page that did the job was closed', attempt: work.attempt });
  work?.stop.abort();
});

function connect() {
  const server = readServer();
  const id = jobField.value.trim();
  if (!server || !id) return;
  const job = new Job(id);
  let answer = (/** @type {boolean} */ _isKnown) => {};
  /** @type {Promise<boolean>} */
  const isKnown = new Promise((resolve) => {
    answer = resolve;
    setTimeout(resolve, PATIENCE, true);
  });
  const watches = new Watches(server, {
    onState: (state) => {
      answer(true);
      onState(state);
    },
    onUnknown: () => {
      answer(false);
      if (!job.state) write(parts.message, 'Nobody has reported this job yet. Run a sample job, or report it from elsewhere.');
    },
    onRefused: (_, reason) => {
      answer(true);
      disconnect();
      note('refused', reason);
      write(parts.message, reason);
    },
    onConnection: (connection) => {
      sign.set(connection);
      note(connection === 'open' ? 'connected' : connection, server);
    },
  });
  watched = { watches, job, server, isKnown };
  watches.watch(id, undefined, { maxRate: 20 });
  const url = new URL(location.href);
  url.searchParams.set('job', id);
  if (server === home()) url.searchParams.delete('server');
  else url.searchParams.set('server', server);
  history.replaceState(null, '', url);
  write(byId('live-title'), id);
  byId('live-title').classList.remove('no-job');
  write(byId('toggle'), 'Disconnect');
  byId('toggle').classList.remove('primary');
  parts.page.setAttribute('href', `${server}/?job=${encodeURIComponent(id)}`);
  write(parts.message, 'Connecting…');
  clearJob();
}

function disconnect() {
  watched?.watches.close();
  watched = null;
  sign.set('closed');
  note('disconnected', '');
  write(byId('toggle'), 'Connect');
  byId('toggle').classList.add('primary');
  const url = new URL(location.href);
  url.searchParams.delete('job');
  history.replaceState(null, '', url);
}

/** Nothing is shown of a job that was watched before. */
function clearJob() {
  delete live.dataset.status;
  delete live.dataset.health;
  parts.bar.dataset.total = 'none';
  parts.badge.hidden = true;
  parts.more.hidden = true;
  for (const name of ['percent', 'stage', 'aside']) write(parts[name], '');
  parts['error-section'].hidden = true;
  parts['result-section'].hidden = true;
}

/** @returns {string | null} without a slash at the end */
function readServer() {
  const text = serverField.value.trim().replace(/\/+$/, '');
  const isWeb = URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
  serverField.setCustomValidity(isWeb ? '' : 'An address that begins with http:// or https://');
  return serverField.reportValidity() && isWeb ? text : null;
}
serverField.addEventListener('input', () => serverField.setCustomValidity(''));

/** @param {State} state */
function onState(state) {
  const job = watched?.job;
  if (!job) return;
  const before = job.state;
  if (before && !isLater(state, before)) return;
  job.update(state, watched?.watches.now ?? Date.now());
  logOnTop(log, stateItem(state));
  paintLog();
  if (job.hasEnded) announce(`${job.outcome}${job.error ? `: ${job.errorSummary}` : ''}`);
  else if (before?.stage !== state.stage && job.stage) announce(`${job.stage}, ${job.percent}`);
  if (isPlanned) return;
  isPlanned = true;
  if (document.hidden) setTimeout(paintJob, 500);
  else requestAnimationFrame(paintJob);
}

function paintJob() {
  isPlanned = false;
  const job = watched?.job;
  if (!job?.state) return;
  paint(live, parts, job);
  parts.badge.hidden = false;
  parts.more.hidden = false;
  write(parts.status, job.state.attempt > 1 ? `${job.word}, attempt ${job.state.attempt}` : job.word);
  write(parts.percent, job.percent);
  paintText(parts.message, job.message, MOST_MESSAGE_CHARS);
  paintError(parts, job);
  result.paint(job.state.result);
  paintAside();
}

function paintAside() {
  const job = watched?.job;
  if (!job?.state) return;
  const now = watched?.watches.now ?? Date.now();
  const { rate, left } = job.outlook(now);
  const trouble = paintHealth(live, job, now, sign.isLive);
  write(parts.aside, job.hasEnded ? `ended ${clock(job.ended)}` : trouble || [rate, left].filter(Boolean).join(' · '));
}

/**
 * @param {string} kind
 * @param {string} words
 */
function note(kind, words) {
  logOnTop(log, logItem(Date.now(), '', kind, words, kind));
  paintLog();
}

function paintLog() {
  const { childElementCount } = log;
  write(byId('log-count'), childElementCount ? String(childElementCount) : '');
  byId('log-empty').hidden = childElementCount > 0;
  byId('clear').hidden = childElementCount === 0;
}

/** @param {boolean} isNew whether a new attempt is wanted in any case */
function nextAttempt(isNew) {
  const job = watched?.job;
  const latest = Math.max(job?.state?.attempt ?? 0, work?.attempt ?? 0);
  return Math.max(1, isNew || job?.hasEnded ? latest + 1 : latest);
}

/** @returns {Reports | null} */
function reporter() {
  const server = readServer();
  const id = jobField.value.trim();
  if (!server || !jobField.reportValidity()) return null;
  if (!watched) connect();
  showTrouble(null);
  return new Reports(server, id, (update, answer) => {
    if (answer.ok) return;
    showTrouble({ server, answer });
    note('refused', [answer.title, answer.detail].filter(Boolean).join(': '));
    // Of what a server takes no more, no more is done.
    if (answer.status >= 400 && answer.status < 500) work?.stop.abort();
  });
}

/**
 * Reports from a button, unless the job is another worker's and nobody confirms it.
 * @param {string} id of the button
 * @param {boolean} isEnd whether it ends the job
 * @param {() => Promise<void>} report
 */
function onClick(id, isEnd, report) {
  const button = byId(id);
  button.addEventListener('click', async () => {
    if (await mayReport(button.textContent ?? '', isEnd)) await report();
  });
}

/**
 * Whether this page may report to the job: it began it, nobody has reported it yet, or a person has typed its id.
 * @param {string} action
 * @param {boolean} isEnd
 */
async function mayReport(action, isEnd) {
  const server = readServer();
  const id = jobField.value.trim();
  if (!server || !jobField.reportValidity()) return false;
  const key = `${server} ${id}`;
  if (!watched) connect();
  const isNew = (await watched?.isKnown) === false && !watched?.job.state;
  if (begun.has(key) || isNew) {
    begun.add(key);
    return true;
  }
  const consequence = isEnd
    ? 'Another worker reported it. If it runs, it ends for that worker and for everybody who watches it.'
    : 'Another worker reported it. Everybody who watches it will see this page’s reports instead of that worker’s.';
  return confirmByTyping(id, action, consequence);
}

/** @param {number} attempt */
async function run(attempt) {
  work?.stop.abort();
  const reports = reporter();
  if (!reports) return;
  const mine = { stop: new AbortController(), reports, attempt };
  work = mine;
  const size = Number(/** @type {HTMLSelectElement} */ (byId('size')).value);
  try {
    const began = await reports.send({ status: 'processing', stage: 'warming up', progress: 0, message: `0 of ${size} MiB`, attempt });
    if (!began.ok || mine.stop.signal.aborted) return;
    const result = await doSampleJob(size, (done) => reports.report({ ...done, attempt }), mine.stop.signal);
    await reports.send({ status: 'completed', message: 'Job completed', result, attempt });
  } catch (error) {
    // Stopped by hand, its end was reported by who stopped it.
    if (!mine.stop.signal.aborted) await reports.send({ status: 'failed', error: String(error), attempt });
  } finally {
    if (work === mine) work = null;
  }
}

/** @param {import('./reports.js').Update} update */
async function end(update) {
  const stopped = work;
  work = null;
  stopped?.stop.abort();
  if (stopped) await stopped.reports.send({ ...update, attempt: stopped.attempt });
  else await reporter()?.send(update);
}

/** @param {{ server: string, answer: Answer & { ok: false } } | null} trouble */
function showTrouble(trouble) {
  const box = byId('trouble');
  box.hidden = trouble === null;
  if (!trouble) return box.replaceChildren();
  const { server, answer } = trouble;
  const isForeign = new URL(server).origin !== location.origin;
  const what = element('p', [answer.title, answer.detail].filter(Boolean).join(': '));
  box.replaceChildren(what);
  if (![0, 403].includes(answer.status) || !isForeign) return;
  const why = element('p', 'That server accepts reports only from its own pages and from origins that it was configured with. Start it with ');
  why.append(element('code', `--set cors_origins=${location.origin}`), `. Or open ${server}/try, which needs no setting.`);
  box.append(why);
}
