// @ts-check
/** One job, large: where it is, how it got there, and what it says of itself. */

import { home, jobUrl } from '../addresses.js';
import { announce } from '../announce.js';
import { takeFirst } from '../first.js';
import { Job, text } from '../job.js';
import { logOnTop, stateItem } from '../log.js';
import { isEnd } from '../milepost.js';
import { askToNotify, canNotify, notifyOf } from '../notify.js';
import { build, paint, paintHealth, paintTags, write } from '../paint.js';
import { ask, curl } from '../server.js';
import { clock, paintAge, toggleTimes } from '../times.js';
import { paintArtifacts } from './artifacts.js';
import { paintAttempts } from './attempts.js';
import { drawChart, fillTable } from './chart.js';
import { Children } from './children.js';
import { Course } from './course.js';
import { ValueSection, paintError, paintResultLink } from './details.js';
import { JobLog } from './job-log.js';
import { paceOf } from './pace.js';
import { Requests } from './requests.js';
import { paintText } from './text.js';
import { paintTimeline } from './timeline.js';
import { Watchers } from './watchers.js';

/** @typedef {import('../milepost.js').State} State */

const MOST_UNLOGGED = 200;
/** As many as the server keeps. */
const MOST_ATTEMPTS = 8;
const MOST_MESSAGE_CHARS = 1000;
/** In place of `Running`. */
const HEALTH = { ok: '', lost: 'Silent', stalled: 'Not advancing' };

/** @param {State} state */
const attemptOf = (state) => /** @type {import('./attempts.js').Attempt} */ (/** @type {unknown} */ (state));

export class JobPage {
  #course = new Course();
  /** @type {Set<string>} */
  #logged = new Set();
  /** @type {State[]} */
  #unlogged = [];
  /** Those before the present one. @type {import('./attempts.js').Attempt[]} */
  #attempts = [];
  /** Whether a person asked to be notified of the end. */
  #isNotifying = false;
  #isHistoryLoaded = false;
  /** Whether the watch has brought a state. */
  #isWatched = false;
  #isCourseNew = false;

