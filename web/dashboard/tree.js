// @ts-check
/**
 * JSON as a tree: collapsible, links to web addresses, numbers in the reader's locale. What stays stays in place when the value
 * changes, so that what is open remains open and a text that is being selected remains selected.
 */

import { element, write } from '../paint.js';
import { isWebAddress, paintText } from './text.js';

/** Children of one object or array that are shown at first, and a text's characters. */
const MOST_CHILDREN = 50;
const MOST_CHARS = 500;
/** Objects and arrays are open at first down to this depth, if they have no more children than that. */
const OPEN_DEPTH = 3;
const OPEN_CHILDREN = 20;

/** Twenty digits are all that a number of JavaScript has. */
const number = new Intl.NumberFormat(undefined, { maximumFractionDigits: 20 });
const count = new Intl.NumberFormat();

export class Tree {
  /** @type {Branch | Leaf | null} */
  #node = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    root.classList.add('tree');
  }

  /** @param {unknown} value as JSON has them */
  update(value) {
    if (this.#node?.accepts(value)) return this.#node.update(value);
    this.#node = isBranch(value) ? new Branch(null, 0) : new Leaf(null);
    this.#node.update(value);
    this.root.replaceChildren(this.#node.root);
  }
}

class Leaf {
  root = document.createElement('div');
  #value = element('span', '', 'value');
  /** @type {unknown} */
  #shown;

  /** @param {string | null} name */
  constructor(name) {
    this.root.className = 'leaf';
    if (name !== null) this.root.append(element('span', name, 'key'));
    this.root.append(this.#value);
    this.#value.dir = 'auto';
  }

  /** @param {unknown} value */
  accepts(value) {
    return !isBranch(value);
  }

  /** @param {unknown} value */
  update(value) {
    if (Object.is(value, this.#shown)) return;
    this.#shown = value;
    const part = this.#value;
    part.dataset.type = value === null ? 'null' : typeof value;
    part.removeAttribute('title');
    if (typeof value === 'number') {
      // Three hundred zeros tell nobody more than an exponent.
      write(part, Math.abs(value) < 1e21 ? number.format(value) : String(value));
      part.title = String(value);
    } else if (isWebAddress(value)) {
      const link = element('a', value);
      link.setAttribute('href', value);
      link.setAttribute('rel', 'noopener noreferrer');
      part.replaceChildren(link, ...(isImage(value) ? [previewButton(value)] : []));
    } else paintText(part, typeof value === 'string' ? value : String(value), MOST_CHARS);
  }
}

/** @param {string} address */
const isImage = (address) => /\.(avif|gif|jpe?g|png|svg|webp)$/i.test(new URL(address).pathname);

/**
 * Shows an image in place of itself. Nothing is loaded before it is clicked.
 * @param {string} address
 */
function previewButton(address) {
  const button = element('button', 'Preview', 'plain');
  button.setAttribute('type', 'button');
  button.onclick = () => {
    const image = new Image();
    image.alt = `Preview of ${address}`;
    image.className = 'preview';
    image.referrerPolicy = 'no-referrer';
    image.onerror = () => image.replaceWith(element('span', 'The image could not be loaded.', 'size'));
    image.src = address;
    button.replaceWith(image);
  };
  return button;
}

class Branch {
  #details = document.createElement('details');
  #size = element('span', '', 'size');
  #list = document.createElement('ul');
  #more = element('button', '', 'plain');
  /** @type {Map<string, { item: HTMLElement, node: Branch | Leaf }>} */
  #children = new Map();
  /** @type {[string, unknown][]} */
  #entries = [];
  #isWhole = false;
  #isNew = true;
  #isArray = false;

  /**
   * @param {string | null} name null: the whole value, which cannot be closed
   * @param {number} depth
   */
  constructor(name, depth) {
    this.depth = depth;
    this.root = name === null ? document.createElement('div') : this.#details;
    if (name !== null) {
      const summary = document.createElement('summary');
      summary.append(element('span', name, 'key'), this.#size);
      this.root.append(summary);
    }
    this.#more.setAttribute('type', 'button');
    this.#more.onclick = () => {
      this.#isWhole = true;
      this.#paint();
    };
    this.root.append(this.#list, this.#more);
    this.#details.addEventListener('toggle', () => this.#paint());
  }

  /** @param {unknown} value */
  accepts(value) {
    return isBranch(value) && Array.isArray(value) === this.#isArray;
  }

  /** @param {unknown} value an object or an array */
  update(value) {
    this.#isArray = Array.isArray(value);
    this.#entries = Object.entries(/** @type {object} */ (value));
    const size = count.format(this.#entries.length);
    write(this.#size, this.#isArray ? `[${size}]` : `{${size}}`);
    if (this.#isNew) this.#details.open = this.depth < OPEN_DEPTH && this.#entries.length <= OPEN_CHILDREN;
    this.#isNew = false;
    this.#paint();
  }

  /** What is closed is not built. */
  #paint() {
    if (this.root === this.#details && !this.#details.open) return;
    const shown = this.#isWhole ? this.#entries : this.#entries.slice(0, MOST_CHILDREN);
    const rest = this.#entries.length - shown.length;
    this.#more.hidden = rest === 0;
    write(this.#more, `${count.format(rest)} more`);
    const names = new Set(shown.map(([name]) => name));
    for (const [name, { item }] of this.#children) {
      if (names.has(name)) continue;
      item.remove();
      this.#children.delete(name);
    }
    shown.forEach(([name, value], index) => {
      let child = this.#children.get(name);
      if (!child?.node.accepts(value)) {
        child?.item.remove();
        const node = isBranch(value) ? new Branch(name, this.depth + 1) : new Leaf(name);
        const item = document.createElement('li');
        item.append(node.root);
        this.#children.set(name, (child = { item, node }));
      }
      child.node.update(value);
      if (this.#list.children[index] !== child.item) this.#list.insertBefore(child.item, this.#list.children[index] ?? null);
    });
  }
}

/** @param {unknown} value @returns {value is object} not an empty one, which is a word */
const isBranch = (value) => typeof value === 'object' && value !== null;
