// @ts-check
/** Every job that the server knows: searched, filtered, sorted, grouped, and live as far as it can be seen. */

import { home } from '../addresses.js';
import { announce } from '../announce.js';
import { Job } from '../job.js';
import { build, write } from '../paint.js';
import { curl } from '../server.js';
import { toggleTimes } from '../times.js';
import { Controls } from './controls.js';
import { Groups } from './groups.js';
import { Health } from './health.js';
import { makeRow, paintGroup, paintRow, paintTimes, paintWatchers } from './job-row.js';
import { ATTENTION, Listing } from './listing.js';
import { RowMenu } from './row-menu.js';
import { Rows } from './rows.js';
import { Selection } from './selection.js';
import { Watchers } from './watchers.js';

/** @typedef {import('../milepost.js').State} State */
/** @typedef {import('./rows.js').AnyRow} AnyRow */
/** @typedef {import('./rows.js').Row} Row */

/** How often to look for new jobs, in milliseconds. */
const LOOK = 3000;
/** The pace at which a row is sent states. A bar does not run more smoothly with more of them. */
const PACE = /** @type {const} */ ({ mode: 'latest', maxRate: 10 });

/** So many jobs are loaded before somebody scrolls. */
const PREFETCHED = 1000;

const number = new Intl.NumberFormat();

