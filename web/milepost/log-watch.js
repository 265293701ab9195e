// @ts-check
/** A job's log, followed: over a WebSocket, else by polling. */

import { callSafely } from './call-safely.js';
import { reconnectDelay, retryAfter } from './delay.js';
import { parseObject } from './json.js';
import { baseOf, openSocket } from './socket.js';

/**
 * A line of a job's log. `n`: its number, from 1. `at`: when it was written. `stream`: where, if that is known. `cut`: the line was
 * longer. The text may hold control characters.
 * @typedef {{ n: number, at: string, stream?: 'stdout' | 'stderr', text: string, cut?: boolean }} LogLine
 *
 * Lines that follow each other. `gap`: some between them and those before are no longer kept. `log`: how many lines the log ever
 * had, and how many of them are no longer kept. `next`: where another watch could resume.
 * @typedef {{ lines: LogLine[], gap: boolean, log: { lines: number, dropped: number }, next: string | undefined }} LogPart
 *
 * @typedef {object} LogOptions
 * @property {string} [url] where the server is; if absent, where the page comes from
 * @property {import('./watch.js').Token} [token] a credential, or what returns one
 * @property {string} [since] the `next` of an earlier part; without it the log begins with the newest 1,000 lines
 * @property {AbortSignal} [signal] closes the watch
 * @property {(part: LogPart) => void} onLines the first call may have no lines: the log is empty so far
 * @property {(error: import('./watch.js').WatchError) => void} [onError] the server refuses. The watch is closed
 */

/** How long a connection may take to be made, in milliseconds. */
const TIMEOUT = 10_000;
/** A socket on which nothing arrives for so long, not even pings, is lost; in milliseconds. */
const SILENCE = 30_000;
/** A poll waits so long at first, and half as long again after each that brought nothing, up to … */
const FIRST_POLL = 1000;
const LAST_POLL = 5000;
/** A job that nobody has reported yet is asked for again after so long, in milliseconds. */
const UNKNOWN = 5000;
/** Connections that cannot be made before polling takes over. */
const MOST_MISSES = 2;
/** Polling gives way to another try of a socket after so long, in milliseconds. */
const RETRY_SOCKET = 60_000;

export class LogWatch {
  /** @type {string | undefined} */
  position;
  /** Until then the log is polled, by `performance.now()`. */
  #pollsUntil = 'WebSocket' in globalThis ? 0 : Infinity;
  /** Connections that could not be made, failures, and refusals of a token: each in a row. */
  #misses = 0;
  #failures = 0;
  #refusals = 0;
  #poll = FIRST_POLL;
  #isClosed = false;
  /** Ends what is waited for. */
  #interrupt = () => {};

  /**
   * @param {string} jobId
   * @param {LogOptions} options
   * @param {string} url
   */
  constructor(jobId, options, url) {
    // A number is read as its text. What is no id at all becomes an empty one, which the server refuses.
    this.jobId = String(jobId ?? '');
    this.options = options;
    this.position = options.since;
    this.base = baseOf(url);
    options.signal?.addEventListener('abort', () => this.close());
    if (!options.signal?.aborted) void this.#run();
  }

  close() {
    this.#isClosed = true;
    this.#interrupt();
  }

  async #run() {
    const { token } = this.options;
    while (!this.#isClosed) {
      /** @type {number | null} */
      let wait;
      try {
        const credential = String((typeof token === 'function' ? await token() : token) ?? '');
        if (this.#isClosed) return;
        wait = await (performance.now() < this.#pollsUntil ? this.#ask(credential) : this.#receive(credential));
      } catch (error) {
        const { code = 1006, reason = '' } = /** @type {any} */ (error);
        // A new token may be accepted where the one before has expired.
        const isRenewable = code === 4401 && typeof token === 'function' && ++this.#refusals === 1;
        wait = isRenewable ? 1000 : reconnectDelay(code, reason, this.#failures++, Math.random());
        if (wait === null) {
          this.close();
          callSafely(this.options.onError, Object.assign(new Error(reason || 'rejected'), { code }));
          return;
        }
      }
      if (!this.#isClosed) await this.#pause(wait);
    }
  }

  /** @param {number} ms */
  #pause(ms) {
    /** @type {Promise<void>} */
    const paused = new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#interrupt = () => (clearTimeout(timer), resolve());
    });
    return paused;
  }

