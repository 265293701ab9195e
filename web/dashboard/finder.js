// @ts-check
/** Finds a text in the lines of a log: marks the lines that have it, and goes from one to the next. */

import { write } from '../paint.js';

/** So long after the last key the text is looked for, in milliseconds. */
const TYPING = 120;
/** So many occurrences are highlighted; all lines with one are marked. */
const MOST_HIGHLIGHTS = 2000;

const number = new Intl.NumberFormat();

export class Finder {
  /** @type {HTMLElement[]} */
  #found = [];
  #current = -1;
  #text = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {() => readonly HTMLElement[]} items those that are in the page
   * @param {(item: HTMLElement) => void} reveal
   */
  constructor(parts, items, reveal) {
    this.parts = parts;
    this.items = items;
    this.reveal = reveal;
    const field = /** @type {HTMLInputElement} */ (parts['output-find']);
    field.addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#find(field.value.toLowerCase()), TYPING);
    });
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.#step(event.shiftKey ? -1 : 1);
      else if (event.key === 'Escape' && field.value) {
        field.value = '';
        this.#find('');
      } else return;
      event.preventDefault();
    });
    parts['output-next'].addEventListener('click', () => this.#step(1));
    parts['output-previous'].addEventListener('click', () => this.#step(-1));
  }

  /** Lines that came. @param {readonly HTMLElement[]} items */
  add(items) {
    if (!this.#text) return;
    // Some of those found before may have left the page.
    const current = this.#found[this.#current];
    this.#found = this.#found.filter((item) => item.isConnected);
    this.#current = current ? this.#found.indexOf(current) : -1;
    this.#found.push(...this.#mark(items));
    this.#paint();
  }

  leave() {
    clearTimeout(this.#typing);
    CSS.highlights?.delete('found');
  }

  /** @param {string} text in lower case */
  #find(text) {
    this.#text = text;
    for (const item of this.#found) item.toggleAttribute('data-match', false);
    this.#setCurrent(-1);
    this.#found = text ? this.#mark(this.items()) : [];
    this.#paint();
    // The newest is what one looks for in a log, as a rule.
    if (this.#found.length) this.#step(-1);
  }

  /** @param {readonly HTMLElement[]} items */
  #mark(items) {
    return items.filter((item) => {
      const isMatch = item.lastElementChild?.textContent?.toLowerCase().includes(this.#text) ?? false;
      item.toggleAttribute('data-match', isMatch);
      return isMatch;
    });
  }

  /** @param {1 | -1} by */
  #step(by) {
    const { length } = this.#found;
    if (!length) return;
    const from = this.#current < 0 && by < 0 ? 0 : this.#current;
    this.#setCurrent((from + by + length) % length);
    const item = this.#found[this.#current];
    if (item) this.reveal(item);
    this.#paint();
  }

  /** @param {number} index */
  #setCurrent(index) {
    this.#found[this.#current]?.toggleAttribute('data-current', false);
    this.#current = index;
    this.#found[index]?.toggleAttribute('data-current', true);
  }

  #paint() {
    const { length } = this.#found;
    const [found, next, previous] = [this.parts['output-found'], this.parts['output-next'], this.parts['output-previous']];
    next.hidden = previous.hidden = length === 0;
    const where = this.#current < 0 ? '' : `${number.format(this.#current + 1)} of `;
    write(found, !this.#text ? '' : length ? `${where}${number.format(length)} ${length === 1 ? 'line' : 'lines'}` : 'Not found');
    this.#highlight();
  }

  /** Marks the text itself, where the browser can. */
  #highlight() {
    if (!CSS.highlights) return;
    /** @type {Range[]} */
    const ranges = [];
    for (const item of this.#text ? this.#found.slice(-MOST_HIGHLIGHTS) : []) {
      if (ranges.length < MOST_HIGHLIGHTS && item.lastElementChild) ranges.push(...occurrences(item.lastElementChild, this.#text));
    }
    if (ranges.length) CSS.highlights.set('found', new Highlight(...ranges));
    else CSS.highlights.delete('found');
  }
}

/**
 * Where the text is. It may begin in one coloured piece and end in another.
 * @param {Element} root
 * @param {string} text in lower case
 */
function occurrences(root, text) {
  const whole = (root.textContent ?? '').toLowerCase();
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  let length = 0;
  while (walker.nextNode()) {
    const node = /** @type {Text} */ (walker.currentNode);
    nodes.push({ node, begin: length });
    length += node.length;
  }
  const ranges = [];
  // A letter whose lower case is longer would shift what follows it.
  for (let at = whole.length === length ? whole.indexOf(text) : -1; at >= 0; at = whole.indexOf(text, at + text.length)) {
    const range = new Range();
    const end = at + text.length;
    for (const { node, begin } of nodes) {
      if (begin <= at && at < begin + node.length) range.setStart(node, at - begin);
      if (begin < end && end <= begin + node.length) range.setEnd(node, end - begin);
    }
    ranges.push(range);
  }
  return ranges;
}
