// @ts-check
/**
 * `<job-progress job="render-7">`: a job's bar, stage, message, time left, result and error, live.
 *
 *     <script type="module" src="/job-progress.js"></script>
 *     <job-progress job="render-7"></job-progress>
 *
 * Attributes:
 * - `job`: the job's id.
 * - `url`: the server. By default, the server that the page came from.
 * - `token`: a credential. The property `token` may be a function, which returns a new token whenever one is needed:
 *   `bar.token = async () => …`.
 * - `label`: the bar's name for screen readers. By default, the job's id.
 * - `max-rate`: the most updates a second. By default, 20.
 * - `errors`: what is shown of a failure: `summary` (the default), the line that names the cause; `full`, the whole error
 *   on demand; `hidden`, nothing.
 * - `compact`: makes it one line: stage, bar, percentage, and what is wrong.
 * - `stages`: shows the stages that the job declares as steps, below the bar.
 *
 * Style it with the custom properties `--job-progress-` and: `color`, `success`, `failure`, `cancelled`, `warning`, `track`,
 * `text`, `soft-text`, `height`, `radius`; and with the parts `bar`, `fill`, `head`, `stage`, `percent`, `foot`, `message`,
 * `aside`, `outcome`, `error`, `trace`, `result`, `stages`, `step`, `step-done`, `step-now`, `step-ahead`, `step-skipped`. The attribute `status` is the job's status. The attribute `health` is set
 * while the worker is silent (`lost`) or makes no progress (`stalled`).
 *
 * Slots: `label` is before the stage; the default slot is below everything else, for buttons.
 *
 * The texts are in the language of the nearest `lang`: English, German, French, Spanish, Japanese or Arabic.
 * `languages.js` has them.
 *
 * The property `state` of an element without a job is a state that it shows: `bar.state = {…}`.
 *
 * Events: `job-state` and `job-end`, whose `detail` is the state, and `job-connection`. They bubble, and leave shadow trees.
 */

import { errorSummary, isEnd, stageLabel, watch } from '../milepost.js';
import { copy, paintError } from './error.js';
import { duration, percent as inPercent, timeLeft } from './figures.js';
import { given } from './given.js';
import { body, write } from './parts.js';
import { paintResult } from './result.js';
import { paintSteps } from './stages.js';
import { style } from './style.js';
import { childCount, fill, loadLanguage, pending, words, wordsOf } from './words.js';

/** @typedef {import('../milepost.js').State} State */
/** @typedef {import('../milepost.js').Token} Token */
/** @typedef {import('../milepost.js').Watch} Watch */
/** @typedef {import('./words.js').Words} Words */

export { words };

/** How often a running job is looked at for what time alone changes, in milliseconds. */
const TICK = 1000;

/** No credential, or one that the server does not accept. */
const UNAUTHENTICATED = 4401;

/** Shapes beside the words, so that an outcome does not depend on its colour alone. */
const MARKS = { completed: '✓', failed: '✕', cancelled: '⊘' };

// A page may be rendered where there are no elements.
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

export class JobProgress extends Base {
  static observedAttributes = ['job', 'url', 'token', 'label', 'max-rate', 'errors', 'stages'];

