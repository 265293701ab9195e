// @ts-check
/** For those who do not see the page. What happens within a second is said together. */

import { byId } from './paint.js';

/** @type {string[]} */
let unsaid = [];

/** @param {string} text */
export function announce(text) {
  if (unsaid.length === 0) {
    setTimeout(() => {
      byId('announcements').textContent = unsaid.slice(-5).join('. ');
      unsaid = [];
    }, 1000);
  }
  unsaid.push(text);
}
