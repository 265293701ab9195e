// @ts-check
/** The connection to one server: a WebSocket, else server-sent events, else polling. */

import { Credential } from './credential.js';
import { reconnectDelay, retryAfter } from './delay.js';
import { eventsOf } from './event-stream.js';
import { FOREIGN, Http } from './http.js';
import { parseObject } from './json.js';
import { baseOf, openSocket } from './socket.js';
import { compare, isEnd } from './state.js';
import { Timers } from './timers.js';

/**
 * @typedef {import('./messages.js').Connection} Connection
 * @typedef {import('./messages.js').JobMessage} JobMessage
 * @typedef {import('./messages.js').Message} Message
 * @typedef {import('./messages.js').Pace} Pace
 * @typedef {import('./state.js').State} State
 */

/**
 * @typedef {{ since: string | undefined, pace: Pace, ended?: boolean, stop?: AbortController | undefined }} Job
 */

/** How long a connection may take to be made, in milliseconds. */
const TIMEOUT = 10_000;
/** So many jobs hold a request of their own where there is no WebSocket: browsers allow six for each host. */
const MAX_HELD = 3;

/** What has not proven to be a Milepost server yet is asked over HTTP after so long, in milliseconds: others may let a socket hang for ever. */
const UNPROVEN_TIMEOUT = 4000;

/** An `error` of a socket without a `close` for so long means that the socket was blocked, in milliseconds. */
const BLOCKED = 100;
/** A difference of clocks that is no smaller than this is a change, in milliseconds. */
const MIN_SKEW = 250;

/** In place of a close code: go on without a socket, at once. */
const BLOCKED_CODE = 0;
/** No credential came, or it no longer holds. */
const UNAUTHENTICATED = 4401;

/** The name of the problem of a job that the server cannot read now. */
const UNREADABLE = 'unreadable-job';
/** It was forgotten before it ended. */
const UNKNOWN = 'unknown-job';

const now = () => performance.now();

/**
 * One server, any number of jobs, by the best way there is. Begins with the first job, rests after the last one.
 * It passes on every state that arrives; the receiver ignores those that are not newer than what it has.
 * @internal
 */
export class Session {
  /** @type {Map<string, Job>} */
  #jobs = new Map();
  /** 0: WebSocket, 1: server-sent events, 2: polling. */
  #level = 0;
  /** Failures to connect at this level, in a row. */
  #failedConnects = 0;
  #failures = 0;
  /** @type {Connection} */
  #connection = 'connecting';
  #serverError = '';
  #credential;
  #http;
  #skew = 0;
  #lastMessageAt = 0;
  /** What closes the socket that is tried or in use. @type {(() => void) | null} */
  #disconnect = null;
  /** The socket in use. @type {WebSocket | null} */
  #socket = null;
  /** Requests are in use. */
  #usesRequests = false;
  #heldRequests = 0;
  /** By a name of ours, or by job: no job's id has a space. */
  #timers = new Timers();

  /**
   * @param {string} url
   * @param {import('./watch.js').Token | null | undefined} token null in a worker, whose name is JSON
   * @param {(message: Message) => void} notify
   */
  constructor(url, token, notify) {
    this.base = baseOf(url);
    this.#credential = new Credential(token);
    // A date shows whole seconds, and to the same origin only.
    this.#http = new Http(this.base, this.#credential, (date) => this.#skew || this.#onClock(date));
    this.notify = notify;
  }

