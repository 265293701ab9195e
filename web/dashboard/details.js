// @ts-check
/** A job's error, its result with the links in it, and its metadata. What is long is shown in full on demand. */

import { text } from '../job.js';
import { element, write } from '../paint.js';

/** @typedef {import('../job.js').Job} Job */

const MOST_ROWS = 50;
const MOST_CHARS = 4000;
/** Of a value in a table. */
const MOST_CELL_CHARS = 500;

/**
 * @param {Record<string, HTMLElement>} parts
 * @param {Job} job
 */
export function paintError(parts, job) {
  const { error, errorSummary } = job;
  parts['error-section'].hidden = !error;
  write(parts['error-summary'], errorSummary);
  parts.trace.hidden = errorSummary === error.trim();
  write(parts['trace-size'], `All ${error.trim().split('\n').length} lines`);
  write(parts.error, error);
  parts['copy-error'].onclick = () => copy(parts['copy-error'], parts.error);
}

/**
 * Copies a part's text, and says so on the button. Where the clipboard is not allowed, the text is selected.
 * @param {HTMLElement} button
 * @param {HTMLElement} part
 */
async function copy(button, part) {
  try {
    await navigator.clipboard.writeText(part.textContent ?? '');
    write(button, 'Copied');
  } catch {
    getSelection()?.selectAllChildren(part);
    write(button, 'Selected');
  }
  setTimeout(() => write(button, 'Copy'), 2000);
}

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

const number = new Intl.NumberFormat('en');

/** @type {WeakMap<HTMLElement, string>} */
const shownResults = new WeakMap();

/**
 * @param {Record<string, HTMLElement>} parts
 * @param {unknown} result
 */
export function paintResult(parts, result) {
  // Whoever is about to follow a link must not have it swapped under the pointer.
  const json = JSON.stringify(result) ?? '';
  if (shownResults.get(parts.result) === json) return;
  shownResults.set(parts.result, json);
  const links = linksIn(result);
  parts.links.replaceChildren(...links.map(([name, url]) => linkItem(name, url)));
  parts.links.hidden = links.length === 0;
  const rest = withoutLinks(result);
  parts.result.hidden = rest === undefined;
  const whole = rest === undefined ? '' : typeof rest === 'string' ? rest : JSON.stringify(rest, null, 2);
  paintText(parts.result, whole, MOST_CHARS);
  parts['result-section'].hidden = result === undefined || result === null;
}

/**
 * What is left to show of a result once its links are shown; undefined if nothing is.
 * @param {unknown} result
 */
function withoutLinks(result) {
  if (!result || typeof result !== 'object' || Array.isArray(result)) return isWebAddress(result) ? undefined : result;
  const rest = Object.entries(result).filter(([, value]) => !isWebAddress(value));
  return rest.length ? Object.fromEntries(rest) : undefined;
}

/**
 * The web addresses in a result, with the names of their fields.
 * @param {unknown} result
 * @returns {[string, string][]}
 */
function linksIn(result) {
  if (typeof result === 'string') return isWebAddress(result) ? [['', result]] : [];
  if (!result || typeof result !== 'object' || Array.isArray(result)) return [];
  return Object.entries(result).filter(([, value]) => isWebAddress(value));
}

/** @param {unknown} value */
function isWebAddress(value) {
  return typeof value === 'string' && /^https?:\/\//i.test(value) && URL.canParse(value);
}

/**
 * @param {string} name
 * @param {string} url
 */
function linkItem(name, url) {
  const item = document.createElement('li');
  if (name) item.append(element('span', name, 'name'));
  const link = element('a', url);
  link.setAttribute('href', url);
  link.setAttribute('rel', 'noopener noreferrer');
  item.append(link);
  return item;
}

/**
 * @param {Record<string, HTMLElement>} parts
 * @param {unknown} metadata
 */
export function paintMetadata(parts, metadata) {
  const isMap = typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata);
  const isThere = metadata !== undefined && metadata !== null;
  /** @type {[string, unknown][]} */
  const entries = isMap ? Object.entries(metadata) : isThere ? [['', metadata]] : [];
  const rows = isWhole.has(parts.metadata) ? entries : entries.slice(0, MOST_ROWS);
  const rest = entries.length - rows.length;
  parts['metadata-more'].hidden = rest === 0;
  write(parts['metadata-more'], `${number.format(rest)} more`);
  parts['metadata-more'].onclick = () => {
    isWhole.add(parts.metadata);
    paintMetadata(parts, metadata);
  };
  parts['metadata-section'].hidden = rows.length === 0;
  // Rows stay where they are, so that a text that is being selected does.
  while (parts.metadata.childElementCount > rows.length) parts.metadata.lastElementChild?.remove();
  while (parts.metadata.childElementCount < rows.length) {
    const row = document.createElement('tr');
    const head = element('th', '');
    head.setAttribute('scope', 'row');
    const cell = element('td', '');
    cell.setAttribute('dir', 'auto');
    row.append(head, cell);
    parts.metadata.append(row);
  }
  rows.forEach(([name, value], index) => {
    const [head, cell] = parts.metadata.children[index].children;
    write(head, name);
    paintText(/** @type {HTMLElement} */ (cell), text(value, Infinity), MOST_CELL_CHARS);
  });
}

/** Tables of which every row is shown. @type {WeakSet<HTMLElement>} */
const isWhole = new WeakSet();
