// @ts-check
/** A job as a page shows it: what is read out of its state, and what is remembered of the states before. */

import { duration, stopwatch, tenths } from './durations.js';
import { Outlook, errorSummary, stageLabel, stepsOf } from './milepost.js';

/** @typedef {import('./milepost.js').State} State */

export const ENDS = ['completed', 'failed', 'cancelled'];

/** @type {Record<string, string>} */
export const WORDS = { queued: 'Queued', processing: 'Running', completed: 'Completed', failed: 'Failed', cancelled: 'Cancelled' };

/** A job that the page shows, and what it remembers of it. */
export class Job {
  /** @type {State | null} */
  state = null;
  /** How far it has been in this attempt, 0…1. */
  furthest = 0;
  /** The server does not know it any more: it was deleted, its `ttl` is over, or the server has lost its jobs. */
  isForgotten = false;
  #outlook = new Outlook();

  /** @param {string} id */
  constructor(id) {
    this.id = id;
  }

  /**
   * @param {State} state
   * @param {number} now the server's clock, in milliseconds since 1970, as everywhere below
   */
  update(state, now) {
    if (state.attempt !== this.state?.attempt) this.furthest = 0;
    this.state = state;
    this.isForgotten = false;
    this.furthest = Math.max(this.furthest, progressOf(state) ?? 0);
    this.#outlook.note(state, now);
  }

  /**
   * The state before shows how far an attempt got that failed with a progress of 0.
   * @param {State} earlier
   */
  recall(earlier) {
    if (earlier.attempt === this.state?.attempt) this.furthest = Math.max(this.furthest, progressOf(earlier) ?? 0);
  }

  get hasEnded() {
    return ENDS.includes(this.state?.status ?? '');
  }

  /** How far it is, 0…1; null if its total is not known. */
  get share() {
    if (!this.state) return null;
    const progress = progressOf(this.state);
    // Many workers report 0 with a failure. The bar stays where it got to.
    const lost = this.hasEnded && this.state.status !== 'completed' && !progress;
    if (lost && this.furthest) return this.furthest;
    return progress ?? (this.state.status === 'completed' ? 1 : null);
  }

  /** `62 %`, or nothing. 100 % is for what is done, and 0 % for what has not ended. */
  get percent() {
    const share = this.share;
    return share === null || (this.hasEnded && share === 0) ? '' : `${Math.floor(share * 100)}\u202f%`;
  }

  get word() {
    return WORDS[this.state?.status ?? ''] ?? text(this.state?.status);
  }

  /** `Running`, `Completed`, `Failed at 62 %`. */
  get outcome() {
    const partly = this.hasEnded && this.state?.status !== 'completed' && this.percent;
    return partly ? `${this.word} at ${this.percent}` : this.word;
  }

  /** What it is busy with; nothing where that only repeats the status. */
  get stage() {
    const stage = text(this.state?.stage);
    const repeats = this.hasEnded ? ['complete', 'error', 'processing', 'queued'] : [this.state?.status, 'processing'];
    return repeats.includes(stage) ? '' : stageLabel(this.state) || stage;
  }

  /** The stages that it declares, in their order. */
  get steps() {
    return stepsOf(this.state);
  }

  /** All of a failure's error. */
  get error() {
    return this.state?.status === 'failed' ? text(this.state.error, Infinity) : '';
  }

  /** The line of the error that names its cause. */
  get errorSummary() {
    return errorSummary(this.error);
  }

  /** All of the message, unless it only repeats the error. */
  get message() {
    const message = text(this.state?.message, Infinity);
    return this.error && (message === this.error || message === `Error: ${this.error}`) ? '' : message;
  }

  /** @param {number} now */
  health(now) {
    return this.isForgotten ? 'lost' : this.#outlook.health(now);
  }

  /**
   * What is wrong with a running job: `Silent for 12 min`, `No progress for 12 min`, that it is forgotten, or nothing.
   * @param {number} now
   */
  trouble(now) {
    if (this.isForgotten) return 'the server does not know it any more';
    const health = this.health(now);
    if (health === 'lost') return `Silent for ${duration(this.#outlook.silentFor(now) ?? 0)}`;
    return health === 'stalled' ? `No progress for ${duration(this.#outlook.standsFor(now) ?? 0)}` : '';
  }

  /** What was requested of the worker and is not done yet, or that it is paused: `Cancelling…`, or nothing. */
  get pending() {
    const action = this.state?.requested?.action;
    const isPaused = this.state?.['paused'] === true;
    if (this.hasEnded || !action) return '';
    if (action === 'cancel') return 'Cancelling…';
    if (action === 'pause') return isPaused ? 'Paused' : 'Pausing…';
    return isPaused ? 'Resuming…' : '';
  }

