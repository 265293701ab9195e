// @ts-check
/** The jobs of the list that are selected, and what can be done with all of them at once. */

import { announce } from '../announce.js';
import { write } from '../paint.js';
import { deleteJob, sendRequest } from './requests.js';

/** @typedef {import('../job.js').Job} Job */

/** So many requests are sent at a time. */
const AT_ONCE = 8;

const number = new Intl.NumberFormat();

const ACTIONS = {
  cancel: { name: 'Cancel', doing: 'Cancelling', done: 'Requested to cancel', failed: 'cancelled' },
  delete: { name: 'Delete', doing: 'Deleting', done: 'Deleted', failed: 'deleted' },
};

/** @typedef {keyof typeof ACTIONS} Action */

export class Selection {
  /** @type {Set<Job>} */
  #jobs = new Set();
  /** The latest one that was selected by itself: a range begins there. @type {Job | null} */
  #anchor = null;
  /** The action whose button was clicked once. @type {Action | null} */
  #confirming = null;
  /** What is going on or went wrong, or nothing. */
  #note = '';
  #isBusy = false;
  /** The list that the selection was last compared with. @type {readonly Job[] | null} */
  #compared = null;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {object} by
   * @param {() => readonly Job[]} by.shown the jobs that the list shows
   * @param {() => void} by.changed
   * @param {(id: string) => void} by.onDeleted
   */
  constructor(parts, by) {
    this.parts = parts;
    this.by = by;
    parts['bulk-all'].addEventListener('click', () => this.#set(this.by.shown()));
    parts['bulk-clear'].addEventListener('click', () => this.clear());
    parts['bulk-cancel'].addEventListener('click', () => this.#confirm('cancel'));
    parts['bulk-delete'].addEventListener('click', () => this.#confirm('delete'));
  }

  get size() {
    return this.#jobs.size;
  }

  /** @param {Job} job */
  has(job) {
    return this.#jobs.has(job);
  }

  /**
   * @param {Job} job
   * @param {boolean} isRange whether all from the one selected before to this one are meant
   */
  toggle(job, isRange = false) {
    const shown = this.by.shown();
    const [from, to] = [this.#anchor ? shown.indexOf(this.#anchor) : -1, shown.indexOf(job)];
    if (isRange && from >= 0 && to >= 0) {
      for (const each of shown.slice(Math.min(from, to), Math.max(from, to) + 1)) this.#jobs.add(each);
    } else if (!this.#jobs.delete(job)) this.#jobs.add(job);
    this.#anchor = job;
    this.#change();
  }

  clear() {
    if (this.size > 0 || this.#note) this.#set([]);
  }

  /** Jobs that the list does not show any more are not selected any more. */
  keepShown() {
    const list = this.by.shown();
    if (this.size === 0 || this.#isBusy || list === this.#compared) return;
    this.#compared = list;
    const shown = new Set(list);
    const kept = [...this.#jobs].filter((job) => shown.has(job));
    if (kept.length < this.size) this.#set(kept);
  }

  paint() {
    const { parts } = this;
    const cancellable = this.#cancellable();
    parts.bulk.hidden = this.size === 0 && !this.#note;
    if (parts.bulk.hidden) return;
    const rest = this.by.shown().length - this.size;
    write(parts['bulk-count'], this.#isBusy || (this.#note && this.size === 0) ? '' : `${number.format(this.size)} selected`);
    parts['bulk-all'].hidden = this.#isBusy || rest <= 0 || this.size === 0;
    write(parts['bulk-all'], `Select all ${number.format(this.by.shown().length)}`);
    parts['bulk-cancel'].hidden = this.#isBusy || cancellable.length === 0;
    parts['bulk-delete'].hidden = this.#isBusy || this.size === 0;
    write(parts['bulk-cancel'], this.#label('cancel', cancellable.length));
    write(parts['bulk-delete'], this.#label('delete', this.size));
    for (const action of /** @type {const} */ (['cancel', 'delete'])) parts[`bulk-${action}`].classList.toggle('danger', this.#confirming === action);
    write(parts['bulk-note'], this.#note);
  }

  #cancellable() {
    return [...this.#jobs].filter(({ state, hasEnded }) => state?.cancellable === true && !hasEnded && state.requested?.action !== 'cancel');
  }

  /**
   * @param {Action} action
   * @param {number} count
   */
  #label(action, count) {
    const { name } = ACTIONS[action];
    const jobs = count === 1 ? '1 job' : `${number.format(count)} jobs`;
    if (this.#confirming !== action) return action === 'cancel' && count < this.size ? `${name} ${number.format(count)}` : name;
    const running = action === 'delete' ? [...this.#jobs].filter((job) => !job.hasEnded).length : 0;
    const warning = running === 0 ? '' : ` ${number.format(running)} ${running === 1 ? 'has' : 'have'} not ended.`;
    return `Really ${name.toLowerCase()} ${jobs}?${warning}`;
  }

  /** Does it on the second click. @param {Action} action */
  #confirm(action) {
    const isConfirmed = this.#confirming === action;
    this.#confirming = isConfirmed ? null : action;
    if (isConfirmed) this.#act(action, action === 'cancel' ? this.#cancellable() : [...this.#jobs]);
    this.paint();
  }

  /**
   * Jobs for which it fails stay selected.
   * @param {Action} action
   * @param {Job[]} jobs
   */
  async #act(action, jobs) {
    const { doing, done, failed } = ACTIONS[action];
    this.#isBusy = true;
    /** @type {string[]} */
    const faults = [];
    let finished = 0;
    const waiting = [...jobs];
    const work = async () => {
      for (let job = waiting.shift(); job; job = waiting.shift()) {
        this.#note = `${doing} ${number.format(finished + 1)} of ${number.format(jobs.length)}…`;
        this.paint();
        const fault = action === 'cancel' ? await sendRequest(job.id, 'cancel') : await deleteJob(job.id);
        finished += 1;
        if (fault) faults.push(fault);
        else this.#jobs.delete(job);
        if (!fault && action === 'delete') this.by.onDeleted(job.id);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.#isBusy = false;
    const count = jobs.length - faults.length;
    const outcome = [
      count > 0 ? `${done}: ${number.format(count)}.` : '',
      faults.length > 0 ? `${number.format(faults.length)} could not be ${failed}: ${faults[0]}` : '',
    ].filter(Boolean).join(' ');
    announce(outcome);
    this.#note = faults.length > 0 ? outcome : '';
    this.by.changed();
    this.paint();
  }

  /** @param {readonly Job[]} jobs */
  #set(jobs) {
    this.#jobs = new Set(jobs);
    if (jobs.length === 0) this.#anchor = null;
    this.#change();
  }

  #change() {
    this.#confirming = null;
    if (!this.#isBusy) this.#note = '';
    this.by.changed();
    this.paint();
  }
}
