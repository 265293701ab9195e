// @ts-check
/**
 * Asks for what is seen first, jobs of the list or the job of a job's page, while the rest of the page's script is still on its way. This
 * script is small, so that on a slow network they are there as soon as it is.
 */

import { home, jobUrl } from './addresses.js';
import { credential, tokenInAddress } from './credential.js';

/** As many as a large screen shows. */
export const FIRST_SIGHT = 30;

/** @type {{ url: string, answer: Promise<Response> } | null} */
let asked = null;

const job = new URLSearchParams(location.search).get('job');
// What is shown until there is something is of the same shape.
document.documentElement.dataset.view = job === null ? 'list' : 'job';

if (tokenInAddress() === null) {
  const url = job === null ? `${home()}/jobs?limit=${FIRST_SIGHT}` : jobUrl(home(), job);
  const token = credential();
  const headers = { accept: 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  const answer = fetch(url, { headers, redirect: token ? 'error' : 'follow', signal: AbortSignal.timeout(10_000) });
  // Whoever takes it handles the error.
  answer.catch(() => {});
  asked = { url, answer };
}

/**
 * The answer to a request that was sent already. It can be taken once.
 * @param {string} url
 * @returns {Promise<Response> | null}
 */
export function takeFirst(url) {
  if (asked?.url !== url) return null;
  const { answer } = asked;
  asked = null;
  return answer;
}