  #pollForNow() {
    this.#pollsUntil = performance.now() + RETRY_SOCKET;
  }

  /** @param {any} message */
  #deliver({ lines, next, log, log_gap: gap }) {
    this.#failures = this.#refusals = 0;
    // A position of a log that is gone is given up: it would be answered with the same gap again and again.
    this.position = next ?? (gap ? undefined : this.position);
    callSafely(this.options.onLines, { lines, gap: gap === true, log, next });
  }

  /**
   * Until the socket closes.
   * @param {string} credential
   * @returns {Promise<number>} after how many milliseconds to go on
   */
  #receive(credential) {
    return new Promise((resolve, reject) => {
      const socket = openSocket(this.base, credential);
      let isConnected = false;
      /** @type {ReturnType<typeof setTimeout>} */
      let timer;
      const finish = (/** @type {() => void} */ settle) => {
        clearTimeout(timer);
        socket.onmessage = socket.onclose = socket.onerror = null;
        socket.close();
        settle();
      };
      const lose = (/** @type {number} */ code, /** @type {string} */ reason) => {
        if (code === 1006 && !isConnected && ++this.#misses >= MOST_MISSES) this.#pollForNow();
        finish(() => reject({ code, reason }));
      };
      const guard = (/** @type {number} */ ms) => {
        clearTimeout(timer);
        timer = setTimeout(() => lose(1006, ''), ms);
      };
      this.#interrupt = () => finish(() => resolve(0));
      guard(TIMEOUT);
      socket.onclose = ({ code, reason }) => lose(code, reason);
      // Where a page's policy forbids the socket, Chromium never fires `close`.
      socket.onerror = () => guard(100);
      socket.onmessage = ({ data }) => {
        guard(SILENCE);
        const message = parseObject(data);
        if (message?.type === 'connected') {
          isConnected = true;
          this.#misses = 0;
          socket.send(JSON.stringify({ type: 'subscribe', job_id: this.jobId, log: true, since: this.position }));
        } else if (message?.type === 'log') this.#deliver(message);
        else if (message?.type === 'error') {
          const { problem, message: reason } = message;
          if (problem === 'unknown-job') return finish(() => resolve(UNKNOWN));
          if (problem === 'forbidden') return lose(4403, reason);
          if (problem === 'unauthenticated') return;
          // The server is older, or has no room on its sockets: that is no reason not to read.
          if (!/^invalid|^too-many/.test(problem)) return finish(() => reject({ code: 1012, reason }));
          this.#pollForNow();
          finish(() => resolve(0));
        }
      };
    });
  }

  /**
   * @param {string} credential
   * @returns {Promise<number>} after how many milliseconds to ask again
   */
  async #ask(credential) {
    const stop = new AbortController();
    this.#interrupt = () => stop.abort();
    const timer = setTimeout(() => stop.abort(), SILENCE);
    try {
      const query = new URLSearchParams(this.position ? { since: this.position } : {});
      const response = await fetch(`${this.base}/jobs/${encodeURIComponent(this.jobId)}/log?${query}`, {
        headers: credential ? { authorization: `Bearer ${credential}` } : {},
        // A token goes to the server that it was given for, and nowhere else.
        redirect: credential ? 'error' : 'follow',
        signal: stop.signal,
        cache: 'no-store',
      });
      const { ok, status } = response;
      const body = parseObject(await response.text());
      if (this.#isClosed) return 0;
      if (status === 404) return UNKNOWN;
      if (!ok || !Array.isArray(body?.lines)) {
        const retry = retryAfter(response);
        if (retry) throw { code: 1013, reason: `{"retry_ms":${retry}}` };
        throw { code: [400, 401, 403].includes(status) ? 4000 + status : 1006, reason: body?.detail };
      }
      this.#poll = body.lines.length ? FIRST_POLL : Math.min(LAST_POLL, this.#poll * 1.5);
      this.#deliver(body);
      return this.#poll;
    } finally {
      clearTimeout(timer);
    }
  }
}
