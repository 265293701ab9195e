// @ts-check
/** What a page tells of a running job besides its state: the time left, and whether its worker is still heard of. */

import { isEnd } from './state.js';

/**
 * @typedef {import('./state.js').State} State
 * @typedef {'ok' | 'stalled' | 'lost'} Health `stalled`: the worker is heard of, but the job does not advance. `lost`: the
 *   worker is not heard of
 */

/** A job whose state has no `health`, and no child that runs, counts as lost after so long without a report, in milliseconds. */
export const SILENT_AFTER = 30_000;
/** No time left is told before so many milliseconds, … */
const MIN_OBSERVED = 5000;
/** … so many changes and so much progress were seen. */
const MIN_CHANGES = 3;
const MIN_GAIN = 0.01;
/** Older progress counts less: its weight falls by half over about this time, or this part of the time observed. */
const MEMORY = 30_000;
const MEMORY_SHARE = 0.2;

/** @param {unknown} stamp */
const time = (stamp) => (typeof stamp === 'string' ? Date.parse(stamp) : NaN);

/** One job. Every `now` is the server's clock, in milliseconds since 1970. */
export class Outlook {
  /** @type {State | null} */
  #state = null;
  /** When the newest state came. */
  #heardAt = 0;
  /** The first and the latest known progress in a row that only grows, and when each came. */
  #begin = { at: 0, progress: 0 };
  #last = { at: 0, progress: 0 };
  #changes = -1;
  /** Decayed sums of progress, time and changes. */
  #progress = 0;
  #time = 0;
  #count = 0;

  /**
   * @param {State} state newer than the one before
   * @param {number} now
   */
  note(state, now) {
    const before = this.#state;
    this.#state = state;
    this.#heardAt = now;
    const progress = typeof state.progress === 'number' && state.status === 'processing' ? state.progress : NaN;
    if (before?.attempt !== state.attempt || !(progress >= this.#last.progress)) this.#changes = -1;
    if (isNaN(progress)) return;
    if (this.#changes < 0) return this.#restart(progress, now);
    if (progress === this.#last.progress) return;
    const elapsed = now - this.#last.at;
    const memory = Math.max(MEMORY, MEMORY_SHARE * (now - this.#begin.at));
    const kept = memory / (memory + elapsed);
    this.#progress = this.#progress * kept + progress - this.#last.progress;
    this.#time = this.#time * kept + elapsed;
    this.#count = this.#count * kept + 1;
    this.#changes += 1;
    this.#last = { at: now, progress };
  }

  /**
   * @param {number} progress
   * @param {number} now
   */
  #restart(progress, now) {
    this.#changes = this.#progress = this.#time = this.#count = 0;
    this.#begin = this.#last = { at: now, progress };
  }

  /** Whether a worker is at work on it. */
  get #isRunning() {
    return this.#state?.status === 'processing';
  }

  /**
   * For how long the worker of a running job has not been heard of, in milliseconds; null: it does not run.
   * @param {number} now
   * @returns {number | null}
   */
  silentFor(now) {
    if (!this.#isRunning) return null;
    return Math.max(0, now - (time(this.#state?.['last_seen_at']) || this.#heardAt));
  }

  /**
   * For how long a running job has not advanced, in milliseconds; null: it does not run.
   * @param {number} now
   * @returns {number | null}
   */
  standsFor(now) {
    if (!this.#isRunning) return null;
    return Math.max(0, now - (time(this.#state?.['progressed_at']) || this.#last.at || this.#heardAt));
  }

  /**
   * What the server says, if it does.
   * @param {number} now
   * @returns {Health}
   */
  health(now) {
    const { health } = this.#state ?? {};
    if (!this.#state || isEnd(this.#state)) return 'ok';
    if (health === 'ok' || health === 'stalled' || health === 'lost') return health;
    // While children work, their parent's worker may have nothing to report.
    const { processing = 0 } = this.#state.children ?? {};
    return !processing && (this.silentFor(now) ?? 0) > SILENT_AFTER ? 'lost' : 'ok';
  }

  /**
   * Progress a second, 0…1; null: that cannot be told.
   * @param {number} now
   * @returns {number | null}
   */
  rate(now) {
    const { at, progress } = this.#last;
    if (!this.#isRunning || this.#changes < MIN_CHANGES || this.health(now) !== 'ok') return null;
    if (at - this.#begin.at < MIN_OBSERVED || progress - this.#begin.progress < MIN_GAIN) return null;
    // Only silence beyond twice the usual gap counts as standstill.
    const standstill = Math.max(0, now - at - (2 * this.#time) / this.#count);
    return (this.#progress / (this.#time + standstill)) * 1000;
  }

  /**
   * How long the job will still take, in milliseconds; null: that cannot be told, or it takes longer than it should.
   * @param {number} now
   * @returns {number | null}
   */
  timeLeft(now) {
    const estimated = time(this.#state?.['eta']);
    if (this.#isRunning && this.health(now) === 'ok' && estimated) return estimated > now ? estimated - now : null;
    const rate = this.rate(now);
    if (rate === null) return null;
    const left = ((1 - this.#last.progress) / rate) * 1000 - (now - this.#last.at);
    return left > 0 ? left : null;
  }
}