  /**
   * Watches a job from `since` on; anew, if it is watched already.
   * @param {string} id
   * @param {string | undefined} since
   * @param {Pace} pace
   */
  watch(id, since, pace) {
    this.#stopRequest(id);
    this.#jobs.set(id, { since, pace });
    this.#timers.set(' rest');
    if (this.#socket) this.#subscribe(id);
    else if (this.#usesRequests) this.#request(id);
    else if (!this.#disconnect && !this.#timers.has(' retry')) this.#start();
  }

  /** @param {string} id */
  unwatch(id) {
    this.#stopRequest(id);
    if (!this.#jobs.delete(id)) return;
    this.#send({ type: 'unsubscribe', job_id: id });
    if (!this.#jobs.size) this.#timers.set(' rest', 100, () => this.close());
  }

  /** The network or the page has changed: comes back now rather than later, and doubts a quiet connection. */
  probe() {
    if (this.#socket) return this.#ping(3000);
    if (!this.#timers.has(' retry') && !this.#usesRequests) return;
    this.#failedConnects = this.#failures = this.#level = 0;
    this.#closeAll();
    this.#start();
  }

  close() {
    this.#jobs.clear();
    this.#closeAll();
    this.#setConnection('connecting');
  }

  /** @returns {void} */
  #start() {
    this.#timers.set(' retry');
    if (!this.#jobs.size) return;
    if (this.#credential.token === null) return this.#startWithToken();
    // Node 20 has no WebSocket.
    if (!this.#level && !globalThis.WebSocket) this.#level = 1;
    if (!this.#level) return this.#openSocket();
    this.#usesRequests = true;
    for (const id of this.#jobs.keys()) this.#request(id);
  }

  #startWithToken() {
    this.#credential.ask().then(
      () => this.#disconnect || this.#usesRequests || this.#start(),
      (error) => {
        console.warn(`milepost: no token: ${error}`);
        this.#retryLater(reconnectDelay(1006, '', this.#failures++, Math.random()) ?? 0);
      },
    );
  }

  /**
   * The token expires soon: asks the page for another, and sends it. Without one, the server closes the socket.
   * @param {number} seconds until then
   */
  #renewLater(seconds) {
    if (!this.#credential.isRenewable) return;
    this.#timers.set(' token', seconds * 333, () => {
      const before = this.#credential.token;
      this.#credential.ask().then(
        // The same one again would expire as soon.
        () => this.#credential.token !== before && this.#send({ type: 'auth', token: this.#credential.token }),
        () => {},
      );
    });
  }

  #openSocket() {
    const socket = openSocket(this.base, this.#credential.token ?? '');
    const disconnect = () => {
      this.#timers.set(' greeting');
      this.#timers.set(' blocked');
      socket.onclose = socket.onerror = socket.onmessage = null;
      socket.close();
      this.#disconnect = this.#socket = null;
    };
    const onClose = (/** @type {number} */ code, /** @type {string} */ reason) => {
      disconnect();
      if (this.#usesRequests) this.#retrySocketLater();
      else this.#onLost(code, reason);
    };
    this.#disconnect = disconnect;
    this.#serverError = '';
    const onBlocked = () => {
      this.#level = 1;
      onClose(BLOCKED_CODE, '');
    };
    if (this.#http.isProven) this.#timers.set(' greeting', TIMEOUT, () => onClose(1006, ''));
    else this.#timers.set(' greeting', UNPROVEN_TIMEOUT, onBlocked);
    socket.onclose = (event) => onClose(event.code, event.reason);
    // Where a page's policy forbids the socket, Chromium fires `error` and never `close`.
    socket.onerror = () => this.#timers.set(' blocked', BLOCKED, onBlocked);
    socket.onmessage = (event) => {
      this.#lastMessageAt = now();
      this.#timers.set(' dead');
      const message = parseObject(event.data);
      // A state may have a `type` of its worker's own. It is what has a position.
      if (typeof message?.position === 'string') return this.#onState(message);
      this.#onClock(message?.timestamp);
      if (message?.type === 'connected') {
        this.#timers.set(' greeting');
        this.#stopRequests();
        this.#socket = socket;
        this.#level = 0;
        this.#http.isProven = true;
        this.#credential.accept();
        this.#onOpen();
        for (const id of this.#jobs.keys()) this.#subscribe(id);
        this.#checkAlive();
      } else if (message?.type === 'subscribed') this.#onSubscribed(message.job_id, message.known);
      else if (message?.type === 'token_expiring') this.#renewLater(message.in);
      else if (message?.type === 'error') this.#onError(message);
    };
  }

  /** Pings a connection on which nothing arrives, not even pings, and gives it up if no answer comes. */
  #checkAlive() {
    this.#timers.set(' listen', 2500, () => {
      if (now() - this.#lastMessageAt > TIMEOUT) this.#ping(5000);
      this.#checkAlive();
    });
  }

  /** @param {number} patience in milliseconds */
  #ping(patience) {
    if (this.#timers.has(' dead')) return;
    this.#send({ type: 'ping' });
    this.#timers.set(' dead', patience, () => this.#onLost(1006, ''));
  }

  /** @param {string} id */
  #subscribe(id) {
    const job = this.#jobs.get(id);
    this.#send({ type: 'subscribe', job_id: id, since: job?.since, ...job?.pace });
  }

  /** @param {object} command */
  #send(command) {
    this.#socket?.send(JSON.stringify(command));
  }

  /** @param {string | null | undefined} stamp what the server's clock shows */
  #onClock(stamp) {
    const skew = Date.parse(stamp ?? '') - Date.now();
    if (!(Math.abs(skew - this.#skew) >= MIN_SKEW)) return;
    this.#skew = skew;
    this.notify({ t: 'clock', skew });
  }

  /** @param {State} state */
  #onState(state) {
    const job = this.#jobs.get(state.job_id);
    if (!job) return;
    if (!(compare(job.since, state.position) > 0)) job.since = state.position;
    this.notify({ t: 'state', job: state.job_id, state });
  }

  /**
   * @param {string} id
   * @param {unknown} known
   */
  #onSubscribed(id, known) {
    if (known === false && this.#jobs.has(id)) this.notify({ t: 'unknown', job: id });
  }

  /** @param {{ problem?: string, message?: string, job_id?: string }} message */
  #onError({ problem, message = '', job_id: id = '' }) {
    if (!this.#jobs.has(id)) this.#serverError = message;
    else if (problem === UNREADABLE) this.#onUnreadable(id, message);
    else if (problem === UNKNOWN) this.#onSubscribed(id, false);
    else if (problem === 'forbidden') this.#reject(id, message, 4403);
    else if (/^invalid/.test(problem ?? '')) this.#reject(id, message, 4400);
    // The socket has no room for this job now: it gets requests of its own.
    else this.#request(id);
  }

  /**
   * The server cannot read the job now. The watch goes on.
   * @param {string} id
   * @param {string} reason
   */
  #onUnreadable(id, reason) {
    this.notify({ t: 'unreadable', job: id, reason });
  }

  /**
   * @param {string} id
   * @param {string} reason
   * @param {number} code
   */
  #reject(id, reason, code) {
    this.unwatch(id);
    this.notify({ t: 'rejected', job: id, reason, code });
  }

  /**
   * One job, without a socket.
   * @param {string} id
   */
  async #request(id) {
    const job = this.#jobs.get(id);
    if (!job) return;
    for (;;) {
      const stop = (job.stop = new AbortController());
      const guard = (/** @type {number} */ ms) => this.#timers.set(id, ms, () => stop.abort());
      const isHeld = this.#heldRequests < MAX_HELD;
      this.#heldRequests += Number(isHeld);
      let pause = 0;
      try {
        guard(2 * TIMEOUT);
        if (isHeld && this.#level === 1 && !job.ended) await this.#stream(id, job, stop.signal, guard);
        else pause = await this.#poll(id, job, stop.signal, isHeld);
      } catch (error) {
        const { code, reason = '' } = /** @type {any} */ (error);
        if (job.stop !== stop) return;
        const isOfJob = [4400, 4403].includes(code) || (code === UNAUTHENTICATED && !this.#credential.isRenewable);
        if (isOfJob) return this.#reject(id, reason, code);
        if (!this.#socket) return this.#onLost(code, reason);
        pause = Math.max(5000, parseObject(reason)?.retry_ms || 0);
      } finally {
        this.#heldRequests -= Number(isHeld);
      }
      if (job.stop !== stop) return;
      await new Promise((resolve) => this.#timers.set(id, pause, () => resolve(null)));
    }
  }

  /** @param {string} id */
  #stopRequest(id) {
    const job = this.#jobs.get(id);
    this.#timers.set(id);
    job?.stop?.abort();
    // What is still under way changes nothing any more.
    if (job) job.stop = undefined;
  }

  /**
   * Section 8.
   * @param {string} id
   * @param {Job} job
   * @param {AbortSignal} signal
   * @param {(ms: number) => void} guard
   */
  async #stream(id, job, signal, guard) {
    const query = Object.entries({ since: job.since, ...job.pace }).filter(([, value]) => value);
    const path = `${encodeURIComponent(id)}/events?${new URLSearchParams(/** @type {[string, string][]} */ (query))}`;
    const { body, status } = await this.#http.get(path, signal);
    job.ended = status === 204;
    if (job.ended) return;
    if (status === 404 || !body) throw {};
    // Until a keepalive was seen, how often they come is not known.
    let [reason, gap, lastAt] = ['', 2 * TIMEOUT, now()];
    for await (const events of eventsOf(body)) {
      if (signal.aborted) break;
      for (const fields of events) {
        this.#onOpen();
        const message = parseObject(fields['data']);
        const { event, retry } = fields;
        if (retry) reason = `{"retry_ms":${retry}}`;
        if (!message) gap = Math.max(5000, now() - lastAt);
        else if (event === 'end') job.ended = true;
        else if (event === 'unauthenticated') throw { code: UNAUTHENTICATED, reason: message.detail };
        else if (event === UNREADABLE) this.#onUnreadable(id, message.detail);
        else if (event) this.#onSubscribed(id, event !== UNKNOWN && message.known);
        else this.#onState(message);
      }
      if (job.ended) return;
      lastAt = now();
      guard(3 * gap);
    }
    throw { code: 1012, reason };
  }

  /**
   * Section 9.
   * @param {string} id
   * @param {Job} job
   * @param {AbortSignal} signal
   * @param {boolean} isHeld whether the server may hold the answer until there is message
   * @returns {Promise<number>} how long to wait before the next one, in milliseconds
   */
  async #poll(id, job, signal, isHeld) {
    const began = now();
    // The first request is not held, so that the connection shows as open at once.
    const wait = isHeld && this.#connection === 'open' ? 15 : 0;
    const path = `${encodeURIComponent(id)}?wait=${wait}`;
    const response = await this.#http.get(path, signal, job.since ? { 'if-none-match': `"${job.since}"` } : {});
    const { status } = response;
    const state = status === 200 && (await response.json());
    if (this.#usesRequests) this.#onOpen();
    if (status === 404) this.#onSubscribed(id, false);
    if (state) {
      job.ended = isEnd(state);
      this.#onState(state);
    }
    const pause = isHeld ? 1000 / (job.pace.max_rate ?? 2) : Math.max(2000, 100 * this.#jobs.size);
    return Math.max(pause + began - now(), retryAfter(response));
  }

  #onOpen() {
    this.#failedConnects = 0;
    this.#setConnection('open');
    // A connection that lasts so long ends a row of failures.
    if (!this.#timers.has(' stable')) this.#timers.set(' stable', 5000, () => (this.#failures = 0));
    if (this.#usesRequests) this.#retrySocketLater();
  }

  /** While requests are in use, a socket is tried beside them now and then. */
  #retrySocketLater() {
    if (this.#timers.has(' climb') || this.#disconnect || !globalThis.WebSocket) return;
    this.#timers.set(' climb', 3 * TIMEOUT, () => this.#openSocket());
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #onLost(code, reason) {
    const isMiss = this.#connection !== 'open';
    this.#closeAll();
    if (code === BLOCKED_CODE) return this.#start();
    if (isMiss && code !== UNAUTHENTICATED && ++this.#failedConnects === 2) {
      this.#failedConnects = 0;
      this.#level = (this.#level + 1) % 3;
    }
    const wait = code === UNAUTHENTICATED ? this.#credential.reject() : reconnectDelay(code, reason, this.#failures, Math.random());
    this.#failures += 1;
    if (code === FOREIGN) return this.#setConnection('failed', reason, code);
    if (wait === null) return this.#setConnection('closed', this.#serverError || reason, code);
    this.#retryLater(wait);
  }

  /** @param {number} wait in milliseconds */
  #retryLater(wait) {
    this.#setConnection('connecting');
    this.#timers.set(' retry', wait, () => this.#start());
  }

  #closeAll() {
    this.#timers.stopAll();
    this.#disconnect?.();
    this.#stopRequests();
  }

  #stopRequests() {
    this.#usesRequests = false;
    this.#timers.set(' climb');
    for (const id of this.#jobs.keys()) this.#stopRequest(id);
  }

  /**
   * @param {Connection} connection
   * @param {string} [reason]
   * @param {number} [code]
   */
  #setConnection(connection, reason = '', code = 0) {
    if (connection === this.#connection) return;
    this.#connection = connection;
    this.notify({ t: 'connection', connection, reason, code });
  }
}