  /** @returns {string} empty: it has none */
  get name() {
    return typeof this.state?.name === 'string' ? this.state.name : '';
  }

  /** @returns {string[]} */
  get tags() {
    const tags = this.state?.tags;
    return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : [];
  }

  /** When it ended, by the server's clock if the state has it; null: it has not, or that cannot be read. */
  get ended() {
    return this.hasEnded ? Date.parse(text(this.state?.ended_at)) || timeOf(this.state) : null;
  }

  /** How long the attempt took, in milliseconds, by the server's clock; null: it has not ended, or that is not known. */
  get took() {
    const took = Date.parse(text(this.state?.ended_at)) - Date.parse(text(this.state?.started_at));
    return took >= 0 ? took : null;
  }

  /** An end in a few words: `Completed in 1:18`, `Failed after 3:02`. */
  get headline() {
    const { took } = this;
    return took === null || took < 1 ? this.word : `${this.word} ${this.state?.status === 'completed' ? 'in' : 'after'} ${stopwatch(took)}`;
  }

  /**
   * How long ago it was last reported, in milliseconds. The worker's clock is not asked while it runs.
   * @param {number} now
   */
  age(now) {
    const age = this.#outlook.silentFor(now) ?? now - (this.ended ?? timeOf(this.state) ?? now);
    return Math.max(0, age);
  }

  /**
   * Whether it still runs past the instant by which it should have been done: its `eta_high`, or without one its `eta`.
   * @param {number} now
   */
  isOverdue(now) {
    return this.#outlook.remaining(now)?.kind === 'longer';
  }

  /**
   * How fast it advances and how long it will still take, if the server estimates that: `1.2 %/s`, `about 40 s left`.
   * @param {number} now
   * @param {number | null} [pace] progress a second, where the server's estimate is not based on one
   */
  outlook(now, pace = null) {
    const moves = this.state?.status === 'processing' && this.state['paused'] !== true && this.health(now) === 'ok';
    const [rate, left] = [this.#outlook.rate(now) ?? (moves ? pace : null), this.#outlook.remaining(now)];
    return { rate: rate === null ? '' : perTime(rate * 100), left: left === null ? '' : timeLeft(left) };
  }
}

/**
 * Whether a state comes after one that was seen. Positions of different epochs cannot be compared: then it does.
 * @param {State} state
 * @param {State} seen
 */
export function isLater(state, seen) {
  const [epoch, number] = state.position.split('-');
  const [seenEpoch, seenNumber] = seen.position.split('-');
  return epoch !== seenEpoch || Number(number) > Number(seenNumber);
}

/** @param {State} state */
export function progressOf(state) {
  const { progress } = state;
  return typeof progress === 'number' && progress >= 0 && progress <= 1 ? progress : null;
}

/**
 * The worker's clock, which is UTC where it names no zone; null if it cannot be read.
 * @param {State | null} state
 */
export function timeOf(state) {
  const stamp = text(state?.timestamp);
  const [, date = '', day, zone] = /^(\d{4}-\d\d-(\d\d))[t ].*?(z|[+-]\d\d:\d\d)?$/i.exec(stamp) ?? [];
  // Browsers read the 30th of February as one of March.
  if (new Date(date).getUTCDate() !== Number(day)) return null;
  const time = Date.parse(zone ? stamp : `${stamp}Z`);
  return Number.isNaN(time) ? null : time;
}

/**
 * A field as text, of whatever type its worker made it.
 * @param {unknown} value
 * @param {number} [most] characters
 */
export function text(value, most = 500) {
  if (value === undefined || value === null) return '';
  const whole = typeof value === 'string' ? value : JSON.stringify(value);
  return whole.length > most ? `${whole.slice(0, most)}…` : whole;
}

/**
 * By the longest unit of time in which it is a figure that can be read: `2.5 %/s`, `8.4 %/min`.
 * @param {number} percent a second
 */
function perTime(percent) {
  const [unit, seconds] = percent >= 1 ? ['s', 1] : percent * 60 >= 1 ? ['min', 60] : ['h', 3600];
  const figure = percent * seconds;
  return `${figure >= 10 ? figure.toFixed(0) : tenths.format(figure)}\u202f%/${unit}`;
}

/**
 * `about 4 min left`, `3–6 min left`, `less than 2 min left`, `longer than usual`.
 * @param {import('./milepost.js').Remaining} remaining
 */
function timeLeft({ kind, low, high, unit }) {
  const word = { second: 's', minute: 'min', hour: 'h', day: 'days' }[unit];
  if (kind === 'longer') return 'longer than usual';
  if (kind === 'below') return `less than ${high} ${word} left`;
  return kind === 'between' ? `${low}–${high} ${word} left` : `about ${low} ${word} left`;
}
