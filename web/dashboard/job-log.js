// @ts-check
/** A job's log on its page: it follows, can be searched, saved and linked to line by line, and is bounded. */

import { home } from '../addresses.js';
import { credential } from '../credential.js';
import { watchLog } from '../milepost.js';
import { element, write } from '../paint.js';
import { piecesOf } from './ansi.js';
import { Finder } from './finder.js';
import { copy, download } from './text.js';

/** @typedef {import('../milepost.js').LogLine} LogLine */
/** @typedef {import('../milepost.js').LogPart} LogPart */

/** So many lines are in the page. The server keeps 256 KiB, which are fewer; a page that follows for long gets more. */
const MOST_LINES = 5000;
/** So close to its end a log counts as scrolled to the end, in pixels. */
const END = 24;

const number = new Intl.NumberFormat();

export class JobLog {
  /** @type {ReturnType<typeof watchLog> | null} */
  #watch = null;
  /** Items of lines and of gaps, the oldest first. @type {HTMLElement[]} */
  #items = [];
  /** The number of the oldest line in the page; 0: there is none. */
  #first = 0;
  /** Whether the newest lines are kept in sight. */
  #follows = true;
  /** Whether all lines that there were at the beginning are here. They come in parts. */
  #isLoaded = false;
  /** Lines that came since it does not follow. */
  #unseen = 0;
  /** The line that the address names; 0: none. */
  #linked = 0;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {string} jobId
   */
  constructor(parts, jobId) {
    this.parts = parts;
    this.jobId = jobId;
    const { output } = parts;
    this.finder = new Finder(parts, () => this.#items, (item) => this.#reveal(item));
    output.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    output.addEventListener('click', (event) => this.#onClick(event));
    parts['output-follow'].addEventListener('click', () => this.#follow());
    parts['output-copy'].addEventListener('click', () => copy(parts['output-copy'], this.#text(), output));
    parts['output-download'].addEventListener('click', () => download(`${jobId.replaceAll(':', '_')}.log`, this.#text(), 'text/plain'));
  }

  /** Begins once the job is known. */
  enter() {
    if (this.#watch) return;
    this.#linked = Number(/^#L(\d{1,12})$/.exec(location.hash)?.[1] ?? 0);
    this.#follows = !this.#linked;
    const token = credential();
    this.#watch = watchLog(this.jobId, {
      url: home(),
      ...(token ? { token } : {}),
      onLines: (part) => this.#add(part),
      onError: ({ message }) => this.#refuse(message),
    });
  }

  leave() {
    this.#watch?.close();
    this.finder.leave();
  }

  /** @param {LogPart} part */
  #add({ lines, gap, log }) {
    const { parts } = this;
    if (!lines.length && !gap) return;
    parts['output-section'].hidden = false;
    const isFirst = this.#first === 0;
    /** @type {HTMLElement[]} */
    const fresh = lines.map(lineItem);
    if (gap && !isFirst) fresh.unshift(gapItem('Lines are missing here: they are no longer kept'));
    this.#items.push(...fresh);
    parts.output.append(...fresh);
    if (isFirst) this.#first = lines[0]?.n ?? 0;
    this.#trim();
    this.#paintFirst();
    this.finder.add(fresh);
    write(parts['output-count'], `${number.format(log.lines)} ${log.lines === 1 ? 'line' : 'lines'}`);
    const wasLoaded = this.#isLoaded;
    this.#isLoaded ||= (lines.at(-1)?.n ?? 0) >= log.lines;
    if (this.#linked && !wasLoaded) this.#showLinked();
    if (this.#follows) parts.output.scrollTop = parts.output.scrollHeight;
    else if (wasLoaded) this.#unseen += lines.length;
    this.#paintFollow();
  }

  #trim() {
    const many = this.#items.length - MOST_LINES;
    if (many <= 0) return;
    for (const item of this.#items.splice(0, many)) item.remove();
    this.#first = Number(this.#items.find((item) => item.dataset.n)?.dataset.n ?? 0);
  }

  /** What comes before the lines in the page. */
  #paintFirst() {
    const { output } = this.parts;
    const before = this.#first - 1;
    const top = /** @type {HTMLElement | null} */ (output.firstElementChild);
    if (before < 1) return;
    const text = before === 1 ? 'Line 1 is no longer kept' : `Lines 1–${number.format(before)} are no longer kept`;
    if (top?.dataset.before) write(top, text);
    else {
      const item = gapItem(text);
      item.dataset.before = 'true';
      output.prepend(item);
    }
  }

  /** @param {string} why */
  #refuse(why) {
    write(this.parts['output-note'], `The log can no longer be followed: ${why}`);
  }

  #onScroll() {
    const { output } = this.parts;
    const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < END;
    if (isAtEnd) this.#unseen = 0;
    this.#follows = isAtEnd;
    this.#paintFollow();
  }

  #follow() {
    const { output } = this.parts;
    this.#follows = true;
    this.#unseen = 0;
    output.scrollTop = output.scrollHeight;
    this.#paintFollow();
    output.focus({ preventScroll: true });
  }

  #paintFollow() {
    const button = this.parts['output-follow'];
    button.hidden = this.#follows;
    write(button, this.#unseen ? `${number.format(this.#unseen)} new ${this.#unseen === 1 ? 'line' : 'lines'} ↓` : 'Follow ↓');
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    // The address names the line, and the page stays.
    event.preventDefault();
    history.replaceState(history.state, '', link.href);
    this.#linked = Number(link.closest('li')?.dataset.n);
    this.#markLinked();
  }

  #markLinked() {
    // Of a log that began anew, the latest.
    const item = this.#items.filter((each) => Number(each.dataset.n) === this.#linked).at(-1);
    for (const each of this.parts.output.querySelectorAll('[data-linked]')) each.toggleAttribute('data-linked', false);
    item?.toggleAttribute('data-linked', true);
    return item;
  }

  #showLinked() {
    if (this.parts.output.querySelector('[data-linked]')) return;
    const item = this.#markLinked();
    if (item) {
      this.#reveal(item);
      this.parts['output-section'].scrollIntoView({ block: 'start' });
      return;
    }
    if (!this.#isLoaded) return;
    write(this.parts['output-note'], `Line ${number.format(this.#linked)} is not here: it is no longer kept, or not written yet.`);
    this.#follows = true;
  }

  /** Brings an item into sight, and stays there. @param {HTMLElement} item */
  #reveal(item) {
    const { output } = this.parts;
    this.#follows = false;
    output.scrollTop += item.getBoundingClientRect().top - output.getBoundingClientRect().top - output.clientHeight / 3;
    this.#paintFollow();
  }

  /** All lines in the page, as they can be read. */
  #text() {
    return this.#items.map((item) => `${item.querySelector('.line-text')?.textContent ?? `[${item.textContent}]`}\n`).join('');
  }
}

/** @param {LogLine} line */
function lineItem({ n, at, stream, text, cut }) {
  const item = document.createElement('li');
  item.dataset.n = String(n);
  if (stream) item.dataset.stream = stream;
  const link = element('a', String(n), 'line-number');
  link.setAttribute('href', `${location.pathname}${location.search}#L${n}`);
  link.setAttribute('aria-label', `Line ${n}`);
  // Thousands of stops would stand between a reader and what follows the log.
  link.tabIndex = -1;
  const time = new Date(at);
  item.title = [Number.isNaN(time.getTime()) ? '' : time.toLocaleString(), stream].filter(Boolean).join(' · ');
  const words = element('span', '', 'line-text');
  words.append(...piecesOf(text).map(({ text: piece, look }) => (look ? element('span', piece, look) : piece)));
  if (cut) words.append(element('span', ' … (cut)', 'ansi-dim'));
  item.append(link, words);
  return item;
}

/** @param {string} text */
const gapItem = (text) => element('li', text, 'gap');

