// @ts-check
/** A job's error, its result and its metadata. What is long is shown in full on demand. */

import { write } from '../paint.js';
import { copy, download, isWebAddress } from './text.js';
import { Tree } from './tree.js';

/** @typedef {import('../job.js').Job} Job */

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
  parts['copy-error'].onclick = () => copy(parts['copy-error'], error, parts.error);
}

/**
 * The button beside a completed job's headline: its result, if that is or has an address of the web.
 * @param {HTMLElement} link
 * @param {Job} job
 */
export function paintResultLink(link, job) {
  const address = job.state?.status === 'completed' ? addressIn(job.state.result) : null;
  link.hidden = address === null;
  if (address === null || link.getAttribute('href') === address) return;
  link.setAttribute('href', address);
  const { hostname, pathname } = new URL(address);
  write(link, `Open ${lastPart(pathname) || hostname}`);
  link.title = address;
}

/** @param {unknown} result @returns {string | null} */
function addressIn(result) {
  const values = typeof result === 'object' && result ? Object.values(result) : [result];
  return values.find(isWebAddress) ?? null;
}

/** @param {string} path */
function lastPart(path) {
  const part = path.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** A section of a job's page that shows a value as a tree, to be copied and downloaded as JSON. */
export class ValueSection {
  #json = '';
  /** @type {Tree} */
  #tree;

  /**
   * @param {Record<string, HTMLElement>} parts
   * @param {'result' | 'metadata'} name of the parts, and of the file
   * @param {() => string} jobId
   */
  constructor(parts, name, jobId) {
    this.section = parts[`${name}-section`];
    this.#tree = new Tree(parts[name]);
    const [copyButton, downloadButton] = [parts[`${name}-copy`], parts[`${name}-download`]];
    copyButton.onclick = () => copy(copyButton, this.#json, parts[name]);
    downloadButton.onclick = () => download(`${jobId().replaceAll(':', '_')}-${name}.json`, `${this.#json}\n`, 'application/json');
  }

  /** @param {unknown} value */
  paint(value) {
    const isThere = value !== undefined && value !== null && JSON.stringify(value) !== '{}';
    this.section.hidden = !isThere;
    if (!isThere) return;
    this.#json = JSON.stringify(value, null, 2);
    this.#tree.update(value);
  }
}
