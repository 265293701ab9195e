// @ts-check
/**
 * Notifies a person of a job's end, by the browser's own notifications:
 *
 *     import { notifyOnEnd } from '/notify.js';
 *     button.onclick = () => notifyOnEnd('render-7');
 */

import { errorSummary, watch } from './milepost.js';

/** @typedef {import('./milepost.js').State} State */

const WORDS = { completed: 'Completed', failed: 'Failed', cancelled: 'Cancelled' };

/** Whether the browser has notifications, and the person has not blocked them. */
export const canNotify = () => 'Notification' in globalThis && Notification.permission !== 'denied';

/**
 * Asks the person for permission, unless that was decided before. Browsers take the question only after a click.
 * @returns {Promise<boolean>} whether notifications are allowed
 */
export async function askToNotify() {
  if (!canNotify()) return false;
  if (Notification.permission === 'granted') return true;
  return (await Notification.requestPermission()) === 'granted';
}

/**
 * Shows the notification of an end. A click on it brings the page to the front.
 * @param {State} state
 * @returns {boolean} whether it is shown: Chrome on Android takes none from a page
 */
export function notifyOf(state) {
  const word = WORDS[/** @type {keyof typeof WORDS} */ (state.status)] ?? state.status;
  const body = errorSummary(state.error) || (typeof state.message === 'string' ? state.message : '');
  // One for a job, however many of its pages are open.
  const options = { body, tag: `milepost:${state.job_id}:${state.attempt}` };
  try {
    new Notification(`${word}: ${state.job_id}`, options).onclick = () => globalThis.focus();
    return true;
  } catch {
    return false;
  }
}

/**
 * Asks for permission and, once the job has ended, notifies.
 * @param {string} jobId
 * @param {import('./milepost.js').WatchOptions} [options] of the watch; `signal` ends it
 * @returns {Promise<boolean>} false at once if notifications are not allowed; after the end, whether the person was notified
 */
export async function notifyOnEnd(jobId, options) {
  if (!(await askToNotify())) return false;
  /** @type {State | null} */
  let last = null;
  for await (const state of watch(jobId, options)) last = state;
  if (!last || !(last.status in WORDS)) return false;
  return notifyOf(last);
}
