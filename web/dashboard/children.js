// @ts-check
/** The children of a job, on its page: how many have which status, and a row for each of those that matter most. */

import { home } from '../addresses.js';
import { Job } from '../job.js';
import { build, paint, paintHealth, write } from '../paint.js';
import { ask } from '../server.js';

/**
 * @typedef {import('../milepost.js').Children} Counts
 * @typedef {import('../milepost.js').State} State
 * @typedef {{ root: HTMLElement, parts: Record<string, HTMLElement>, job: Job }} Row
 */

/** So many children have a row. The others are counted, and in the list of jobs. */
const MOST = 50;
/** The children are asked for at most so often, in milliseconds. */
const PAUSE = 2000;
/** Names for people of what `children` counts, in the order in which they are shown. */
const KINDS = /** @type {const} */ ([['failed', 'failed'], ['lost', 'silent'], ['cancelled', 'cancelled'], ['processing', 'running'], ['queued', 'queued']]);
/** Which children are asked for if not all have a row: until there are enough. @type {Record<string, string>[]} */
const QUERIES = [{ health: 'lost,stalled' }, { status: 'failed' }, { status: 'processing' }, { status: 'queued' }, {}];
/** A child that is not well comes first, whatever its status. */
const RANKS = ['failed', 'processing', 'queued', 'cancelled', 'completed'];

const number = new Intl.NumberFormat();

export class Children {
  /** Of the parent's latest state, and of the one that the children were asked for with. */
  #position = '';
  #listed = '';
  /** When the children were asked for, by `performance.now()`. */
  #askedAt = -Infinity;
  /** Set until they have come. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #hasLeft = false;
  /** @type {Counts | null} */
  #counts = null;
  /** By id, in their order. @type {Map<string, Row>} */
  #rows = new Map();

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {string} id the parent
   */
  constructor(parts, id) {
    this.parts = parts;
    this.id = id;
    parts['children-all'].setAttribute('href', `./?parent=${encodeURIComponent(id)}`);
  }

  leave() {
    this.#hasLeft = true;
    clearTimeout(this.#timer);
  }

  /** @param {State} state */
  paint(state) {
    const counts = state.children ?? null;
    this.parts['children-section'].hidden = !counts;
    if (!counts) return;
    this.#counts = counts;
    write(this.parts['children-count'], describe(counts));
    // A child that advances may move its parent, and leave the counts as they are.
    this.#position = state.position;
    this.#plan();
  }

  /**
   * What time alone changes.
   * @param {number} now the server's clock
   * @param {boolean} isLive
   */
  tick(now, isLive) {
    for (const { root, parts, job } of this.#rows.values()) {
      const trouble = paintHealth(root, job, now, isLive);
      write(parts['child-aside'], trouble || (job.hasEnded ? job.headline : job.pending || job.outlook(now).left || job.word));
    }
  }

  #plan() {
    if (this.#hasLeft || this.#position === this.#listed) return;
    this.#timer ??= setTimeout(() => this.#load(), Math.max(0, this.#askedAt + PAUSE - performance.now()));
  }

  async #load() {
    const position = this.#position;
    this.#askedAt = performance.now();
    try {
      const answer = await this.#ask();
      if (answer && !this.#hasLeft) this.#show(answer.states, answer.now);
      this.#listed = position;
    } catch {
      // The server could not answer: it is asked again.
    }
    this.#timer = undefined;
    this.#plan();
  }

  /** The children that matter most; null: the server refuses to list them. */
  async #ask() {
    /** @type {Map<string, State>} */
    const states = new Map();
    let now = 0;
    const isAll = known(this.#counts) <= MOST;
    for (const filter of isAll ? [{}] : QUERIES) {
      const query = new URLSearchParams({ parent: this.id, limit: String(MOST), ...filter });
      const { ok, status, body, now: clock } = await ask(`${home()}/jobs?${query}`);
      if (status >= 500) throw new Error(`The server answered with status ${status}.`);
      if (!ok) return null;
      now = clock;
      for (const state of body.jobs) states.set(state.job_id, state);
      if (states.size >= MOST) break;
    }
    return { states: [...states.values()], now };
  }

  /**
   * @param {State[]} states
   * @param {number} now the server's clock
   */
  #show(states, now) {
    const rows = states.map((state) => this.#row(state, now));
    // The order within a rank is the server's: those that began last come first.
    rows.sort((one, other) => rank(one.job, now) - rank(other.job, now));
    const before = [...this.#rows.keys()].join('\n');
    this.#rows = new Map(rows.slice(0, MOST).map((row) => [row.job.id, row]));
    // A row that stays where it is keeps the focus, and its bar glides.
    if ([...this.#rows.keys()].join('\n') !== before) this.parts.children.replaceChildren(...[...this.#rows.values()].map(({ root }) => root));
    const rest = Math.max(0, known(this.#counts) - this.#rows.size);
    this.parts['children-more'].hidden = rest === 0;
    write(this.parts['children-all'], `and ${number.format(rest)} more`);
    this.tick(now, true);
  }

  /**
   * @param {State} state
   * @param {number} now the server's clock
   */
  #row(state, now) {
    const row = this.#rows.get(state.job_id) ?? makeRow(state.job_id);
    const { root, parts, job } = row;
    job.update(state, now);
    paint(root, parts, job);
    write(parts.status, job.word);
    write(parts.message, job.errorSummary || job.message);
    write(parts['child-percent'], job.percent);
    return row;
  }
}

/** @param {string} id */
function makeRow(id) {
  const { root, parts } = build('child-view');
  write(parts.id, id);
  parts.id.setAttribute('href', `?job=${encodeURIComponent(id)}`);
  parts.id.title = id;
  return { root: /** @type {HTMLElement} */ (root.firstElementChild), parts, job: new Job(id) };
}

/**
 * What is shown first: what failed or is silent, then what runs, then what waits, then the rest.
 * @param {Job} job
 * @param {number} now
 */
function rank(job, now) {
  return job.health(now) === 'ok' ? RANKS.indexOf(job.state?.status ?? '') : -1;
}

/**
 * How many children have been reported.
 * @param {Counts | null} counts
 */
function known(counts) {
  return counts ? counts.queued + counts.processing + counts.completed + counts.failed + counts.cancelled + counts.lost : 0;
}

/** @param {Counts} counts */
function describe(counts) {
  const ended = counts.completed + counts.failed + counts.cancelled;
  const others = KINDS.filter(([kind]) => counts[kind]).map(([kind, word]) => `${number.format(counts[kind])} ${word}`);
  return [`${number.format(ended)} of ${number.format(counts.expected)} ended`, ...others].join(' · ');
}
