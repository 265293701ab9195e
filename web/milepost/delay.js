// @ts-check
/** When to connect again. */

import { parseObject } from './json.js';

/** The longest delay that a server may ask for, in milliseconds. */
const MAX_DELAY = 600_000;

/**
 * After how many milliseconds to come back from a close (section 7); null: not at all.
 * @param {number} code
 * @param {string} reason
 * @param {number} failures how many went before it in a row
 * @param {number} draw 0…1, at random
 * @returns {number | null}
 */
export function reconnectDelay(code, reason, failures, draw) {
  if ([1000, 1002, 1007, 1009].includes(code) || (code >= 4400 && code < 4500)) return null;
  if (code === 1011) return 1000 + draw * 4000;
  const asked = code === 1012 || code === 1013 ? parseObject(reason)?.retry_ms : undefined;
  if (asked >= 0) return Math.min(asked, MAX_DELAY);
  return draw * Math.min(30_000, 1000 * 2 ** Math.min(failures, 10));
}

/**
 * How long the server asks to wait before the next request, in milliseconds, spread at random; 0: it does not say.
 * @param {Response} response
 */
export const retryAfter = ({ headers }) => Math.min(Number(headers.get('retry-after')) * 1000 * (1 + Math.random()) || 0, MAX_DELAY);
