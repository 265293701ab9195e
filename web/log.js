// @ts-check
/** The latest that happened, the latest first, and no more than can be kept. */

import { Job, text, timeOf } from './job.js';
import { element } from './paint.js';
import { moment } from './times.js';

/** @typedef {import('./milepost.js').State} State */

export const MOST_LOG_ITEMS = 200;

/** @param {State} state */
export function stateItem(state) {
  const job = new Job(state.job_id);
  job.update(state, 0);
  const what = job.hasEnded ? job.word : job.stage || job.word;
  return logItem(timeOf(state), job.percent, what, text(job.message || job.errorSummary), state.status);
}

/**
 * @param {number | null} time
 * @param {string} share
 * @param {string} what
 * @param {string} words
 * @param {string} kind for its looks
 */
export function logItem(time, share, what, words, kind) {
  const item = document.createElement('li');
  item.dataset.kind = kind;
  const stamp = element('time', time === null ? '' : moment(time));
  if (time !== null) stamp.setAttribute('datetime', new Date(time).toISOString());
  item.append(stamp, element('span', share, 'share'), element('span', what, 'what'), element('span', words, 'words'));
  return item;
}

/**
 * @param {HTMLElement} log
 * @param {Node} item
 */
export function logOnTop(log, item) {
  log.prepend(item);
  while (log.childElementCount > MOST_LOG_ITEMS) log.lastElementChild?.remove();
}