  /**
   * @param {import('../index.js').Page} page
   * @param {string} id
   */
  constructor(page, id) {
    this.page = page;
    this.job = new Job(id);
    const { root, parts } = build('job-view');
    this.parts = parts;
    this.root = /** @type {HTMLElement} */ (root.firstElementChild);
    this.result = new ValueSection(parts, 'result', () => id);
    this.metadata = new ValueSection(parts, 'metadata', () => id);
    write(parts.id, id);
    write(parts['try-curl'], curl(id));
    parts.json.setAttribute('href', jobUrl(home(), id));
    this.root.querySelector('.badge')?.setAttribute('hidden', '');
    this.requests = new Requests(parts, this.job);
    this.children = new Children(parts, id);
    this.output = new JobLog(parts, id);
    parts.notify.addEventListener('click', () => this.#toggleNotify());
    parts.updated.addEventListener('click', () => {
      toggleTimes();
      this.tick();
    });
    this.watchers = new Watchers({
      wanted: () => [id],
      isOwn: () => this.page.sign.isLive,
      changed: () => write(parts.watchers, this.watchers.of(id) ? `${this.watchers.of(id)} besides this page` : 'only this page'),
    });
    this.resized = new ResizeObserver(() => this.#drawCourse());
  }

  /** Not while the watch is yet to come about. */
  get #isCutOff() {
    return this.#isWatched && !this.page.sign.isLive;
  }

  get title() {
    const { job, page } = this;
    if (!job.state) return `${job.id} – Milepost`;
    const health = job.health(page.watches.now);
    const now = this.#isCutOff ? 'Disconnected' : health !== 'ok' ? HEALTH[health] : job.percent || job.word;
    return `${job.hasEnded ? job.outcome : now} – ${job.id}`;
  }

  /** @returns {['run' | 'good' | 'bad' | 'warn' | 'gone', number]} tone and length of the page's icon */
  get icon() {
    const { job, page } = this;
    const share = job.share ?? 0.6;
    const end = { completed: /** @type {const} */ ('good'), failed: /** @type {const} */ ('bad'), cancelled: /** @type {const} */ ('gone') };
    if (job.hasEnded) return [end[/** @type {keyof typeof end} */ (job.state?.status)], share];
    if (this.#isCutOff || job.state?.status !== 'processing') return ['gone', share];
    return [job.health(page.watches.now) === 'ok' ? 'run' : 'warn', share];
  }

  enter() {
    const sent = takeFirst(jobUrl(home(), this.job.id));
    if (sent) void this.#showFirst(sent);
    this.page.watches.watch(this.job.id, this.job.state?.position, { maxRate: 20 });
    this.watchers.start();
    this.resized.observe(this.parts.chart);
    scrollTo({ top: 0, behavior: 'instant' });
  }

  leave() {
    this.page.watches.unwatch(this.job.id);
    this.watchers.stop();
    this.requests.leave();
    this.children.leave();
    this.output.leave();
    this.resized.disconnect();
  }

  rememberScroll() {}

  retry() {}

  focus() {
    document.getElementById('main')?.focus();
  }

  onLive() {
    if (this.#isWatched && !this.#isHistoryLoaded) this.#loadHistory();
  }

  /**
   * The watch may come about later than the page's first request is answered.
   * @param {Promise<Response>} sent
   */
  async #showFirst(sent) {
    const { ok, body, now } = await ask('', sent).catch(() => ({ ok: false, body: null, now: 0 }));
    if (!ok || this.job.state) return;
    this.page.watches.hear(now);
    this.job.update(body, this.page.watches.now);
    this.#course.add(body);
    this.#isCourseNew = true;
    this.page.paintSoon();
  }

  /** @param {State} state */
  onState(state) {
    const { job } = this;
    // Not earlier: what came between the history and the first watched state would be missing.
    if (!this.#isWatched) this.#loadHistory();
    const before = this.#isWatched ? job.state : null;
    this.#isWatched = true;
    if (before && before.attempt < state.attempt) this.#attempts = [...this.#attempts.filter(({ attempt }) => attempt !== before.attempt), attemptOf(before)].slice(-MOST_ATTEMPTS);
    job.update(state, this.page.watches.now);
    this.#course.add(state);
    this.#isCourseNew = true;
    this.#unlogged.push(state);
    this.#unlogged = this.#unlogged.slice(-MOST_UNLOGGED);
    this.#announceChange(before);
    this.page.paintSoon();
  }

  /** @param {string} _ */
  onUnknown(_) {
    if (!this.job.state) this.#showWhyNot('Nobody has reported this job yet. It shows up here as soon as somebody does:');
    else if (!this.job.hasEnded) {
      this.job.isForgotten = true;
      this.page.paintSoon();
    }
  }

  /**
   * @param {string} _
   * @param {string} why
   */
  onRefused(_, why) {
    this.#showWhyNot(why);
    this.parts['try-curl'].parentElement?.setAttribute('hidden', '');
  }

  paint() {
    const { job, parts } = this;
    if (!job.state) return;
    parts.loading.hidden = true;
    parts.unknown.hidden = true;
    parts.known.hidden = false;
    // Not before: what is hidden cannot be scrolled.
    this.output.enter();
    this.root.querySelector('.badge')?.removeAttribute('hidden');
    paint(this.root, parts, job);
    write(parts.name, job.name);
    paintTags(parts.tags, job.tags);
    this.requests.paint();
    write(parts.headline, job.hasEnded ? job.headline : '');
    write(parts.percent, job.percent);
    paintText(parts.message, job.message, MOST_MESSAGE_CHARS);
    paintError(parts, job);
    this.result.paint(job.state.result);
    paintResultLink(parts['result-link'], job);
    this.metadata.paint(job.state.metadata);
    this.children.paint(job.state);
    paintArtifacts(parts, job.state['artifacts']);
    paintAttempts(parts, this.#attempts, job.state, this.#course.samples);
    this.#paintNotify();
    write(parts.attempt, String(job.state.attempt));
    write(parts.position, job.state.position);
    this.#writeLog();
    if (this.#isCourseNew) this.#drawCourse();
    this.tick();
  }

  tick() {
    const { job, parts } = this;
    if (!job.state) return;
    const { now } = this.page.watches;
    const trouble = paintHealth(this.root, job, now, this.page.sign.isLive);
    const word = job.isForgotten ? 'Forgotten' : trouble ? HEALTH[job.health(now)] : job.word;
    write(parts.status, job.state.attempt > 1 ? `${word}, attempt ${job.state.attempt}` : word);
    const { rate, left } = job.outlook(now, paceOf(this.#course.samples));
    write(parts.aside, job.hasEnded ? this.#endedAt() : trouble || [rate, left].filter(Boolean).join(' · '));
    paintAge(parts.updated, job.age(now), now);
    write(parts.rate, rate || '–');
    this.children.tick(now, this.page.sign.isLive);
  }

  /** Where an end came too early, and when it came. */
  #endedAt() {
    const { ended, percent, state } = this.job;
    const where = state?.status !== 'completed' && percent ? `at ${percent}` : '';
    return [where, ended === null ? '' : `ended ${clock(ended)}`].filter(Boolean).join(' · ');
  }

  /** The states before the one that is shown. Without them all starts now. */
  async #loadHistory() {
    const { job, parts } = this;
    const { ok, body } = await ask(`${jobUrl(home(), job.id)}/history`).catch(() => ({ ok: false, body: null }));
    // An older server does not say, and one that does not answer now may take the request.
    this.requests.allow(body?.may_control !== false);
    this.page.paintSoon();
    if (!ok) return;
    this.#isHistoryLoaded = true;
    /** @type {import('./course.js').History} */
    const history = body;
    this.#course.recall(history);
    if (history.attempts) this.#attempts = history.attempts;
    this.#isCourseNew = true;
    this.#writeLog();
    for (const state of [...history.states].reverse()) {
      job.recall(state);
      if (this.#logged.has(state.position)) continue;
      this.#logged.add(state.position);
      parts.log.append(stateItem(state));
    }
    this.page.paintSoon();
  }

  #writeLog() {
    const { log } = this.parts;
    for (const state of this.#unlogged) {
      if (this.#logged.has(state.position)) continue;
      this.#logged.add(state.position);
      logOnTop(log, stateItem(state));
    }
    this.#unlogged = [];
    // Only those that history may bring again are remembered.
    if (this.#logged.size > 2 * MOST_UNLOGGED) this.#logged.clear();
    write(this.parts['log-count'], String(log.childElementCount));
  }

  #drawCourse() {
    this.#isCourseNew = false;
    const { parts } = this;
    const { samples, legs, begun, countBefore } = this.#course;
    parts['chart-section'].hidden = samples.filter(({ progress }) => progress !== null).length < 2;
    if (!parts['chart-section'].hidden) {
      drawChart(parts.chart, samples);
      fillTable(parts.samples, samples);
    }
    parts['timeline-section'].hidden = legs.length === 0;
    paintTimeline(parts.timeline, legs, countBefore, this.job.steps);
    const started = Date.parse(text(this.job.state?.started_at));
    write(parts.begun, started ? clock(started) : `${countBefore ? 'before ' : ''}${clock(begun)}`);
  }

  async #toggleNotify() {
    this.#isNotifying = !this.#isNotifying && (await askToNotify());
    this.#paintNotify();
  }

  #paintNotify() {
    const { notify } = this.parts;
    notify.hidden = this.job.hasEnded || !canNotify();
    notify.setAttribute('aria-pressed', String(this.#isNotifying));
    write(notify, this.#isNotifying ? 'You will be notified' : 'Notify me when it ends');
  }

  /** @param {State | null} before */
  #announceChange(before) {
    const { job } = this;
    if (!before || !job.state) return;
    if (job.hasEnded && this.#isNotifying && !isEnd(before)) notifyOf(job.state);
    if (job.hasEnded) return announce(`${job.outcome}${job.error ? `: ${job.errorSummary}` : ''}`);
    if (before.stage !== job.state.stage && job.stage) announce(`${job.stage}, ${job.percent}`);
    const quarter = (/** @type {unknown} */ progress) => (typeof progress === 'number' ? Math.floor(progress * 4) : 0);
    if (quarter(job.state.progress) > quarter(before.progress)) announce(job.percent);
  }

  /** @param {string} why */
  #showWhyNot(why) {
    this.parts.loading.hidden = true;
    write(this.parts['unknown-text'], why);
    this.parts.unknown.hidden = false;
  }
}
