// @ts-check
/** What a person has chosen for the list: a search, a status, a tag, a parent, an order and groups. The page's address has all of it. */

import { write } from '../paint.js';
import { ATTENTION, FILTERS } from './listing.js';

/** @typedef {import('./groups.js').GroupBy} GroupBy */
/** @typedef {import('./listing.js').Filter} Filter */

/** So long after the last key the search begins, in milliseconds. */
const TYPING = 150;

export class Controls {
  /** The jobs shown have this tag; empty: any. */
  #tag = '';
  /** The jobs shown are children of this job; empty: of any, or of none. */
  #parent = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {() => void} changed
   */
  constructor(parts, changed) {
    this.parts = parts;
    this.changed = changed;
    this.search = /** @type {HTMLInputElement} */ (parts.search);
    this.sort = /** @type {HTMLSelectElement} */ (parts.sort);
    this.group = /** @type {HTMLSelectElement} */ (parts.group);
    for (const control of [this.sort, this.group, parts.filter]) control.addEventListener('change', () => this.#change());
    parts.tools.addEventListener('submit', (event) => event.preventDefault());
    this.search.addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#change(), TYPING);
    });
    parts['tag-clear'].addEventListener('click', () => {
      this.#tag = '';
      this.#change();
      this.search.focus();
    });
    parts['parent-clear'].addEventListener('click', () => {
      this.#parent = '';
      this.#change();
      this.search.focus();
    });
    parts.clear.addEventListener('click', () => {
      this.#tag = '';
      this.#parent = '';
      this.#chooseStatus('');
      this.clearSearch();
      this.search.focus();
    });
  }

  /** @returns {Filter} */
  get filter() {
    const status = /** @type {HTMLInputElement | null} */ (this.parts.filter.querySelector('input:checked'))?.value ?? '';
    return { status, search: this.search.value.trim(), tag: this.#tag, parent: this.#parent, sort: this.sort.value };
  }

  /** @returns {GroupBy} */
  get groupBy() {
    return /** @type {GroupBy} */ (this.group.value);
  }

  /** Chooses what the page's address says. */
  readAddress() {
    const { searchParams } = new URL(location.href);
    this.search.value = searchParams.get('q') ?? '';
    this.#chooseStatus(searchParams.get('status') ?? '');
    this.#tag = searchParams.get('tag') ?? '';
    this.#parent = searchParams.get('parent') ?? '';
    choose(this.sort, searchParams.get('sort') ?? '');
    choose(this.group, searchParams.get('group') ?? '');
    this.#paint();
  }

  /** What was typed just now is not searched for any more. */
  leave() {
    clearTimeout(this.#typing);
  }

  clearSearch() {
    this.search.value = '';
    this.#change();
  }

  #change() {
    clearTimeout(this.#typing);
    const url = new URL(location.href);
    const { search, ...rest } = this.filter;
    for (const [name, value] of Object.entries({ q: search, ...rest, group: this.groupBy })) {
      if (value) url.searchParams.set(name, value);
      else url.searchParams.delete(name);
    }
    history.replaceState(history.state, '', url);
    this.#paint();
    this.changed();
  }

  #paint() {
    this.parts['tag-filter'].hidden = !this.#tag;
    write(this.parts['tag-name'], this.#tag);
    this.parts['parent-filter'].hidden = !this.#parent;
    write(this.parts['parent-name'], this.#parent);
    this.parts['parent-name'].setAttribute('href', `./?job=${encodeURIComponent(this.#parent)}`);
    // Jobs that need attention have an order of their own.
    this.sort.disabled = this.filter.status === ATTENTION;
  }

  /** @param {string} status */
  #chooseStatus(status) {
    const wanted = status in FILTERS || status === ATTENTION ? status : '';
    for (const input of this.parts.filter.querySelectorAll('input')) input.checked = input.value === wanted;
  }
}

/**
 * Chooses an option, or the first one, if there is none with that value.
 * @param {HTMLSelectElement} control
 * @param {string} value
 */
function choose(control, value) {
  control.value = value;
  if (control.selectedIndex < 0) control.selectedIndex = 0;
}
