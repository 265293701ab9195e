// @ts-check
/** Texts of any length, and what can be done with them. */

import { element, write } from '../paint.js';

const number = new Intl.NumberFormat();

/** @type {WeakMap<HTMLElement, string>} */
const shownTexts = new WeakMap();

/**
 * A text of any length: its beginning, and the rest on demand.
 * @param {HTMLElement} part
 * @param {string} whole
 * @param {number} most characters that are shown at first
 */
export function paintText(part, whole, most) {
  // Who has opened it keeps it open.
  if (shownTexts.get(part) === whole && part.textContent?.startsWith(whole.slice(0, most))) return;
  shownTexts.set(part, whole);
  if (whole.length <= most) return write(part, whole);
  const button = element('button', `Show all ${number.format(whole.length)} characters`, 'plain');
  button.setAttribute('type', 'button');
  button.onclick = () => part.replaceChildren(whole);
  part.replaceChildren(`${whole.slice(0, most)}… `, button);
}

/**
 * Copies a text, and says so on the button. Where the clipboard is not allowed, the part that shows it is selected.
 * @param {HTMLElement} button
 * @param {string} whole
 * @param {HTMLElement} part
 */
export async function copy(button, whole, part) {
  const name = button.dataset.name ?? button.textContent ?? '';
  button.dataset.name = name;
  try {
    await navigator.clipboard.writeText(whole);
    write(button, 'Copied');
  } catch {
    getSelection()?.selectAllChildren(part);
    write(button, 'Selected');
  }
  setTimeout(() => write(button, name), 2000);
}

/**
 * Saves a text as a file.
 * @param {string} name
 * @param {string} whole
 * @param {string} type its media type
 */
export function download(name, whole, type) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([whole], { type }));
  link.download = name;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * @param {unknown} value
 * @returns {value is string}
 */
export function isWebAddress(value) {
  return typeof value === 'string' && /^https?:\/\//i.test(value) && URL.canParse(value);
}
