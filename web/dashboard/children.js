// @ts-check
/** The jobs that a job is made of: how many there are, and the latest of them as links. */

import { Job } from '../job.js';
import { element, write } from '../paint.js';
import { ask, home } from '../server.js';

/**
 * @typedef {import('../milepost.js').Children} Counts
 * @typedef {import('../milepost.js').State} State
 */

/** Those that began last. The rest is in the list of jobs. */
const MOST = 50;
/** The list is asked for at most so often, in milliseconds. */
const PAUSE = 2000;
const KINDS = /** @type {const} */ ([['failed', 'failed'], ['cancelled', 'cancelled'], ['processing', 'running'], ['queued', 'queued'], ['lost', 'silent']]);

export class Children {
  /** Of the parent's latest state, and of the one that the list was asked for with. */
  #position = '';
  #listed = '';
  /** When the list was asked for, by `performance.now()`. */
  #askedAt = -Infinity;
  /** Set until the list has come. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #hasLeft = false;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {string} id the parent
   */
  constructor(parts, id) {
    this.parts = parts;
    this.id = id;
  }

  leave() {
    this.#hasLeft = true;
    clearTimeout(this.#timer);
  }

  /** @param {State} state */
  paint(state) {
    const counts = countsOf(state);
    this.parts['children-section'].hidden = !counts;
    if (!counts) return;
    write(this.parts['children-count'], describe(counts));
    // A child that advances may move its parent, and leave the counts as they are.
    this.#position = state.position;
    this.#plan();
  }

  #plan() {
    if (this.#hasLeft || this.#position === this.#listed) return;
    this.#timer ??= setTimeout(() => this.#load(), Math.max(0, this.#askedAt + PAUSE - performance.now()));
  }

  async #load() {
    const position = this.#position;
    this.#askedAt = performance.now();
    const { ok, body } = await ask(`${home()}/jobs?parent=${encodeURIComponent(this.id)}&limit=${MOST}`).catch(() => ({ ok: false, body: null }));
    if (ok) this.parts.children.replaceChildren(...body.jobs.map(childItem));
    this.#listed = position;
    this.#timer = undefined;
    this.#plan();
  }
}

/**
 * `children` of another type is a worker's own field.
 * @param {State} state
 */
const countsOf = ({ children }) => (typeof children === 'object' && children ? children : null);

/** @param {Counts} counts */
function describe(counts) {
  const ended = counts.completed + counts.failed + counts.cancelled;
  const others = KINDS.filter(([kind]) => counts[kind]).map(([kind, word]) => `${counts[kind]} ${word}`);
  return [`${ended} of ${counts.expected} ended`, ...others].join(' · ');
}

/** @param {State} state */
function childItem(state) {
  const job = new Job(String(state.job_id));
  job.update(state, Date.now());
  const item = document.createElement('li');
  const link = element('a', job.id);
  link.setAttribute('href', `?job=${encodeURIComponent(job.id)}`);
  link.dir = 'auto';
  item.append(link, element('span', job.hasEnded ? job.outcome : job.percent || job.word, 'about'));
  return item;
}
