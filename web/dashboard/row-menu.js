// @ts-check
/** What can be done with a job of the list: a menu, one for all rows. */

import { home } from '../addresses.js';
import { announce } from '../announce.js';
import { write } from '../paint.js';
import { deleteJob, sendRequest } from './requests.js';
import { copy } from './text.js';

/** @typedef {import('../job.js').Job} Job */

const QUESTIONS = { cancel: 'Really cancel?', delete: 'Really delete?', 'delete-running': 'It still runs. Really delete?' };

export class RowMenu {
  /** The job that it is about. @type {Job | null} */
  #job = null;
  /** @type {HTMLElement | null} */
  #opener = null;
  /** What the next click does that was asked for once. @type {'cancel' | 'delete' | null} */
  #confirming = null;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {(id: string) => void} onDeleted
   */
  constructor(parts, onDeleted) {
    this.onDeleted = onDeleted;
    this.root = parts.menu;
    this.items = {
      open: parts['menu-open'], id: parts['menu-id'], link: parts['menu-link'],
      cancel: parts['menu-cancel'], delete: parts['menu-delete'], fault: parts['menu-fault'],
    };
    const { items } = this;
    items.id.addEventListener('click', () => this.#job && copy(items.id, this.#job.id, items.id));
    items.link.addEventListener('click', () => this.#job && copy(items.link, this.#address(this.#job), items.link));
    items.cancel.addEventListener('click', () => this.#confirm('cancel', (job) => sendRequest(job.id, 'cancel')));
    items.delete.addEventListener('click', () => this.#confirm('delete', (job) => this.#delete(job)));
    this.root.addEventListener('keydown', (event) => this.#onKey(event));
    this.root.addEventListener('beforetoggle', (event) => {
      if (/** @type {ToggleEvent} */ (event).newState === 'closed') this.#opener?.setAttribute('aria-expanded', 'false');
    });
    // Later: a click on the button that has opened it closes it first, and must not open it again.
    this.root.addEventListener('toggle', (event) => {
      if (/** @type {ToggleEvent} */ (event).newState === 'closed') this.#job = this.#confirming = null;
    });
    // Tab goes on from the row, as if the menu were not there. A press on the button that opened it moves the focus as well, and
    // its click then closes the menu.
    this.root.addEventListener('focusout', ({ relatedTarget }) => {
      if (relatedTarget instanceof Node && relatedTarget !== this.#opener && !this.root.contains(relatedTarget)) this.close();
    });
    // It stays where it was opened; its row does not.
    addEventListener('scroll', () => this.close(), { passive: true });
  }

  /**
   * @param {Job} job
   * @param {HTMLElement} opener the button of its row
   */
  open(job, opener) {
    const isOpen = this.#job === job;
    this.close();
    if (isOpen) return;
    this.#job = job;
    this.#opener = opener;
    this.#confirming = null;
    opener.setAttribute('aria-expanded', 'true');
    write(this.items.fault, '');
    this.#paint();
    this.root.showPopover();
    const { bottom, right, top } = opener.getBoundingClientRect();
    const { width, height } = this.root.getBoundingClientRect();
    this.root.style.left = `${Math.max(8, Math.min(right, innerWidth - 8) - width)}px`;
    this.root.style.top = `${bottom + height + 8 > innerHeight ? Math.max(8, top - height) : bottom}px`;
    this.items.open.focus();
  }

  close() {
    if (this.#job && this.root.matches(':popover-open')) this.root.hidePopover();
  }

  /** @param {Job} job */
  #address(job) {
    return `${home()}/?job=${encodeURIComponent(job.id)}`;
  }

  #paint() {
    const { items } = this;
    const job = this.#job;
    if (!job) return;
    items.open.setAttribute('href', this.#address(job));
    items.cancel.hidden = job.state?.cancellable !== true || job.hasEnded || job.state?.requested?.action === 'cancel';
    const question = this.#confirming === 'delete' && !job.hasEnded ? 'delete-running' : this.#confirming;
    write(items.cancel, this.#confirming === 'cancel' ? QUESTIONS.cancel : 'Cancel');
    write(items.delete, this.#confirming === 'delete' && question ? QUESTIONS[question] : 'Delete');
    for (const name of /** @type {const} */ (['cancel', 'delete'])) items[name].classList.toggle('danger', this.#confirming === name);
  }

  /**
   * Does it on the second click.
   * @param {'cancel' | 'delete'} name
   * @param {(job: Job) => Promise<string>} act what went wrong, or nothing
   */
  async #confirm(name, act) {
    const job = this.#job;
    if (!job) return;
    const isConfirmed = this.#confirming === name;
    this.#confirming = isConfirmed ? null : name;
    this.#paint();
    if (!isConfirmed) return;
    const fault = await act(job);
    if (fault) announce(fault);
    if (this.#job !== job) return;
    write(this.items.fault, fault);
    if (fault) return;
    // After a deletion the focus is in the list already.
    const hasFocus = this.root.contains(document.activeElement);
    this.close();
    if (hasFocus) this.#opener?.focus();
  }

  /** @param {Job} job */
  async #delete(job) {
    const fault = await deleteJob(job.id);
    if (!fault) this.onDeleted(job.id);
    return fault;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === 'Escape') {
      event.preventDefault();
      this.close();
      this.#opener?.focus();
      return;
    }
    if (event.key === 'Tab') {
      // The next stop is the one after the button that opened the menu, wherever the menu is in the page.
      this.#opener?.focus();
      this.close();
      return;
    }
    const shown = [...this.root.querySelectorAll('a, button')].filter((item) => !(/** @type {HTMLElement} */ (item).hidden));
    const now = shown.indexOf(/** @type {Element} */ (document.activeElement));
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    /** @type {HTMLElement | undefined} */ (shown.at(to % shown.length))?.focus();
  }
}
