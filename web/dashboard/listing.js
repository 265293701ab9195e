// @ts-check
/**
 * The jobs that the page has loaded, in pages: `newest`, without a gap from the newest on; for a search or a filter, `older`,
 * of the jobs beyond them only those that match; for another order than the newest first, `sorted`, in the server's order.
 */

import { home } from '../addresses.js';
import { FIRST_SIGHT, takeFirst } from '../first.js';
import { Job, isLater } from '../job.js';
import { errorSummary } from '../milepost.js';
import { ask } from '../server.js';

/** @typedef {import('../milepost.js').State} State */
/**
 * @typedef {{ status: string, search: string, tag: string, parent: string, sort: string }} Filter `tag`, `parent`: exactly this one; empty:
 *   any. `sort`: as the server's; empty: the newest first
 */

/** Once the list is there, so many jobs may have come at once. */
const FIRST_PAGE = 100;
const PAGE = 1000;
/** At this many the page stops loading; a search, which is the server's, still finds the rest. */
const MOST_JOBS = 50_000;
/** So many pages of new jobs at once are put on top of those that are there. */
const MOST_NEW_PAGES = 10;

/** The server counts anew, and is asked which jobs need attention, this often, in milliseconds. */
const COUNT_EVERY = 10_000;
/** So many silent, so many overdue and so many failed jobs are said to need attention. */
const MOST_SILENT = 100;
const MOST_FAILED = 1000;
/** The filter for jobs whose worker is silent or that do not advance, take longer than usual, or failed. */
export const ATTENTION = 'attention';

/** @type {Record<string, string[]>} */
export const FILTERS = {
  active: ['queued', 'processing'],
  completed: ['completed'],
  failed: ['failed'],
  cancelled: ['cancelled'],
};

export class Listing {
  /** Of all jobs loaded. @type {Map<string, Job>} */
  jobs = new Map();
  /** All that the server knows. */
  total = 0;
  isLoaded = false;
  isLoading = false;
  /** Why the last attempt to load failed, or nothing. */
  fault = '';
  /** @type {Filter} */
  filter = { status: '', search: '', tag: '', parent: '', sort: '' };
  /** @type {Job[]} */
  #newest = [];
  /** @type {string | null} */
  #next = null;
  /** @type {Job[]} */
  #older = [];
  /** Undefined: not asked yet. @type {string | null | undefined} */
  #olderNext = undefined;
  /** @type {Job[]} */
  #sorted = [];
  /** Undefined: not requested yet. @type {string | null | undefined} */
  #sortedNext = undefined;
  /** @type {Job[] | null} */
  #shown = null;
  /** How many jobs match the search by status, as the server counted them. @type {Record<string, number> | null} */
  #counted = null;
  #countedAt = -Infinity;
  /** Those that need attention: the longest silent first, then the overdue, then the failed ones. @type {Job[]} */
  #attention = [];

  /** Whether every job that the server knows is loaded. */
  get isComplete() {
    return this.isLoaded && this.#next === null;
  }

  get isFiltered() {
    const { status, search, tag, parent } = this.filter;
    return [status, search, tag, parent].some((chosen) => chosen !== '');
  }

  get countLoaded() {
    return this.#newest.length;
  }

  get isSorted() {
    return this.filter.sort !== '' && this.filter.status !== ATTENTION;
  }

  /** Whether there may be more to show than is loaded. */
  get hasMore() {
    if (this.isSorted) return this.#sortedNext !== null && this.#sorted.length < MOST_JOBS;
    if (this.isComplete || this.filter.status === ATTENTION) return false;
    return this.isFiltered ? this.#olderNext !== null && this.#older.length < MOST_JOBS : this.#newest.length < MOST_JOBS;
  }

