// @ts-check
/**
 * Reports updates of one job by HTTP: one request at a time, of what waits only the latest, and at most so
 * many a second.
 */

import { home, jobUrl } from './addresses.js';
import { credentials } from './server.js';
import { askToSignIn } from './sign-in.js';

/**
 * @typedef {Record<string, unknown>} Update
 * @typedef {{ ok: true, position: string, attempt: number } | { ok: false, status: number, title: string, detail: string }} Answer
 */

/** As JSON: whether a page of another origin may report is then asked before, and not only after, it does. */
const HEADERS = { 'content-type': 'application/json' };
/** Five a second, in milliseconds. */
const GAP = 200;

export class Reports {
  /** @type {Update | null} */
  #waiting = null;
  /** @type {Promise<void> | null} */
  #sending = null;
  #sentAt = -Infinity;

  /**
   * @param {string} server
   * @param {string} id
   * @param {(update: Update, answer: Answer) => void} onAnswer
   */
  constructor(server, id, onAnswer) {
    this.server = server;
    this.id = id;
    this.onAnswer = onAnswer;
  }

  /** In passing: a later one may take its place. @param {Update} update */
  report(update) {
    this.#waiting = update;
    this.#sending ??= this.#run().finally(() => (this.#sending = null));
  }

  /** Instead of what waits, and after what is under way. @param {Update} update @returns {Promise<Answer>} */
  async send(update) {
    this.#waiting = null;
    await this.#sending;
    const answer = await post(this.server, this.id, update);
    this.onAnswer(update, answer);
    return answer;
  }

  /** The last word of a page that goes away. @param {Update} update */
  sendLast(update) {
    this.#waiting = null;
    const url = jobUrl(this.server, this.id);
    const last = { method: 'POST', headers: { ...HEADERS, ...credentials(url) }, body: JSON.stringify(update), keepalive: true };
    fetch(url, last).catch(() => {});
  }

  async #run() {
    while (this.#waiting) {
      const wait = this.#sentAt + GAP - performance.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      const update = this.#waiting;
      this.#waiting = null;
      if (!update) break;
      this.#sentAt = performance.now();
      this.onAnswer(update, await post(this.server, this.id, update));
    }
  }
}

/**
 * @param {string} server
 * @param {string} id
 * @param {Update} update
 * @returns {Promise<Answer>}
 */
async function post(server, id, update) {
  try {
    const signal = AbortSignal.timeout(10_000);
    const body = JSON.stringify(update);
    const url = jobUrl(server, id);
    const response = await fetch(url, { method: 'POST', headers: { ...HEADERS, ...credentials(url) }, body, signal });
    const { position, attempt, title = 'Refused', detail = '' } = await response.json();
    if (response.status === 401 && server === home()) askToSignIn(detail);
    return response.ok ? { ok: true, position, attempt } : { ok: false, status: response.status, title, detail };
  } catch (error) {
    const isLate = error instanceof DOMException && error.name === 'TimeoutError';
    return { ok: false, status: 0, title: isLate ? 'No answer within 10 seconds' : 'The report did not get through', detail: '' };
  }
}
