// @ts-check
/** A watched job, as a page sees it. */

import { callSafely } from './call-safely.js';
import { Client, PAGE } from './client.js';
import { LogWatch } from './log-watch.js';
import { Outlook } from './outlook.js';
import { compare, isEnd } from './state.js';

/**
 * @typedef {import('./messages.js').Connection} Connection
 * @typedef {import('./messages.js').JobMessage} JobMessage
 * @typedef {import('./messages.js').Pace} Pace
 * @typedef {import('./outlook.js').Health} Health
 * @typedef {import('./messages.js').WatchCommand} WatchCommand
 * @typedef {import('./state.js').State} State
 */

/** @typedef {Error & { code: number }} WatchError `code`: 4401 sign in, 4403 not allowed, 4400 a wrong id or option, 4404 no Milepost server */

/** @typedef {string | (() => string | null | undefined | Promise<string | null | undefined>)} Token */

/**
 * @typedef {object} WatchOptions
 * @property {string} [url] where the server is; if absent, where the page comes from
 * @property {Token} [token] a credential, or what returns one: it is called for the first connection, before the token
 *   expires, and when the server no longer takes it. Watches with the same function share a connection; other tabs do not
 * @property {string} [since] a position: states up to it are known already
 * @property {'all' | 'latest'} [mode] `latest`: only the newest state at each moment. Ends are never skipped
 * @property {number} [maxRate] at most so many states a second, 0.01…1000
 * @property {boolean} [follow] go on after an end, for the attempts that may come; otherwise the watch ends there
 * @property {boolean} [share] false: a connection of this page's own, not one shared between tabs
 * @property {AbortSignal} [signal] closes the watch
 * @property {(state: State) => void} [onState] each newer than the one before
 * @property {(connection: Connection) => void} [onConnection]
 * @property {() => void} [onUnknown] the server has no state of the job (yet), or has forgotten it before it ended
 * @property {(state: State) => void} [onEnd] once for each end, after its `onState`
 * @property {(warning: string) => void} [onWarning] the server cannot read the job now, so that states may be missing.
 *   The watch goes on. Without it, the warning goes to the console
 * @property {(error: WatchError) => void} [onError] the job cannot be watched: the server refuses, or is not a
 *   Milepost server. The watch is closed
 */

let count = 0;

/** The watch of one job: its states, as they come. */
export class Watch {
  /** The newest state; null: none is known yet. @type {State | null} */
  state = null;
  /** Whether the server has a state of the job; null: that is not known yet. @type {boolean | null} */
  known = null;
  /** @type {Connection} */
  connection = 'connecting';
  /** Why the watch is closed, if not by `close` and not by the job's end. @type {WatchError | null} */
  error = null;
  /** The newest position of each epoch, the latest epoch last. @type {string[]} */
  #newestPositions = [];
  /** The states to be iterated over: any number of ends, and the newest. @type {State[]} */
  #queue = [];
  #wakeIterator = () => {};
  #key = `${PAGE} ${++count}`;
  #isClosed = false;
  #isFailed = false;
  #wasOpen = false;
  #lastEnd = '';
  #outlook = new Outlook();

  /**
   * @param {string} jobId
   * @param {WatchOptions} options
   * @param {Client} client
   * @internal
   */
  constructor(jobId, options, client) {
    // A number is read as its text. What is no id at all becomes an empty one, which the server refuses.
    this.jobId = String(jobId ?? '');
    /** @internal */
    this.options = options;
    /** @internal */
    this.client = client;
    /** @type {Pace} @internal */
    this.pace = { mode: options.mode, max_rate: options.maxRate };
    if (options.since) this.#newestPositions.push(options.since);
    client.add(this);
    this.onConnection();
    options.signal?.addEventListener('abort', () => this.close());
    if (options.signal?.aborted) this.close();
  }

  /** The newest position, where another watch could resume. */
  get position() {
    return this.#newestPositions.at(-1);
  }

  /** The server's clock, in milliseconds since 1970: ages are computed from it, not from the clock of this device. */
  get serverNow() {
    return Date.now() + this.client.skew;
  }

  /** How long the job will still take, in milliseconds; null: not known yet, or not any more. */
  get timeLeft() {
    return this.connection === 'open' ? this.#outlook.timeLeft(this.serverNow) : null;
  }

  /** The same as people read it; null: it is not known (yet), or not any more. @internal */
  get remaining() {
    return this.connection === 'open' ? this.#outlook.remaining(this.serverNow) : null;
  }

  /** For how long a running job's worker has not been heard of, in milliseconds; null: it does not run. */
  get silentFor() {
    return this.#outlook.silentFor(this.serverNow);
  }

  /** For how long a running job has not advanced, in milliseconds; null: it does not run. */
  get standsFor() {
    return this.#outlook.standsFor(this.serverNow);
  }