  /** Those that match the filter. */
  get shown() {
    if (this.filter.status === ATTENTION) return this.#attention;
    if (this.isSorted) return (this.#shown ??= this.#sorted.filter((job) => this.#matches(job)));
    if (!this.isFiltered) return this.#newest;
    this.#shown ??= [...this.#newest.filter((job) => this.#matches(job)), ...this.#older.filter((job) => this.#matches(job))];
    return this.#shown;
  }

  /**
   * How many jobs match the search in each status: the page's own count if all jobs are loaded, else the server's. Null:
   * not known yet.
   * @returns {Record<string, number> | null}
   */
  counts() {
    if (this.isComplete) {
      const counted = { queued: 0, processing: 0, completed: 0, failed: 0, cancelled: 0 };
      for (const job of this.#newest) {
        if (matches(job, this.filter)) counted[job.state?.status ?? 'queued'] += 1;
      }
      return { ...byFilter(counted), [ATTENTION]: this.#attention.length };
    }
    return this.#counted && { ...byFilter(this.#counted), [ATTENTION]: this.#attention.length };
  }

  /** @param {Filter} filter */
  setFilter(filter) {
    this.filter = filter;
    const dropped = [...this.#older, ...this.#sorted];
    this.#older = [];
    this.#olderNext = undefined;
    this.#sorted = [];
    this.#sortedNext = undefined;
    this.#forget(dropped);
    this.#shown = null;
    this.#countedAt = -Infinity;
  }

  /**
   * A state that was heard of a job in the list.
   * @param {State} state
   * @param {number} now the server's clock
   * @returns {{ job: Job, isOtherStatus: boolean } | null}
   */
  update(state, now) {
    const job = this.jobs.get(state.job_id);
    if (!job) return null;
    const before = job.state?.status;
    job.update(slim(state), now);
    if (before !== state.status) this.#shown = null;
    return { job, isOtherStatus: before !== state.status };
  }

  /** The server does not know it any more. @param {string} id */
  remove(id) {
    if (!this.jobs.delete(id)) return;
    this.#newest = this.#newest.filter((job) => job.id !== id);
    this.#older = this.#older.filter((job) => job.id !== id);
    this.#sorted = this.#sorted.filter((job) => job.id !== id);
    this.#attention = this.#attention.filter((job) => job.id !== id);
    this.#shown = null;
  }

  /** Of jobs that no list has any more, no state is kept. @param {readonly Job[]} dropped */
  #forget(dropped) {
    if (dropped.length === 0) return;
    const kept = new Set([...this.#newest, ...this.#older, ...this.#sorted, ...this.#attention]);
    for (const job of dropped) if (!kept.has(job)) this.jobs.delete(job.id);
  }

  /** Puts new jobs on top, and takes those out that the server has forgotten. */
  async look() {
    const first = await this.#page(this.isLoaded ? FIRST_PAGE : FIRST_SIGHT, null);
    let { next } = first;
    const head = first.jobs;
    const known = new Set(this.#newest);
    for (let pages = 1; known.size > 0 && next !== null && !head.some((job) => known.has(job)); pages += 1) {
      if (pages > MOST_NEW_PAGES) break;
      const page = await this.#page(PAGE, next);
      head.push(...page.jobs);
      next = page.next;
    }
    this.#join(head, next);
    this.isLoaded = true;
    this.fault = '';
  }

  /** Whether what is shown comes with the counts: `look` alone does not bring it. */
  get isCounted() {
    return this.filter.status === ATTENTION || this.isSorted;
  }

  /**
   * Unless it did lately, has the server count the jobs that match the search, name those that need attention, and sort anew.
   */
  async count() {
    if (performance.now() - this.#countedAt < COUNT_EVERY) return;
    this.#countedAt = performance.now();
    const { filter } = this;
    if (this.#sortedNext !== undefined) await this.#sortAnew();
    const { search, tag, parent } = filter;
    const { jobs, now } = await this.#page(MOST_SILENT, null, { ...filter, status: 'processing', sort: 'seen' });
    const { jobs: soonest } = await this.#page(MOST_SILENT, null, { ...filter, status: 'processing', sort: 'left' });
    const failed = await this.#page(MOST_FAILED, null, { ...filter, status: 'failed', sort: '' });
    if (filter !== this.filter) return this.#forget([...jobs, ...soonest, ...failed.jobs]);
    const before = this.#attention;
    const silent = jobs.filter((job) => job.health(now) !== 'ok');
    this.#attention = [...silent, ...soonest.filter((job) => job.isOverdue(now)), ...failed.jobs];
    this.#forget([...before, ...jobs, ...soonest]);
    if (this.isComplete) return;
    const { ok, body } = await ask(`${home()}/jobs?${new URLSearchParams({ limit: '1', counts: 'true', ...(search && { q: search }), ...(tag && { tag }), ...(parent && { parent }) })}`);
    if (ok && filter === this.filter) this.#counted = body.counts;
  }

  /** Loads a page more of what is shown. */
  async loadMore() {
    if (this.isSorted) return this.#loadSorted();
    if (!this.isFiltered || this.#next === null) return this.loadOlder();
    const after = this.#olderNext === undefined ? this.#next : this.#olderNext;
    if (after === null) return;
    const { filter } = this;
    const page = await this.#load(() => this.#page(PAGE, after, filter));
    if (!page) return;
    if (filter !== this.filter) return this.#forget(page.jobs);
    const known = new Set(this.#newest);
    const have = new Set(this.#older);
    this.#older.push(...page.jobs.filter((job) => !known.has(job) && !have.has(job)));
    this.#olderNext = page.next;
    this.#shown = null;
  }

  /** Loads the next page in the server's order. */
  async #loadSorted() {
    const { filter } = this;
    const after = this.#sortedNext ?? null;
    const page = await this.#load(() => this.#page(PAGE, after, filter));
    if (!page) return;
    if (filter !== this.filter) return this.#forget(page.jobs);
    const have = new Set(this.#sorted);
    this.#sorted = this.#sorted.concat(page.jobs.filter((job) => !have.has(job)));
    this.#sortedNext = page.next;
    this.#shown = null;
  }

  /** Replaces the first page of the server's order by what it is now. Pages below it stay as they were loaded. */
  async #sortAnew() {
    const { filter } = this;
    const page = await this.#load(() => this.#page(PAGE, null, filter));
    if (!page) return;
    if (filter !== this.filter) return this.#forget(page.jobs);
    const first = new Set(page.jobs);
    const before = this.#sorted;
    this.#sorted = [...page.jobs, ...before.slice(PAGE).filter((job) => !first.has(job))];
    if (before.length <= PAGE) this.#sortedNext = page.next;
    this.#shown = null;
    this.#forget(before);
  }

  /** Loads the next page of all, whatever the filter. */
  async loadOlder() {
    const after = this.#next;
    if (after === null || this.#newest.length >= MOST_JOBS) return;
    const page = await this.#load(() => this.#page(PAGE, after));
    if (!page || after !== this.#next) return;
    const fresh = new Set(page.jobs);
    const known = new Set(this.#newest);
    this.#older = this.#older.filter((job) => !fresh.has(job));
    this.#newest = this.#newest.concat(page.jobs.filter((job) => !known.has(job)));
    this.#next = page.next;
    this.#shown = null;
  }

  /**
   * @template T
   * @param {() => Promise<T>} load
   * @returns {Promise<T | null>}
   */
  async #load(load) {
    if (this.isLoading) return null;
    this.isLoading = true;
    try {
      const loaded = await load();
      this.fault = '';
      return loaded;
    } catch (error) {
      this.fault = error instanceof Error ? error.message : String(error);
      return null;
    } finally {
      this.isLoading = false;
    }
  }

  /**
   * @param {number} limit
   * @param {string | null} after
   * @param {Filter} [filter]
   */
  async #page(limit, after, filter) {
    const query = new URLSearchParams({ limit: String(limit), ...(filter?.sort && { sort: filter.sort }) });
    if (after !== null) query.set('after', after);
    if (filter?.status) query.set('status', (FILTERS[filter.status] ?? [filter.status]).join(','));
    if (filter?.search) query.set('q', filter.search);
    if (filter?.tag) query.set('tag', filter.tag);
    if (filter?.parent) query.set('parent', filter.parent);
    const url = `${home()}/jobs?${query}`;
    const { ok, status, body, now } = await ask(url, takeFirst(url));
    if (!ok) throw new Error(body?.detail ?? `The server answered with status ${status}.`);
    this.total = body.total;
    /** @type {State[]} */
    const states = body.jobs;
    return { now, jobs: states.map((state) => this.#found(state, now)), next: /** @type {string | null} */ (body.next) };
  }

  /**
   * @param {State} state
   * @param {number} now the server's clock
   */
  #found(state, now) {
    let job = this.jobs.get(state.job_id);
    if (!job) this.jobs.set(state.job_id, (job = new Job(state.job_id)));
    // One that is watched is known better than it was found.
    if (!job.state || isLater(state, job.state)) {
      job.update(slim(state), now);
      this.#shown = null;
    }
    return job;
  }

  /**
   * @param {Job[]} head the newest, without a gap
   * @param {string | null} next of what comes after them
   */
  #join(head, next) {
    const inHead = new Set(head);
    const overlap = head.length ? this.#newest.lastIndexOf(/** @type {Job} */ (head.at(-1))) : -1;
    const isAll = next === null;
    const before = this.#newest;
    if (isAll || overlap < 0) {
      this.#newest = head;
      this.#next = next;
    } else {
      this.#newest = head.concat(before.slice(overlap + 1).filter((job) => !inHead.has(job)));
    }
    if (this.#older.length > 0) {
      const isNewest = new Set(this.#newest);
      this.#older = this.#older.filter((job) => !isNewest.has(job));
    }
    this.#shown = null;
    this.#forget(isAll || overlap < 0 ? before : before.slice(0, overlap));
  }

  /** @param {Job} job */
  #matches(job) {
    const { status } = this.filter;
    if (status && !FILTERS[status].includes(job.state?.status ?? '')) return false;
    return matches(job, this.filter);
  }
}

/**
 * As the server's `q`: in the id, the name or a tag, whatever the case; and as its `tag` and `parent`.
 * @param {Job} job
 * @param {Filter} filter
 */
function matches({ id, name, tags, state }, { search, tag, parent }) {
  if ((tag && !tags.includes(tag)) || (parent && state?.['parent_id'] !== parent)) return false;
  return !search || [id, name, ...tags].some((text) => text.toLowerCase().includes(search.toLowerCase()));
}

/** @param {Record<string, number>} counted by status */
function byFilter(counted) {
  const sum = (/** @type {string[]} */ statuses) => statuses.reduce((all, status) => all + (counted[status] ?? 0), 0);
  const counts = Object.entries(FILTERS).map(([filter, statuses]) => /** @type {const} */ ([filter, sum(statuses)]));
  return { ...Object.fromEntries(counts), '': sum(Object.keys(counted)) };
}

/**
 * What a row shows of it: with metadata and results, many jobs would be much to keep.
 * @param {State} state
 * @returns {State}
 */
function slim({ message, error, metadata: _, result: _result, ...state }) {
  const cut = (/** @type {unknown} */ value) => (typeof value === 'string' ? value.slice(0, 300) : undefined);
  return { ...state, message: cut(message), error: error === undefined ? error : errorSummary(error) };
}