export class ListView {
  root = document.createElement('div');
  #listing = new Listing();
  #groups = new Groups();
  /** @type {Set<Job>} */
  #changed = new Set();
  /** Those that news are asked of. @type {Set<string>} */
  #watched = new Set();
  #isHere = false;
  #scrolled = 0;
  #hasLookedInVain = false;
  /** A search or a filter was chosen, and how many jobs match it has not been announced. */
  #isUnannounced = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import('../index.js').Page} page */
  constructor(page) {
    this.page = page;
    const { root, parts } = build('list-view');
    this.parts = parts;
    this.root.className = 'list';
    this.root.append(root);
    write(parts['try-run'], `MILEPOST_URL=${home()} milepost run -- ffmpeg -i in.mp4 out.mp4`);
    write(parts['try-curl'], curl('hello'));
    this.controls = new Controls(parts, () => this.#filter());
    this.health = new Health(parts);
    this.watchers = new Watchers({
      wanted: () => [...this.rows.present].map(({ job }) => job.id),
      isOwn: (id) => this.#watched.has(id),
      changed: () => {
        for (const row of this.rows.present) paintWatchers(row, this.watchers.of(row.job.id));
      },
    });
    this.rows = new Rows(parts.jobs, {
      make: makeRow,
      paint: (row) => this.#paintAnyRow(row),
      settle: (seen) => this.#watchSeen(seen),
      nearEnd: () => this.#loadMore(),
    });
    this.menu = new RowMenu(parts, (id) => this.#onDeleted(id));
    this.selection = new Selection(parts, {
      shown: () => this.#listing.shown,
      changed: () => this.rows.paintAll(),
      onDeleted: (id) => this.onUnknown(id),
    });
    parts.jobs.addEventListener('click', (event) => this.#onClick(event));
    addEventListener('scroll', () => this.#isHere && this.rows.placeSoon(), { passive: true });
    addEventListener('resize', () => this.#isHere && this.rows.measure());
    addEventListener('keydown', (event) => this.#onKey(event));
  }

  get title() {
    const { active } = this.#listing.counts() ?? {};
    return active ? `${number.format(active)} active – Milepost` : 'Milepost';
  }

  /** @returns {['run' | 'gone', number]} tone and length of the page's icon */
  get icon() {
    return [this.page.sign.isLive ? 'run' : 'gone', 0.6];
  }

  enter() {
    this.#isHere = true;
    this.controls.readAddress();
    this.#applyFilter();
    this.rows.measure();
    scrollTo({ top: this.#scrolled, behavior: 'instant' });
    this.paint();
    this.health.start();
    this.watchers.start();
    if (!this.#listing.isLoaded) this.#tellReachable(false);
    this.#lookNow();
  }

  leave() {
    this.#isHere = false;
    clearTimeout(this.#timer);
    this.controls.leave();
    this.health.stop();
    this.watchers.stop();
    this.menu.close();
    this.rows.rest();
    for (const id of this.#watched) this.page.watches.unwatch(id);
    this.#watched.clear();
  }

  /** Before it is taken out of the page, which then is shorter. */
  rememberScroll() {
    this.#scrolled = scrollY;
  }

  /** Who comes back stands where they left. */
  focus() {
    this.rows.focusCurrent();
  }

  /** @param {State} state */
  onState(state) {
    const change = this.#listing.update(state, this.page.watches.now);
    if (!change) return;
    const { job, isOtherStatus } = change;
    this.#changed.add(job);
    if (isOtherStatus) this.#groups.change();
    if (job.hasEnded && isOtherStatus) announce(`${job.id}: ${job.outcome}`);
    this.page.paintSoon();
  }

  /** @param {string} id */
  onUnknown(id) {
    this.page.watches.unwatch(id);
    this.#watched.delete(id);
    this.#listing.remove(id);
    this.page.paintSoon();
  }

  /** The row that takes its place gets the focus. @param {string} id */
  #onDeleted(id) {
    const index = this.#listing.shown.findIndex((job) => job.id === id);
    this.onUnknown(id);
    this.paint();
    this.rows.focus(index);
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const target = event.target instanceof Element ? event.target : null;
    const root = target?.closest('li');
    const row = this.rows.at(root ?? null);
    if (!target || !root || !row) return;
    if (!(row.job instanceof Job)) {
      row.job.isOpen = !row.job.isOpen;
      this.#groups.change();
      this.paint();
      this.rows.paintAll();
      return;
    }
    if (target.closest('.age')) {
      toggleTimes();
      return this.tick();
    }
    if (target.closest('.more-actions')) return this.menu.open(row.job, row.parts.more);
    if (target === row.parts.select) return this.selection.toggle(row.job, event.shiftKey);
    // All of a row leads to its job, but a click that ends the selection of text.
    if (target.closest('a, button, input') || getSelection()?.isCollapsed === false) return;
    row.parts.id.dispatchEvent(new MouseEvent('click', event));
  }

  /** @param {string} id */
  onRefused(id) {
    this.#watched.delete(id);
  }

  retry() {
    this.#lookNow();
  }

  /** The server is back, or another one is there. */
  onLive() {
    this.#lookNow();
    this.health.look();
  }

  paint() {
    const { parts } = this;
    const listing = this.#listing;
    const { shown } = listing;
    for (const job of this.#changed) {
      const row = this.rows.rowOf(job);
      if (row) this.#paintRow(row);
    }
    this.#changed.clear();

    const isEmpty = listing.isLoaded && listing.total === 0 && shown.length === 0;
    // A page of the server's may be empty, and not the last one.
    const isSearching = shown.length === 0 && (listing.isLoading || (listing.isLoaded && listing.hasMore && !listing.fault));
    const isVain = listing.isLoaded && !isEmpty && listing.isFiltered && shown.length === 0 && !isSearching && !listing.fault;
    parts.loading.hidden = (listing.isLoaded && !isSearching) || (this.#hasLookedInVain && !listing.isLoaded);
    parts.empty.hidden = !isEmpty;
    parts.tools.hidden = isEmpty;
    parts.columns.hidden = shown.length === 0 && parts.loading.hidden;
    parts.fault.hidden = listing.isLoaded || !this.#hasLookedInVain;
    write(parts['fault-text'], listing.fault);
    parts['no-match'].hidden = !isVain;
    write(parts['no-match-text'], this.#noMatch());
    write(parts.total, listing.isLoaded ? number.format(listing.total) : '');
    this.#paintCounts();
    this.#paintFoot();
    this.selection.keepShown();
    this.selection.paint();
    this.rows.set(this.#groups.arrange(shown, this.controls.groupBy));
    if (!this.#isUnannounced || isSearching || !listing.isLoaded) return;
    this.#isUnannounced = false;
    announce(shown.length === 1 ? '1 job' : `${number.format(shown.length)} jobs`);
  }

  tick() {
    for (const row of this.rows.present) this.#paintTimes(row);
  }

  #noMatch() {
    const { search, status, tag, parent } = this.#listing.filter;
    if (status === ATTENTION && !search && !tag && !parent) return 'No job needs attention';
    const kind = status && status !== ATTENTION ? `${status} job` : 'job';
    const which = `${parent ? ` of “${parent}”` : ''}${tag ? ` with the tag “${tag}”` : ''}`;
    return search ? `No ${kind}${which} has “${search}” in its id, name or tags` : `No ${kind}s${which}`;
  }

  #paintCounts() {
    const counts = this.#listing.counts();
    for (const element of this.parts.filter.querySelectorAll('[data-count]')) {
      write(element, counts ? number.format(counts[element.getAttribute('data-count') ?? '']) : '');
    }
  }

  #paintFoot() {
    const listing = this.#listing;
    const fault = listing.isLoaded && listing.fault ? `More jobs could not be loaded: ${listing.fault}` : '';
    const text = fault || (listing.isLoading ? 'Loading more…' : '');
    this.parts.foot.hidden = text === '';
    write(this.parts.foot, text);
  }

  /** @param {AnyRow} row */
  #paintAnyRow({ root, parts, job }) {
    if (job instanceof Job) this.#paintRow({ root, parts, job });
    else paintGroup({ parts, job });
  }

  /** @param {Row} row */
  #paintRow(row) {
    paintRow(row, this.selection.has(row.job));
    paintWatchers(row, this.watchers.of(row.job.id));
    this.#paintTimes(row);
  }

  /** @param {Row} row */
  #paintTimes(row) {
    paintTimes(row, this.page.watches.now, this.page.sign.isLive && this.#watched.has(row.job.id));
  }

  #filter() {
    this.#applyFilter();
    const top = this.root.getBoundingClientRect().top + scrollY;
    if (scrollY > top) scrollTo({ top, behavior: 'instant' });
    this.#isUnannounced = true;
    this.paint();
    this.rows.paintAll();
  }

  #applyFilter() {
    const { filter } = this.controls;
    const before = this.#listing.filter;
    if (/** @type {const} */ (['status', 'search', 'tag', 'parent', 'sort']).every((name) => filter[name] === before[name])) return;
    this.#listing.setFilter(filter);
    if (this.#listing.isLoaded) this.#listing.count().then(() => this.paint(), () => {});
  }

  async #lookNow() {
    clearTimeout(this.#timer);
    if (!this.#isHere) return;
    if (!document.hidden || !this.#listing.isLoaded) {
      try {
        await this.#listing.look();
        // To count takes several requests more: on a slow network the rows are there long before.
        if (this.#isHere && !this.#listing.isCounted) this.#paintLoaded();
        await this.#listing.count();
        if (this.#isHere) this.#tellReachable(true);
      } catch (error) {
        // If there is a list, the connection's sign shows that it is not up to date.
        this.#hasLookedInVain = true;
        if (!this.#listing.isLoaded) this.#listing.fault = reason(error);
        if (this.#isHere) this.#tellReachable(false);
      }
      if (!this.#isHere) return;
      this.#paintLoaded();
      // With up to a thousand jobs loaded, the counts are known, and scrolling does not wait.
      if (this.#listing.countLoaded < PREFETCHED) this.#listing.loadOlder().then(() => this.paint());
      // What could not be loaded before may be now.
      this.rows.placeSoon();
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lookNow(), LOOK);
  }

  #paintLoaded() {
    this.paint();
    // Rows that have news since then are in the page already.
    this.rows.paintAll();
    document.title = this.title;
  }

  /** While nothing is watched there is no socket; that there is nothing is known all the same. @param {boolean} is */
  #tellReachable(is) {
    if (this.page.watches.size === 0) this.page.sign.set(is ? 'open' : 'connecting');
  }

  #loadMore() {
    const listing = this.#listing;
    if (!listing.isLoaded || listing.isLoading || !listing.hasMore || listing.fault) return;
    listing.loadMore().then(() => {
      this.paint();
      // What was loaded may be for an earlier search, or empty: then there is no row that would ask for more.
      this.rows.placeSoon();
    });
    this.paint();
  }

  /** @param {Set<Job>} seen */
  #watchSeen(seen) {
    if (!this.#isHere) return;
    const ids = new Set([...seen].map((job) => job.id));
    for (const id of this.#watched) {
      if (ids.has(id)) continue;
      this.page.watches.unwatch(id);
      this.#watched.delete(id);
    }
    const isOther = [...ids].some((id) => !this.#watched.has(id));
    for (const { id, state } of seen) {
      if (this.#watched.has(id)) continue;
      this.#watched.add(id);
      this.page.watches.watch(id, state?.position, PACE);
    }
    if (isOther) this.watchers.hurry();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (!this.#isHere || event.ctrlKey || event.metaKey || event.altKey) return;
    const { search } = this.controls;
    const isTyping = event.target === search;
    if (event.key === '/' && !isTyping) {
      event.preventDefault();
      search.focus();
      search.select();
    }
    if (isTyping && (event.key === 'ArrowDown' || event.key === 'Enter')) {
      event.preventDefault();
      this.rows.focus(0);
    }
    if (isTyping && event.key === 'Escape' && search.value) {
      event.preventDefault();
      this.controls.clearSearch();
    }
    const { current } = this.rows;
    const isInList = event.target instanceof Node && this.parts.jobs.contains(event.target);
    if (isInList && event.key === 'x' && current instanceof Job) this.selection.toggle(current);
    else if (isInList && event.key === 'Escape' && !event.defaultPrevented) this.selection.clear();
  }
}

/** @param {unknown} error */
function reason(error) {
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'The server did not answer within 10 seconds.';
  return error instanceof TypeError ? 'The server does not answer.' : error instanceof Error ? error.message : String(error);
}
