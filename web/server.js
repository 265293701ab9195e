// @ts-check
/** What the server is asked over HTTP. */

import { home, jobUrl } from './addresses.js';
import { credential } from './credential.js';
import { askToSignIn } from './sign-in.js';

/**
 * @param {string} url
 * @param {Promise<Response> | null} [sent] the answer to the same request, if it was sent already
 * @returns {Promise<{ ok: boolean, status: number, body: any, now: number }>} `now` is the server's clock
 */
export async function ask(url, sent = null) {
  return sent ? read(await sent) : request(url, {});
}

/**
 * The headers that name the user, for this page's own server and no other.
 * @param {string} url
 * @returns {Record<string, string>}
 */
export function credentials(url) {
  const token = credential();
  return token && new URL(url).origin === location.origin ? { authorization: `Bearer ${token}` } : {};
}

/**
 * @param {string} url
 * @param {{ method?: string, body?: string }} init
 * @returns {Promise<{ ok: boolean, status: number, body: any, now: number }>} `now` is the server's clock
 */
export async function request(url, init) {
  const headers = { accept: 'application/json', ...credentials(url) };
  const redirect = 'authorization' in headers ? 'error' : 'follow';
  return read(await fetch(url, { ...init, headers, redirect, signal: AbortSignal.timeout(10_000) }));
}

/** @param {Response} response */
async function read(response) {
  const date = Date.parse(response.headers.get('date') ?? '');
  const { ok, status } = response;
  // A job that was deleted is answered without a body.
  const body = status === 204 ? null : await response.json();
  if (status === 401) askToSignIn(String(body?.detail ?? ''));
  return { ok, status, body, now: Number.isNaN(date) ? Date.now() : date };
}

/**
 * How to report that job by hand, for a shell.
 * @param {string} id
 */
export function curl(id) {
  // Quoted: an id comes out of a page's address.
  return `curl -X POST ${jobUrl(home(), id).replaceAll("'", '%27')} -d '{"progress":0.5}'`;
}
