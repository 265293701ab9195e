// @ts-check
/**
 * Asks for the jobs that are seen first while the rest of the list's script is still on its way. This script is small, so that on a slow
 * network they are there as soon as it is.
 */

import { credential, tokenInAddress } from './credential.js';

/** As many as a large screen shows. */
export const FIRST_SIGHT = 30;

/** @type {{ url: string, answer: Promise<Response> } | null} */
let asked = null;

if (!new URLSearchParams(location.search).has('job') && tokenInAddress() === null) {
  const url = new URL(`jobs?limit=${FIRST_SIGHT}`, document.baseURI).href;
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
