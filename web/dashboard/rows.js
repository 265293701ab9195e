// @ts-check
/**
 * A list of any length of which only what can be seen is in the page. Rows are of one height, `--row` in the
 * style sheet. One row is the list's stop for the Tab key; arrows, Home, End and Page keys go on from there.
 */

import { Job } from '../job.js';
import { Group } from './groups.js';

/** @typedef {Job | Group} Item */
/**
 * @template {Item} [Shown=Job]
 * @typedef {{ root: HTMLElement, parts: Record<string, HTMLElement>, job: Shown }} Row
 */
/** @typedef {Row<Item>} AnyRow */

/** So many rows above and below what can be seen are there, for a smooth scroll. */
const MARGIN = 8;
/** What only flies past is not settled on, in milliseconds. */
const SETTLED = 120;

export class Rows {
  /** @type {readonly Item[]} */
  #jobs = [];
  /** @type {Map<Item, AnyRow>} */
  #rows = new Map();
  /** Rows of jobs that are not in the page. @type {AnyRow[]} */
  #spare = [];
  /** @type {Item | null} */
  #current = null;
  #height = 48;
  #isPlanned = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #settling;

  /**
   * @param {HTMLElement} list
   * @param {object} by
   * @param {(item: Item) => AnyRow} by.make an empty row of its kind. Its part `id` is what gets the focus; while the row is the
   *   list's stop, parts with `data-stop` can be reached by Tab too
   * @param {(row: AnyRow) => void} by.paint
   * @param {(seen: Set<Job>) => void} by.settle the rows that are there, once they stay for a moment
   * @param {() => void} by.nearEnd
   */
  constructor(list, by) {
    this.list = list;
    this.by = by;
    this.measure();
    list.addEventListener('keydown', (event) => this.#onKey(event));
    list.addEventListener('focusin', (event) => {
      const row = [...this.#rows.values()].find(({ root }) => root.contains(/** @type {Node} */ (event.target)));
      if (row) this.#setCurrent(row.job);
    });
  }

  /** The rows of jobs that are in the page. @returns {Row[]} */
  get present() {
    return [...this.#rows.values()].filter((row) => row.job instanceof Job).map((row) => /** @type {Row} */ (row));
  }

  /** @param {Job} job */
  rowOf(job) {
    return /** @type {Row | undefined} */ (this.#rows.get(job));
  }

  /** @param {Element | null} root */
  at(root) {
    return [...this.#rows.values()].find((row) => row.root === root);
  }

  /** Paints again all that are in the page. */
  paintAll() {
    for (const row of this.#rows.values()) this.by.paint(row);
  }

  /** The row that the Tab key stops at. @returns {Item | undefined} */
  get current() {
    return this.#current && this.#rows.has(this.#current) ? this.#current : this.#rows.keys().next().value;
  }

  /** After the window's size or the text's has changed. */
  measure() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.#height = parseFloat(getComputedStyle(this.list).getPropertyValue('--row')) * rem || 48;
    this.place();
  }

  /** @param {readonly Item[]} jobs */
  set(jobs) {
    if (jobs === this.#jobs) return;
    // Who reads further down keeps what is before the eyes where it is.
    const top = -this.list.getBoundingClientRect().top;
    const anchor = top > 0 ? this.#jobs[Math.floor(top / this.#height)] : undefined;
    const before = anchor ? this.#jobs.indexOf(anchor) : -1;
    this.#jobs = jobs;
    if (!this.#current || !jobs.includes(this.#current)) this.#current = null;
    this.list.style.height = `${jobs.length * this.#height}px`;
    const now = anchor ? jobs.indexOf(anchor) : -1;
    if (before >= 0 && now >= 0 && now !== before) scrollBy({ top: (now - before) * this.#height, behavior: 'instant' });
    this.place();
  }

  /** To be called when the page was scrolled. */
  placeSoon() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    requestAnimationFrame(() => {
      this.#isPlanned = false;
      this.place();
    });
  }

  /** Puts the rows that can be seen into the page, and takes the others out. */
  place() {
    if (!this.list.isConnected) return;
    const top = this.list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / this.#height) - MARGIN);
    const last = Math.min(this.#jobs.length, Math.ceil((innerHeight - top) / this.#height) + MARGIN);
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.#jobs[index], index);
    // The row that has the focus stays, wherever it is.
    for (const { job, root } of this.#rows.values()) {
      if (!wanted.has(job) && root.contains(document.activeElement)) {
        const index = this.#jobs.indexOf(job);
        if (index >= 0) wanted.set(job, index);
      }
    }
    for (const row of [...this.#rows.values()]) if (!wanted.has(row.job)) this.#give(row);
    /** @type {Element | null} */
    let before = null;
    for (const [job, index] of [...wanted].sort(([, a], [, b]) => a - b)) {
      let row = this.#rows.get(job);
      const isFresh = !row;
      row ??= this.#take(job);
      const expected = /** @type {Element | null} */ (before ? before.nextElementSibling : this.list.firstElementChild);
      if (expected !== row.root) this.list.insertBefore(row.root, expected);
      before = row.root;
      row.root.style.transform = `translateY(${index * this.#height}px)`;
      row.root.setAttribute('aria-posinset', String(index + 1));
      row.root.setAttribute('aria-setsize', String(this.#jobs.length));
      if (isFresh) this.by.paint(row);
    }
    this.#paintStop();
    if (last > this.#jobs.length - 3 * MARGIN) this.by.nearEnd();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.by.settle(new Set(this.present.map(({ job }) => job))), SETTLED);
  }

  /** Takes no more part in the page. */
  rest() {
    clearTimeout(this.#settling);
  }

  /** Moves the focus to a row, and the row to where it can be seen. @param {number} index */
  focus(index) {
    const job = this.#jobs[Math.max(0, Math.min(this.#jobs.length - 1, index))];
    if (!job) return;
    this.#setCurrent(job);
    this.#reveal(this.#jobs.indexOf(job));
    this.place();
    this.#rows.get(job)?.parts.id.focus({ preventScroll: true });
  }

  /** Where one that was left is, to come back to. */
  focusCurrent() {
    this.focus(this.#current ? this.#jobs.indexOf(this.#current) : 0);
  }

  /** @param {number} index */
  #reveal(index) {
    const top = this.list.getBoundingClientRect().top + index * this.#height;
    const ceiling = parseFloat(getComputedStyle(this.list).scrollMarginTop) || 0;
    const floor = innerHeight - this.#height;
    if (top < ceiling) scrollBy({ top: top - ceiling, behavior: 'instant' });
    else if (top > floor) scrollBy({ top: top - floor, behavior: 'instant' });
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const now = this.#current ? this.#jobs.indexOf(this.#current) : -1;
    const page = Math.max(1, Math.floor(innerHeight / this.#height) - 4);
    const to = {
      ArrowDown: now + 1, j: now + 1, ArrowUp: now - 1, k: now - 1,
      PageDown: now + page, PageUp: now - page, Home: 0, End: this.#jobs.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.focus(to);
  }

  /** @param {Item} job */
  #setCurrent(job) {
    this.#current = job;
    this.#paintStop();
  }

  #paintStop() {
    const stop = this.current;
    for (const { job, root } of this.#rows.values()) {
      for (const part of root.querySelectorAll('[data-stop]')) /** @type {HTMLElement} */ (part).tabIndex = job === stop ? 0 : -1;
    }
  }

  /** @param {Item} job */
  #take(job) {
    const row = (job instanceof Job && this.#spare.pop()) || this.by.make(job);
    row.job = job;
    this.#rows.set(job, row);
    return row;
  }

  /** @param {AnyRow} row */
  #give(row) {
    this.#rows.delete(row.job);
    row.root.remove();
    if (!(row.job instanceof Group) && this.#spare.length < 4 * MARGIN) this.#spare.push(row);
  }
}