  /**
   * Whether the worker of a job that has not ended is heard of and advances: what the server says of it; if it says
   * nothing, a worker that was silent for half a minute is `lost`. A lost connection is not the worker's silence.
   * @returns {Health}
   */
  get health() {
    return this.connection === 'open' ? this.#outlook.health(this.serverNow) : 'ok';
  }

  /** Ends the watch; its last state stays. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.client.delete(this);
    this.onConnection();
    this.#wakeIterator();
  }

  /** Yields states as fast as they are taken: always the newest, and every end. Done after the job's end. */
  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        const state = this.#queue.shift();
        if (state) yield state;
        else if (this.error) throw this.error;
        else if (this.#isClosed) return;
        else await new Promise((resolve) => (this.#wakeIterator = () => resolve(undefined)));
      }
    } finally {
      this.close();
    }
  }

  /**
   * @param {WatchCommand['t']} t
   * @returns {WatchCommand}
   * @internal
   */
  command(t) {
    return { t, key: this.#key, job: this.jobId, since: this.position, pace: this.pace };
  }

  /** @internal */
  onConnection() {
    const { connection: inUse, reason, code } = this.client;
    const isFailed = inUse === 'failed';
    if ((isFailed || inUse === 'closed') && !this.#isClosed) {
      this.#isFailed = isFailed;
      return this.#closeWithError(reason, code);
    }
    const isOffline = inUse !== 'open' && globalThis.navigator?.onLine === false;
    const isBack = inUse === 'connecting' && this.#wasOpen;
    const closed = this.#isFailed ? 'failed' : 'closed';
    const connection = this.#isClosed ? closed : isOffline ? 'offline' : isBack ? 'reconnecting' : inUse;
    this.#wasOpen ||= inUse === 'open';
    if (connection === this.connection) return;
    this.connection = connection;
    callSafely(this.options.onConnection, connection);
  }

  /**
   * @param {JobMessage} message
   * @internal
   */
  onMessage(message) {
    if (this.#isClosed) return;
    if (message.t === 'rejected') this.#closeWithError(message.reason, message.code);
    else if (message.t === 'unreadable') this.#warn(message.reason);
    else if (message.t === 'state') this.#onState(message.state);
    else if (this.known !== false) {
      this.known = false;
      callSafely(this.options.onUnknown);
    }
  }

  /** @param {string} reason */
  #warn(reason) {
    const warning = `the server cannot read ${this.jobId}: ${reason}`;
    if (this.options.onWarning) callSafely(this.options.onWarning, warning);
    else console.warn(`milepost: ${warning}`);
  }

  /**
   * @param {string} reason
   * @param {number} code
   */
  #closeWithError(reason, code) {
    this.error = Object.assign(new Error(reason || 'rejected'), { code });
    this.close();
    callSafely(this.options.onError, this.error);
  }

  /** @param {State} state */
  #onState(state) {
    const { position } = state;
    if (this.#newestPositions.some((seen) => compare(seen, position) >= 0)) return;
    const others = this.#newestPositions.filter((seen) => isNaN(compare(seen, position)));
    this.#newestPositions = [...others.slice(-3), position];
    this.state = state;
    this.#outlook.note(state, this.serverNow);
    this.known = true;
    const last = this.#queue.at(-1);
    if (last && !isEnd(last)) this.#queue.pop();
    this.#queue = [...this.#queue.slice(-8), state];
    this.#wakeIterator();
    callSafely(this.options.onState, state);
    if (!isEnd(state) || this.#isClosed) return;
    // The same end may come again, at another position, from a server that lost its memory.
    const end = `${state.attempt} ${state.status} ${state.timestamp}`;
    if (end !== this.#lastEnd) callSafely(this.options.onEnd, state);
    this.#lastEnd = end;
    if (!this.options.follow) this.close();
  }
}

/** By token, then by server and whether it is shared. @type {Map<Token | undefined, Map<string, Client>>} */
const clients = new Map();

/** @param {string | undefined} url */
const absolute = (url) => new URL(url ?? '/', globalThis.location?.href).href;

/**
 * Watches a job until its end.
 *
 * @param {string} jobId
 * @param {WatchOptions} [options]
 * @returns {Watch} to be iterated over, or closed
 * @throws {TypeError} if `url` is no URL
 */
export function watch(jobId, options = {}) {
  const url = absolute(options.url);
  const isShared = options.share ?? true;
  const { token } = options;
  const key = `${isShared} ${url}`;
  const ofToken = clients.get(token) ?? new Map();
  const client = ofToken.get(key) ?? new Client(url, token, isShared);
  clients.set(token, ofToken.set(key, client));
  return new Watch(jobId, options, client);
}

/**
 * Follows a job's log: its latest lines, then those that come, until it is closed. Also after the job's end: an attempt may follow.
 *
 * @param {string} jobId
 * @param {import('./log-watch.js').LogOptions} options
 * @returns {Pick<LogWatch, 'close' | 'position'>}
 * @throws {TypeError} if `url` is no URL
 */
export function watchLog(jobId, options) {
  return new LogWatch(jobId, options, absolute(options.url));
}