  /** @type {Watch | null} */
  #watch = null;
  /** @type {State | null} */
  #painted = null;
  /** How far the bar is; null: that is not known. @type {number | null} */
  #progress = null;
  /** @type {import('../milepost.js').Health} */
  #health = 'ok';
  #frame = 0;
  /** When the bar was set to where it is, by `performance.now()`. */
  #movedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {Token | undefined} */
  #token;
  /** @type {State | null} */
  #given = null;
  #isOn = false;
  /** @type {Words} */
  #words = words;
  /** The language of the latest paint. @type {string | undefined} */
  #spoken;
  /** @type {Record<string, HTMLElement>} */
  #parts = {};

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    // No markup and no style element: a page's policy may allow neither.
    root.append(...body());
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    root.adoptedStyleSheets = [sheet];
    for (const part of root.querySelectorAll('[class]')) {
      this.#parts[part.classList[part.classList.length - 1] ?? ''] = /** @type {HTMLElement} */ (part);
    }
    root.querySelector('button')?.addEventListener('click', () => copy(root.querySelector('pre')));
  }

  /** The newest state; null: none is known yet. An element without a job shows the state that it is given. @type {State | null} */
  get state() {
    return this.#watch?.state ?? null;
  }

  set state(state) {
    this.#given = state;
    if (!this.#isOn || this.hasAttribute('job')) return;
    this.#watch = state && given(state);
    this.#plan();
  }

  /** A credential, or what returns one; elements with the same function share a connection. @type {Token | undefined} */
  get token() {
    return this.#token ?? this.getAttribute('token') ?? undefined;
  }

  set token(token) {
    if (token === this.#token) return;
    this.#token = token;
    if (!this.#isOn) return;
    this.#stop();
    this.#start();
  }

  /** Whether news can arrive. */
  get connection() {
    return this.#watch?.connection ?? 'closed';
  }

  connectedCallback() {
    // Set by a page before this script had come.
    for (const name of /** @type {const} */ (['token', 'state'])) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete /** @type {any} */ (this)[name];
      /** @type {any} */ (this)[name] = value;
    }
    this.#start();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(name, before, now) {
    // Before it is connected, and while a parsed element becomes this one, there is nothing to change.
    if (before === now || !this.#isOn) return;
    if (['label', 'errors', 'stages'].includes(name)) return this.#plan();
    this.#stop();
    this.#start();
  }

  #start() {
    this.#isOn = true;
    const job = this.getAttribute('job');
    this.#painted = null;
    this.removeAttribute('status');
    this.removeAttribute('health');
    this.#watch = this.#given && given(this.#given);
    if (job) {
      const tell = (/** @type {string} */ name, /** @type {unknown} */ detail) =>
        this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
      const [url, token] = [this.getAttribute('url'), this.token];
      this.#watch = watch(job, {
        ...(url !== null && { url }),
        ...(token !== undefined && { token }),
        maxRate: Number(this.getAttribute('max-rate') ?? 20),
        follow: true,
        onState: (state) => {
          this.#plan();
          tell('job-state', state);
        },
        onEnd: (state) => tell('job-end', state),
        onUnknown: () => this.#plan(),
        onError: (error) => {
          // Who reads the page cannot send a token; who writes it finds out here.
          if (error.code === UNAUTHENTICATED) console.warn(`milepost: ${job}: ${error.message}`);
          this.#plan();
        },
        onConnection: (connection) => {
          this.#plan();
          tell('job-connection', connection);
        },
      });
    }
    this.#plan();
  }

  #stop() {
    this.#isOn = false;
    this.#watch?.close();
    this.#watch = null;
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  /** Many updates may come between two frames; the last one is drawn. */
  #plan() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.isConnected) this.#paint();
    });
  }

  #paint() {
    const language = this.#language;
    if (language !== this.#spoken) void loadLanguage(language).then(() => this.#plan());
    this.#spoken = language;
    this.#words = wordsOf(language);
    const words = this.#words;
    const { state, error } = this.#watch ?? { state: null, error: null };
    const before = this.#painted;
    this.#painted = state;
    const hasEnded = !!state && isEnd(state);
    const shown = typeof state?.progress === 'number' ? state.progress : state?.status === 'completed' ? 1 : null;
    // Many workers report 0 with a failure. The bar stays where it got to.
    const isLost = hasEnded && state.status !== 'completed' && !shown && before?.attempt === state.attempt;
    const progress = isLost ? this.#progress : shown;
    this.#progress = progress;
    // Not known: while it runs without a total, and before it is there.
    const isUnknown = progress === null && !hasEnded && state?.status === 'processing';
    if (state) this.setAttribute('status', state.status);
    const health = this.#watch?.health ?? 'ok';
    this.toggleAttribute('health', health !== 'ok');
    if (health !== 'ok') this.setAttribute('health', health);
    clearTimeout(this.#timer);
    if (state && !hasEnded) this.#timer = setTimeout(() => this.#plan(), TICK);
    const { bar, fill, stage, outcome, percent, foot, message, aside } = this.#parts;
    if (!bar || !fill || !stage || !outcome || !percent || !foot || !message || !aside) return;

    this.#paintBar(bar, fill, progress, isUnknown, state, before);
    const ended = hasEnded ? /** @type {keyof typeof MARKS} */ (state.status) : null;
    const isHidden = this.getAttribute('errors') === 'hidden';
    const nothing = error ? words.unavailable : words.waiting;
    write(stage, state?.status === 'queued' && state.stage === 'queued' ? words.queued : stageLabel(state) || nothing);
    stage.hidden = !!ended && ['complete', 'error', 'processing', 'queued', ended].includes(state?.stage ?? '');
    outcome.hidden = !ended;
    write(outcome, ended ? `${MARKS[ended]} ${words[ended]}` : '');
    write(percent, progress === null || (hasEnded && !progress) ? '' : inPercent(progress, this.#language));
    // Many workers repeat the error as the message; and a message may tell what is not to be shown.
    const isError = ended === 'failed' && (isHidden || text(state?.message).includes(text(state?.error) || '\n'));
    write(message, isError ? '' : text(state?.message));
    this.#paintAside(aside, health, hasEnded);
    const { stages } = this.#parts;
    if (stages) paintSteps(stages, this.hasAttribute('stages') ? state : null);
    // While it runs, its place is kept, so that nothing jumps.
    foot.hidden = hasEnded && !message.textContent;
    const shownErrors = this.getAttribute('errors') ?? 'summary';
    const isForAuthors = error?.code === UNAUTHENTICATED && shownErrors !== 'full';
    paintError(this.#parts, error ? (isForAuthors ? '' : error.message) : ended ? text(state?.error) : '', shownErrors, words);
    paintResult(this.#parts['result'], ended === 'completed' ? state?.result : undefined, words.result);
    this.#speak(before, state, progress, ended);
    if (health !== this.#health && health !== 'ok' && before === state) write(this.#parts['ears'], `${this.#label}: ${aside.textContent}`);
    this.#health = health;
  }

  /**
   * @param {HTMLElement} bar
   * @param {HTMLElement} fill
   * @param {number | null} progress
   * @param {boolean} isUnknown
   * @param {State | null} state
   * @param {State | null} before
   */
  #paintBar(bar, fill, progress, isUnknown, state, before) {
    bar.classList.toggle('is-unknown', isUnknown);
    // An empty bar would say 0 %.
    bar.classList.toggle('is-none', progress === null && !!state && isEnd(state));
    bar.classList.toggle('is-stale', !!state && !isEnd(state) && this.connection !== 'open');
    // It jumps back, and to where it was found. Forwards it glides for as long as the job took to get there.
    const size = `${(progress ?? 0) * 100}%`;
    if (size !== fill.style.inlineSize) {
      const now = performance.now();
      const isForward = before?.attempt === state?.attempt && parseFloat(size) > parseFloat(fill.style.inlineSize);
      fill.style.transitionDuration = `${isForward ? Math.min(now - this.#movedAt, state && isEnd(state) ? 300 : 2000) : 0}ms`;
      this.#movedAt = now;
      fill.style.inlineSize = size;
    }
    bar.setAttribute('aria-label', this.#label);
    const values = progress === null ? null : {
      'aria-valuemin': '0',
      'aria-valuemax': '100',
      'aria-valuenow': String(Math.floor(progress * 100)),
      'aria-valuetext': [inPercent(progress, this.#language), stageLabel(state)].filter(Boolean).join(', '),
    };
    for (const name of ['aria-valuemin', 'aria-valuemax', 'aria-valuenow', 'aria-valuetext']) {
      const value = values?.[/** @type {keyof values} */ (name)];
      if (value === undefined) bar.removeAttribute(name);
      else if (bar.getAttribute(name) !== value) bar.setAttribute(name, value);
    }
  }

  /**
   * The connection while there is none, else what is requested of the worker, else how long the worker was silent, else the time left.
   * @param {HTMLElement} aside
   * @param {import('../milepost.js').Health} health
   * @param {boolean} hasEnded
   */
  #paintAside(aside, health, hasEnded) {
    const words = this.#words;
    const { connection } = this;
    const { silentFor, standsFor, remaining } = this.#watch ?? {};
    // Why a watch is over is not in the job's place: "failed" would be read as the job's.
    if (hasEnded || connection === 'closed' || connection === 'failed') write(aside, '');
    else if (connection !== 'open') write(aside, words[connection]);
    else if (pending(this.state, words)) write(aside, pending(this.state, words));
    else if (health === 'lost') write(aside, fill(words.lost, duration(silentFor ?? 0, this.#language)));
    else if (health === 'stalled') write(aside, fill(words.stalled, duration(standsFor ?? 0, this.#language)));
    else write(aside, [childCount(this.state, words), remaining ? timeLeft(remaining, words, this.#language) : ''].filter(Boolean).join(' · '));
  }

  /**
   * To those who hear the page: changes of the stage, quarters, the outcome. Not what was found at first.
   * @param {State | null} before
   * @param {State | null} state
   * @param {number | null} progress
   * @param {keyof typeof MARKS | null} ended
   */
  #speak(before, state, progress, ended) {
    const ears = this.#parts['ears'];
    if (!ears || !before || !state || before.position === state.position) return;
    const label = this.#label;
    const quarter = (/** @type {unknown} */ of) => (typeof of === 'number' ? Math.floor(of * 4) : 0);
    const isOn = before.attempt === state.attempt;
    if (ended) {
      if (isOn && isEnd(before)) return;
      const error = ended === 'failed' && this.getAttribute('errors') !== 'hidden' && errorSummary(state.error);
      write(ears, `${label}: ${this.#words[ended]}${error ? `. ${error}` : ''}`);
    } else if (!isOn || before.stage !== state.stage || quarter(progress) > quarter(before.progress)) {
      write(ears, [stageLabel(state), progress === null ? '' : inPercent(progress, this.#language)].filter(Boolean).join(', '));
    }
  }

  /** The bar's name for those who hear it. */
  get #label() {
    return this.getAttribute('label') ?? this.getAttribute('job') ?? '';
  }

  get #language() {
    const found = this.closest('[lang]')?.getAttribute('lang') || undefined;
    try {
      return found && Intl.getCanonicalLocales(found)[0];
    } catch {
      return undefined;
    }
  }
}

/** @param {unknown} value */
const text = (value) => (typeof value === 'string' ? value : '');

if (globalThis.customElements && !customElements.get('job-progress')) {
  customElements.define('job-progress', JobProgress);
}
