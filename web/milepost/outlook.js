// @ts-check
/** What a page says of a running job besides its state: the time left, and whether its worker still reports. */

import { isEnd } from './state.js';

/**
 * @typedef {import('./state.js').State} State
 * @typedef {'ok' | 'stalled' | 'lost'} Health `stalled`: the worker reports, but the job does not advance. `lost`: the
 *   worker does not report
 */

/**
 * How long a job will still take, as people read it: about `low`, between `low` and `high`, less than `high`, or longer than usual.
 * @typedef {object} Remaining
 * @property {'about' | 'between' | 'below' | 'longer'} kind
 * @property {number} low
 * @property {number} high
 * @property {'second' | 'minute' | 'hour' | 'day'} unit
 */

/** A job whose state has no `health`, and no child that runs, counts as lost after so long without a report, in milliseconds. */
export const SILENT_AFTER = 30_000;
/** Beyond this ratio of the two instants the time left is a range. */
const WIDE = 1.5;

/**
 * In milliseconds since 1970; without a zone it is UTC. NaN: it is no date and time, but a field of the worker's own.
 * @param {unknown} stamp
 */
function time(stamp) {
  const [moment, zone] = /^\d{4}-\d\d-\d\dT.*?(z|[+-]\d\d:\d\d)?$/i.exec(String(stamp)) ?? [];
  return Date.parse(zone ? `${moment}` : `${moment}Z`);
}

/** One job. Every `now` is the server's clock, in milliseconds since 1970. */
export class Outlook {
  /** @type {State | null} */
  #state = null;
  /** When the newest state came. */
  #heardAt = 0;

  /**
   * @param {State} state newer than the one before
   * @param {number} now
   */
  note(state, now) {
    this.#state = state;
    this.#heardAt = now;
  }

  /** Whether a worker is at work on it. */
  get #isRunning() {
    return this.#state?.status === 'processing';
  }

  /**
   * For how long the worker of a running job has not reported, in milliseconds; null: it does not run.
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
    return Math.max(0, now - (time(this.#state?.['progressed_at']) || this.#heardAt));
  }

  /**
   * As the server says, if it does.
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
   * The server's estimates, in milliseconds since 1970; NaN where there is none, or it does not hold: the worker is silent, or stands still.
   * @param {number} now
   */
  #estimates(now) {
    const holds = this.#isRunning && this.health(now) === 'ok';
    return { eta: holds ? time(this.#state?.['eta']) : NaN, high: holds ? time(this.#state?.['eta_high']) : NaN };
  }

  /**
   * Progress a second, 0…1, that the server's estimate is based on; null: there is none.
   * @param {number} now
   * @returns {number | null}
   */
  rate(now) {
    const { eta } = this.#estimates(now);
    const since = time(this.#state?.['progressed_at']);
    const progress = this.#state?.progress;
    if (this.#state?.['eta_basis'] !== 'rate' || typeof progress !== 'number' || !(eta > since)) return null;
    return ((1 - progress) / (eta - since)) * 1000;
  }

  /**
   * How long the job will still take, in milliseconds; null: that is not known, or it takes longer than it should.
   * @param {number} now
   * @returns {number | null}
   */
  timeLeft(now) {
    const { eta } = this.#estimates(now);
    return eta > now ? eta - now : null;
  }

  /**
   * The same as people read it; null: it is not known.
   * @param {number} now
   * @returns {Remaining | null}
   */
  remaining(now) {
    const { eta, high } = this.#estimates(now);
    return isNaN(eta) ? null : remaining((eta - now) / 1000, (high - now) / 1000);
  }
}

/**
 * @param {number} left in seconds
 * @param {number} high in seconds; NaN: it is not known
 * @returns {Remaining}
 */
function remaining(left, high) {
  const [low, unit] = rounded(Math.max(0, left));
  const [most, mostUnit] = rounded(Math.max(0, isNaN(high) ? left : high));
  if (high < 1 || (isNaN(high) && left < 1)) return { kind: 'longer', low, high: most, unit };
  if (left < 1) return { kind: 'below', low, high: most, unit: mostUnit };
  const isRange = high > left * WIDE && unit === mostUnit && low < most;
  return { kind: isRange ? 'between' : 'about', low, high: most, unit };
}

/**
 * In one unit, at least 1 of it.
 * @param {number} seconds
 * @returns {[number, Remaining['unit']]}
 */
function rounded(seconds) {
  const units = (/** @type {number} */ size) => Math.max(1, Math.round(seconds / size));
  if (seconds < 9.5) return [units(1), 'second'];
  if (seconds < 57.5) return [units(5) * 5, 'second'];
  if (seconds < 5400) return [units(60), 'minute'];
  return seconds < 129_600 ? [units(3600), 'hour'] : [units(86_400), 'day'];
}
