// @ts-check
/** What stands in for a watch if the page itself sets the state. */

import { Outlook } from '../milepost.js';

/**
 * @param {import('../milepost.js').State} state
 * @returns {import('../milepost.js').Watch}
 */
export function given(state) {
  const outlook = new Outlook();
  outlook.note(state, Date.now());
  return /** @type {any} */ ({
    state,
    error: null,
    connection: 'open',
    get health() {
      return outlook.health(Date.now());
    },
    get remaining() {
      return outlook.remaining(Date.now());
    },
    get silentFor() {
      return outlook.silentFor(Date.now());
    },
    get standsFor() {
      return outlook.standsFor(Date.now());
    },
    close() {},
  });
}
