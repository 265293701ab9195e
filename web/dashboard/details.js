// @ts-check
/** A job's result, with its links, and its metadata. */

import { text } from '../job.js';
import { element, write } from '../paint.js';

const MOST_ROWS = 50;
const MOST_CHARS = 4000;

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
  write(parts.result, rest === undefined ? '' : typeof rest === 'string' ? cut(rest) : cut(JSON.stringify(rest, null, 2)));
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

/** @param {string} whole */
function cut(whole) {
  return whole.length > MOST_CHARS ? `${whole.slice(0, MOST_CHARS)}…` : whole;
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
  const rows = entries.slice(0, MOST_ROWS);
  parts['metadata-section'].hidden = rows.length === 0;
  // Rows stay where they are, so that a text that is being selected does.
  while (parts.metadata.childElementCount > rows.length) parts.metadata.lastElementChild?.remove();
  while (parts.metadata.childElementCount < rows.length) {
    const row = document.createElement('tr');
    const head = element('th', '');
    head.setAttribute('scope', 'row');
    row.append(head, element('td', ''));
    parts.metadata.append(row);
  }
  rows.forEach(([name, value], index) => {
    const [head, cell] = parts.metadata.children[index].children;
    write(head, name);
    write(cell, text(value));
  });
}
