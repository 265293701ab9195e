// @ts-check
/**
 * Watches jobs of a Milepost server: in a browser, in a worker, in Node 20 and later. Nothing to install, nothing
 * to build.
 *
 *     import { watch } from '/milepost.js';
 *     for await (const state of watch('render-7')) bar.value = state.progress ?? 0;
 *
 * All that a page watches shares one WebSocket, and so do the tabs of one browser. Where a WebSocket cannot be had
 * it is server-sent events, else polling; a lost connection is made again and resumes where it was. The rules are
 * those of Milepost's protocol, to whose sections the comments refer.
 */

/**
 * A job as the updates so far make it; fields that a worker adds pass through.
 * @typedef {Known & { [field: string]: unknown }} State
 *
 * @typedef {object} Known
 * @property {string} job_id
 * @property {'queued' | 'processing' | 'completed' | 'failed' | 'cancelled'} status the last three are ends
 * @property {string} stage
 * @property {number | null} [progress] 0…1; null: the total is not known
 * @property {string} [message]
 * @property {string} timestamp the worker's clock, RFC 3339; without a zone it is UTC
 * @property {unknown} [metadata]
 * @property {unknown} [result]
 * @property {string} [error]
 * @property {number} attempt 1, 2, …
 * @property {string} position where in the job's life this stands, for `since`
 */

/**
 * Whether news can arrive. It says nothing about the job: what was known last stays known.
 * @typedef {'connecting' | 'open' | 'reconnecting' | 'offline' | 'closed'} Connection
 */

/**
 * @typedef {object} WatchOptions
 * @property {string} [url] where the server is; if absent, where the page comes from
 * @property {string} [token] sent as `Authorization: Bearer`, or where a browser cannot, as `?token=`
 * @property {string} [since] a position: states up to it are known already
 * @property {'all' | 'latest'} [mode] `latest`: only the newest state at each moment. Ends are never skipped
 * @property {number} [maxRate] at most so many states a second, 0.01…1000
 * @property {boolean} [follow] go on after an end, for the attempts that may come; otherwise the watch ends there
 * @property {boolean} [share] false: a connection of this page's own, not one shared between tabs
 * @property {AbortSignal} [signal] closes the watch
 * @property {(state: State) => void} [onState] each newer than the one before
 * @property {(connection: Connection) => void} [onConnection]
 * @property {() => void} [onUnknown] the server has no state of the job (yet)
 * @property {(state: State) => void} [onEnd] once for each end, after its `onState`
 * @property {(error: Error) => void} [onError] the server refuses to let this job be watched; the watch is closed
 */

/**
 * @typedef {{ since: string | undefined, pace: Pace, ended?: boolean, stop?: AbortController | undefined }} Job
 * @typedef {{ port: (news: News) => void, pace: Pace }} Sub
 */
/** @typedef {{ mode?: 'all' | 'latest' | undefined, max_rate?: number | undefined }} Pace */

/**
 * What a session tells, and a page is told over a port.
 * @typedef {{ t: 'state', job: string, state: State } | { t: 'unknown', job: string }
 *   | { t: 'refused', job: string, why: string }} JobNews
 * @typedef {JobNews | { t: 'link', link: Connection, why: string }} News
 *
 * What a page asks for.
 * @typedef {{ t: 'watch' | 'unwatch', key: string, job: string, since?: string | undefined, pace: Pace }} WatchWish
 * @typedef {WatchWish | { t: 'open', lock?: string | undefined } | { t: 'probe' } | { t: 'bye' }} Wish
 */

/** How long a connection may take to be made, in milliseconds. */
const PATIENCE = 10_000;
/** So many jobs hold a request of their own where there is no WebSocket: browsers allow six for each host. */
const HELD = 3;
/** No server makes its watchers wait longer, in milliseconds. */
const LONGEST = 600_000;
const IS_PAGE = 'document' in globalThis;
/** This page, among those that share. */
const PAGE = Math.random().toString(36);
let count = 0;
/** Shared between tabs under this name; another for each change of what they say to each other. */
const SHARED = 'milepost-1';

const now = () => performance.now();

/** @param {State} state */
export const isEnd = (state) => ['completed', 'failed', 'cancelled'].includes(state.status);

/**
 * How `since` compares with a state at `present` (section 4): below 0 is behind, 0 current, above 0 ahead.
 * NaN is foreign: across epochs it cannot be said.
 * @param {string | undefined} since
 * @param {string} present
 * @internal
 */
export function compare(since, present) {
  const [epoch, number] = present.split('-');
  const [seenEpoch, seen] = (since ?? '').split('-');
  if (epoch !== seenEpoch || !number || !seen) return NaN;
  // Numbers go up to 2^64, beyond what a JavaScript number holds.
  return seen.length - number.length || (seen < number ? -1 : Number(seen > number));
}

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
  const told = code === 1012 || code === 1013 ? parse(reason)?.retry_ms : undefined;
  if (told >= 0) return Math.min(told, LONGEST);
  return draw * Math.min(30_000, 1000 * 2 ** Math.min(failures, 10));
}

/**
 * One server, any number of jobs, by the best way there is. Begins with the first job, rests after the last one.
 * Every state that arrives is told; who is told sorts out those that are not news.
 * @internal
 */
export class Session {
  /** @type {Map<string, Job>} */
  #jobs = new Map();
  /** 0: WebSocket, 1: server-sent events, 2: polling. */
  #level = 0;
  /** Failures to connect at this level, in a row. */
  #misses = 0;
  #failures = 0;
  /** @type {Connection} */
  #link = 'connecting';
  #fault = '';
  #heard = 0;
  /** What closes the socket that is tried or in use. @type {(() => void) | null} */
  #hangUp = null;
  /** The socket in use. @type {WebSocket | null} */
  #live = null;
  /** Requests are in use. */
  #http = false;
  #holding = 0;
  /** Timers by name, or by job: no job's id has a space. @type {Record<string, ReturnType<typeof setTimeout>>} */
  #timers = {};

  /**
   * @param {string} url
   * @param {string | undefined} token
   * @param {(news: News) => void} tell
   */
  constructor(url, token, tell) {
    this.base = url.replace(/^ws/, 'http').replace(/\/+$/, '');
    this.token = token;
    this.tell = tell;
  }

  /**
   * Watches a job from `since` on; anew, if it is watched already.
   * @param {string} id
   * @param {string | undefined} since
   * @param {Pace} pace
   */
  watch(id, since, pace) {
    this.#halt(id);
    this.#jobs.set(id, { since, pace });
    this.#after(' rest');
    if (this.#live) this.#subscribe(id);
    else if (this.#http) this.#follow(id);
    else if (!this.#hangUp && !this.#timers[' retry']) this.#start();
  }

  /** @param {string} id */
  unwatch(id) {
    this.#halt(id);
    if (!this.#jobs.delete(id)) return;
    this.#send({ type: 'unsubscribe', job_id: id });
    if (!this.#jobs.size) this.#after(' rest', 100, () => this.close());
  }

  /** The network or the page has changed: comes back now rather than later, and doubts a quiet connection. */
  probe() {
    if (this.#live) return this.#ping(3000);
    if (!this.#timers[' retry'] && !this.#http) return;
    this.#misses = this.#failures = this.#level = 0;
    this.#drop();
    this.#start();
  }

  close() {
    this.#jobs.clear();
    this.#drop();
    this.#setLink('connecting');
  }

  #start() {
    this.#after(' retry');
    if (!this.#jobs.size) return;
    // Node 20 has no WebSocket.
    if (!this.#level && !globalThis.WebSocket) this.#level = 1;
    if (!this.#level) return this.#dial();
    this.#http = true;
    for (const id of this.#jobs.keys()) this.#follow(id);
  }

  #dial() {
    const query = new URLSearchParams(this.token && { token: this.token });
    /** @type {WebSocket} */
    let socket;
    try {
      socket = new WebSocket(`${this.base.replace(/^http/, 'ws')}/ws?${query}`);
    } catch (error) {
      return this.#lost(4400, String(error));
    }
    const hangUp = () => {
      this.#after(' greeting');
      socket.onclose = socket.onmessage = null;
      socket.close();
      this.#hangUp = this.#live = null;
    };
    const onClose = (/** @type {number} */ code, /** @type {string} */ reason) => {
      hangUp();
      if (this.#http) this.#climb();
      else this.#lost(code, reason);
    };
    this.#hangUp = hangUp;
    this.#fault = '';
    this.#after(' greeting', PATIENCE, () => onClose(1006, ''));
    socket.onclose = (event) => onClose(event.code, event.reason);
    socket.onmessage = (event) => {
      this.#heard = now();
      this.#after(' dead');
      const message = parse(event.data);
      // A state may have a `type` of its worker's own. It is what has a position.
      if (typeof message?.position === 'string') this.#onState(message);
      else if (message?.type === 'connected') {
        this.#after(' greeting');
        this.#dropRequests();
        this.#live = socket;
        this.#level = 0;
        this.#opened();
        for (const id of this.#jobs.keys()) this.#subscribe(id);
        this.#listen();
      } else if (message?.type === 'subscribed') this.#onKnown(message.job_id, message.known);
      else if (message?.type === 'error') this.#onFault(message);
    };
  }

  /** A connection on which nothing arrives, not even pings, is asked, and given up if it does not answer. */
  #listen() {
    this.#after(' listen', 2500, () => {
      if (now() - this.#heard > PATIENCE) this.#ping(5000);
      this.#listen();
    });
  }

  /** @param {number} patience in milliseconds */
  #ping(patience) {
    if (this.#timers[' dead']) return;
    this.#send({ type: 'ping' });
    this.#after(' dead', patience, () => this.#lost(1006, ''));
  }

  /** @param {string} id */
  #subscribe(id) {
    const job = this.#jobs.get(id);
    this.#send({ type: 'subscribe', job_id: id, since: job?.since, ...job?.pace });
  }

  /** @param {object} command */
  #send(command) {
    this.#live?.send(JSON.stringify(command));
  }

  /** @param {State} state */
  #onState(state) {
    const job = this.#jobs.get(state.job_id);
    if (!job) return;
    if (!(compare(job.since, state.position) > 0)) job.since = state.position;
    this.tell({ t: 'state', job: state.job_id, state });
  }

  /**
   * @param {string} id
   * @param {unknown} known
   */
  #onKnown(id, known) {
    if (known === false && this.#jobs.has(id)) this.tell({ t: 'unknown', job: id });
  }

  /** @param {{ problem?: string, message?: string, job_id?: string }} message */
  #onFault({ problem, message = '', job_id: id = '' }) {
    if (!this.#jobs.has(id)) this.#fault = message;
    else if (/^invalid/.test(problem ?? '')) this.#refuse(id, message);
    // What the socket has no room for now is asked for one by one.
    else this.#follow(id);
  }

  /**
   * @param {string} id
   * @param {string} why
   */
  #refuse(id, why) {
    this.unwatch(id);
    this.tell({ t: 'refused', job: id, why });
  }

  /**
   * One job, without a socket.
   * @param {string} id
   */
  async #follow(id) {
    const job = this.#jobs.get(id);
    if (!job) return;
    for (;;) {
      const stop = (job.stop = new AbortController());
      const guard = (/** @type {number} */ ms) => this.#after(id, ms, () => stop.abort());
      const isHeld = this.#holding < HELD;
      this.#holding += Number(isHeld);
      let pause = 0;
      try {
        guard(2 * PATIENCE);
        if (isHeld && this.#level === 1 && !job.ended) await this.#stream(id, job, stop.signal, guard);
        else pause = await this.#poll(id, job, stop.signal, isHeld);
      } catch (error) {
        const { code, reason = '' } = /** @type {any} */ (error);
        if (job.stop !== stop) return;
        if (code === 4400) return this.#refuse(id, reason);
        if (!this.#live) return this.#lost(code, reason);
        pause = Math.max(5000, parse(reason)?.retry_ms || 0);
      } finally {
        this.#holding -= Number(isHeld);
      }
      if (job.stop !== stop) return;
      await new Promise((resolve) => this.#after(id, pause, () => resolve(null)));
    }
  }

  /** @param {string} id */
  #halt(id) {
    const job = this.#jobs.get(id);
    this.#after(id);
    job?.stop?.abort();
    // What is still under way changes nothing any more.
    if (job) job.stop = undefined;
  }

  /**
   * @param {string} path
   * @param {AbortSignal} signal
   * @param {Record<string, string>} [headers]
   */
  async #get(path, signal, headers = {}) {
    if (this.token) headers['authorization'] = `Bearer ${this.token}`;
    const response = await fetch(`${this.base}/jobs/${path}`, { headers, signal, cache: 'no-store' });
    const { ok, status } = response;
    if (ok || status === 304 || status === 404) return response;
    const retry = retryAfter(response);
    if (retry) throw { code: 1013, reason: `{"retry_ms":${retry}}` };
    const reason = parse(await response.text())?.detail;
    throw { code: [400, 401, 403].includes(status) ? 4400 : 1006, reason };
  }

  /**
   * Section 8. With `fetch`: `EventSource` knows no headers, and Node has none.
   * @param {string} id
   * @param {Job} job
   * @param {AbortSignal} signal
   * @param {(ms: number) => void} guard
   */
  async #stream(id, job, signal, guard) {
    const query = Object.entries({ since: job.since, ...job.pace }).filter(([, value]) => value);
    const path = `${encodeURIComponent(id)}/events?${new URLSearchParams(/** @type {[string, string][]} */ (query))}`;
    const { body, status } = await this.#get(path, signal);
    job.ended = status === 204;
    if (job.ended) return;
    if (status === 404 || !body) throw {};
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    // Until a keepalive was seen, how often they come is not known.
    let [text, reason, gap, heard] = ['', '', 2 * PATIENCE, now()];
    while (!job.ended) {
      const { done, value } = await reader.read();
      if (signal.aborted || done || text.length > 1e7) throw { code: 1012, reason };
      const events = (text + value).split('\n\n');
      text = events.pop() ?? '';
      for (const lines of events) {
        this.#opened();
        // A state is one line. A comment has no name.
        const said = Object.fromEntries(lines.split('\n').map((line) => line.split(/: ?(.*)/)));
        const message = parse(said.data);
        if (said.retry) reason = `{"retry_ms":${said.retry}}`;
        if (!message) gap = Math.max(5000, now() - heard);
        else if (said.event === 'end') job.ended = true;
        else if (said.event) this.#onKnown(id, message.known);
        else this.#onState(message);
      }
      heard = now();
      guard(3 * gap);
    }
  }

  /**
   * Section 9.
   * @param {string} id
   * @param {Job} job
   * @param {AbortSignal} signal
   * @param {boolean} isHeld whether the server may hold the answer until there is news
   * @returns {Promise<number>} how long to wait before the next one, in milliseconds
   */
  async #poll(id, job, signal, isHeld) {
    const began = now();
    // The first answer tells at once that there is a connection.
    const wait = isHeld && this.#link === 'open' ? 15 : 0;
    const path = `${encodeURIComponent(id)}?wait=${wait}`;
    const response = await this.#get(path, signal, job.since ? { 'if-none-match': `"${job.since}"` } : {});
    const { status } = response;
    const state = status === 200 && (await response.json());
    if (this.#http) this.#opened();
    if (status === 404) this.#onKnown(id, false);
    if (state) {
      job.ended = isEnd(state);
      this.#onState(state);
    }
    const pause = isHeld ? 1000 / (job.pace.max_rate ?? 2) : Math.max(2000, 100 * this.#jobs.size);
    return Math.max(pause + began - now(), retryAfter(response));
  }

  #opened() {
    this.#misses = 0;
    this.#setLink('open');
    // A connection that lasts so long ends a row of failures.
    if (!this.#timers[' stable']) this.#after(' stable', 5000, () => (this.#failures = 0));
    if (this.#http) this.#climb();
  }

  /** While requests are in use, a socket is tried beside them now and then. */
  #climb() {
    if (this.#timers[' climb'] || this.#hangUp || !globalThis.WebSocket) return;
    this.#after(' climb', 3 * PATIENCE, () => this.#dial());
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    const isMiss = this.#link !== 'open';
    this.#drop();
    if (isMiss && ++this.#misses === 2) {
      this.#misses = 0;
      this.#level = (this.#level + 1) % 3;
    }
    const wait = reconnectDelay(code, reason, this.#failures, Math.random());
    this.#failures += 1;
    if (wait === null) return this.#setLink('closed', this.#fault || reason);
    this.#setLink('connecting');
    this.#after(' retry', wait, () => this.#start());
  }

  #drop() {
    for (const name of Object.keys(this.#timers)) this.#after(name);
    this.#hangUp?.();
    this.#dropRequests();
  }

  #dropRequests() {
    this.#http = false;
    this.#after(' climb');
    for (const id of this.#jobs.keys()) this.#halt(id);
  }

  /**
   * Sets the timer of that name, or without `act`, stops it.
   * @param {string} name
   * @param {number} [ms]
   * @param {() => void} [act]
   */
  #after(name, ms, act) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
    if (!act) return;
    this.#timers[name] = setTimeout(() => {
      delete this.#timers[name];
      act();
    }, ms);
  }

  /**
   * @param {Connection} link
   * @param {string} [why]
   */
  #setLink(link, why = '') {
    if (link === this.#link) return;
    this.#link = link;
    this.tell({ t: 'link', link, why });
  }
}

/**
 * A session that several pages share. A port is one of them.
 * @internal
 */
export class Host {
  /** By job. @type {Map<string, { subs: Map<string, Sub>, pace: string, last: JobNews | undefined }>} */
  #jobs = new Map();
  /** @type {Set<(news: News) => void>} */
  #ports = new Set();
  /** @type {News} */
  #link = { t: 'link', link: 'connecting', why: '' };

  /**
   * @param {string} url
   * @param {string | undefined} token
   */
  constructor(url, token) {
    this.session = new Session(url, token, (news) => this.#tell(news));
  }

  /**
   * @param {(news: News) => void} port
   * @param {Wish} wish
   */
  receive(port, wish) {
    if (wish.t === 'open') {
      this.#ports.add(port);
      port(this.#link);
      // The page holds this lock as long as it lives.
      if (wish.lock) navigator.locks.request(wish.lock, () => this.#leave(port));
    } else if (wish.t === 'watch') this.#watch(port, wish);
    else if (wish.t === 'unwatch') this.#unwatch(wish.job, wish.key);
    else if (wish.t === 'probe') this.session.probe();
    else this.#leave(port);
  }

  /**
   * @param {(news: News) => void} port
   * @param {WatchWish} wish
   */
  #watch(port, { key, job: id, since, pace }) {
    const job = this.#jobs.get(id) ?? { subs: new Map(), pace: '', last: undefined };
    this.#jobs.set(id, job);
    job.subs.set(key, { port, pace });
    const merged = merge(job.subs);
    const text = JSON.stringify(merged);
    const { last } = job;
    if (last) port(last);
    if (last?.t !== 'state') this.session.watch(id, job.subs.size > 1 ? undefined : since, merged);
    else {
      const { position } = last.state;
      // Who comes with an older position than ours is sent what it missed; to the others that is no news.
      const isBehind = compare(since, position) < 0;
      if (isBehind || job.pace !== text) this.session.watch(id, isBehind ? since : position, merged);
    }
    job.pace = text;
  }

  /**
   * @param {string} id
   * @param {string} key
   */
  #unwatch(id, key) {
    const job = this.#jobs.get(id);
    if (!job?.subs.delete(key) || job.subs.size) return;
    this.#jobs.delete(id);
    this.session.unwatch(id);
  }

  /** @param {(news: News) => void} port */
  #leave(port) {
    this.#ports.delete(port);
    for (const [id, job] of this.#jobs) {
      for (const [key, sub] of job.subs) if (sub.port === port) this.#unwatch(id, key);
    }
  }

  /** @param {News} news */
  #tell(news) {
    let ports = this.#ports;
    if (news.t === 'link') this.#link = news;
    else {
      const job = this.#jobs.get(news.job);
      if (!job) return;
      job.last = news;
      ports = new Set([...job.subs.values()].map((sub) => sub.port));
      if (news.t === 'refused') this.#jobs.delete(news.job);
    }
    for (const port of ports) port(news);
  }
}

/**
 * What satisfies all of them.
 * @param {Map<string, { pace: Pace }>} subs
 * @returns {Pace}
 */
function merge(subs) {
  const paces = [...subs.values()].map((sub) => sub.pace);
  const rates = paces.map((pace) => pace.max_rate ?? Infinity);
  return {
    mode: paces.every((pace) => pace.mode === 'latest') ? 'latest' : undefined,
    max_rate: rates.includes(Infinity) ? undefined : Math.max(...rates),
  };
}

/** A page's watches of one server, and its way to the session. */
class Client {
  /** @type {Set<Watch>} */
  #watches = new Set();
  /** @type {Connection} */
  link = 'connecting';
  why = '';
  /** @type {((wish: Wish) => void) | null} */
  #post = null;
  #isParted = false;
  /** Lets go of what the page holds for others. @type {(() => void)[]} */
  #releases = [];

  /**
   * @param {string} url
   * @param {string | undefined} token
   * @param {boolean} isShared
   */
  constructor(url, token, isShared) {
    this.url = url;
    this.token = token;
    /** What those who share have in common. */
    this.name = JSON.stringify([SHARED, url, token]);
    this.isShared = isShared && IS_PAGE && navigator.locks;
    this.#join();
    if (!IS_PAGE) return;
    for (const event of ['visibilitychange', 'online', 'offline', 'pageshow']) {
      addEventListener(event, () => {
        if (document.hidden) return;
        if (this.#isParted) this.#join();
        else this.#post?.({ t: 'probe' });
        for (const watch of this.#watches) watch.onLink();
      });
    }
    // A page that is kept for the back button holds nothing meanwhile.
    addEventListener('pagehide', () => this.#part());
  }

  /** @param {Watch} watch */
  add(watch) {
    this.#watches.add(watch);
    this.#post?.(watch.wish('watch'));
  }

  /** @param {Watch} watch */
  delete(watch) {
    this.#watches.delete(watch);
    this.#post?.(watch.wish('unwatch'));
  }

  /** @param {News} news */
  #receive = (news) => {
    if (news.t === 'link') ({ link: this.link, why: this.why } = news);
    for (const watch of this.#watches) {
      if (news.t === 'link') watch.onLink();
      else if (news.job === watch.jobId) watch.onNews(news);
    }
  };

  /**
   * From now on, that is the way.
   * @param {(wish: Wish) => void} post
   * @param {string} [lock]
   */
  #use(post, lock) {
    this.#post = post;
    post({ t: 'open', lock });
    for (const watch of this.#watches) post(watch.wish('watch'));
  }

  #join() {
    this.#isParted = false;
    const lock = PAGE + this.name;
    // Others are told of this lock, which is free again as soon as this page is gone.
    if (this.isShared) this.#hold(lock, () => this.#worker(lock));
    else this.#lead();
  }

  #part() {
    this.#isParted = true;
    this.#post?.({ t: 'bye' });
    this.#post = null;
    for (const release of this.#releases.reverse()) release();
    this.#releases = [];
  }

  /**
   * @param {string} lock
   * @param {() => void} then
   */
  #hold(lock, then) {
    const wish = new AbortController();
    /** @type {Promise<void>} */
    const held = new Promise((resolve) => {
      this.#releases.push(resolve, () => wish.abort());
    });
    navigator.locks.request(lock, { signal: wish.signal }, () => (then(), held)).catch((error) => {
      if (error.name !== 'AbortError') this.#lead();
    });
  }

  #lead() {
    const host = new Host(this.url, this.token);
    this.#releases.push(() => host.session.close());
    this.#use((wish) => host.receive(this.#receive, wish));
    return host;
  }

  /**
   * A worker that has the socket for all tabs: this very file, if it is a file of its own and of this origin.
   * @param {string} lock
   */
  #worker(lock) {
    const releases = this.#releases;
    /** @type {Promise<MessagePort>} */
    const found = new Promise((resolve, reject) => {
      const file = new URL(import.meta.url);
      if (file.origin !== location.origin || !file.pathname.endsWith('/milepost.js')) throw file;
      const worker = new SharedWorker(file, { type: 'module', name: this.name });
      worker.onerror = reject;
      setTimeout(reject, 3000);
      worker.port.onmessage = ({ data }) => (data.t === 'hello' ? resolve(worker.port) : this.#receive(data));
    });
    found.then(
      (port) => {
        if (releases !== this.#releases) return;
        this.#use((wish) => port.postMessage(wish), lock);
        // The worker holds this one: it has gone, and another is started.
        this.#hold(`${this.name} worker`, () => {
          this.#part();
          this.#join();
        });
      },
      () => releases === this.#releases && this.#elect(lock),
    );
  }

  /**
   * One of the tabs has the socket for all; who it is, a lock decides.
   * @param {string} lock
   */
  #elect(lock) {
    const channel = new BroadcastChannel(this.name);
    /** @type {Host | null} */
    let host = null;
    /** @type {Map<string, (news: News) => void>} */
    const ports = new Map();
    channel.onmessage = ({ data: { from, to, wish, news } }) => {
      if (from && host) {
        const port = ports.get(from) ?? ((/** @type {News} */ news) => channel.postMessage({ to: from, news }));
        ports.set(from, port);
        if (wish.t === 'bye') ports.delete(from);
        host.receive(port, wish);
      } else if (to === PAGE) this.#receive(news);
      // A new leader.
      else if (to === '*' && this.#post) this.#use(this.#post, lock);
    };
    this.#releases.push(() => channel.close());
    this.#use((wish) => channel.postMessage({ from: PAGE, wish }), lock);
    this.#hold(this.name, () => {
      host = this.#lead();
      channel.postMessage({ to: '*' });
    });
  }
}

/** A job that is watched: its states, as they come. What `watch` returns. */
export class Watch {
  /** The newest state; null: none is known yet. @type {State | null} */
  state = null;
  /** Whether the server has a state of the job; null: it has not said. @type {boolean | null} */
  known = null;
  /** @type {Connection} */
  connection = 'connecting';
  /** Why the watch is closed, if not by its own wish and not by the job's end. @type {Error | null} */
  error = null;
  /** The newest position of each epoch, the latest epoch last. @type {string[]} */
  #seen = [];
  /** The states to be iterated over: any number of ends, and the newest. @type {State[]} */
  #queue = [];
  #wake = () => {};
  #key = `${PAGE} ${++count}`;
  #isOver = false;
  #wasOpen = false;
  #lastEnd = '';

  /**
   * @param {string} jobId
   * @param {WatchOptions} options
   * @param {Client} client
   * @internal
   */
  constructor(jobId, options, client) {
    this.jobId = jobId;
    /** @internal */
    this.options = options;
    /** @internal */
    this.client = client;
    /** @type {Pace} @internal */
    this.pace = { mode: options.mode, max_rate: options.maxRate };
    if (options.since) this.#seen.push(options.since);
    client.add(this);
    this.onLink();
    options.signal?.addEventListener('abort', () => this.close());
    if (options.signal?.aborted) this.close();
  }

  /** The newest position, where another watch could resume. */
  get position() {
    return this.#seen.at(-1);
  }

  /** Ends the watch; its last state stays. */
  close() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.client.delete(this);
    this.onLink();
    this.#wake();
  }

  /** Each state that there was time for, the newest always, every end; done after the job's end. */
  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        const state = this.#queue.shift();
        if (state) yield state;
        else if (this.error) throw this.error;
        else if (this.#isOver) return;
        else await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
      }
    } finally {
      this.close();
    }
  }

  /**
   * @param {WatchWish['t']} t
   * @returns {WatchWish}
   * @internal
   */
  wish(t) {
    return { t, key: this.#key, job: this.jobId, since: this.position, pace: this.pace };
  }

  /** @internal */
  onLink() {
    const { link, why } = this.client;
    if (link === 'closed' && !this.#isOver) return this.#fail(why);
    const isOffline = link !== 'open' && globalThis.navigator?.onLine === false;
    const isBack = link === 'connecting' && this.#wasOpen;
    const connection = this.#isOver ? 'closed' : isOffline ? 'offline' : isBack ? 'reconnecting' : link;
    this.#wasOpen ||= link === 'open';
    if (connection === this.connection) return;
    this.connection = connection;
    call(this.options.onConnection, connection);
  }

  /**
   * @param {JobNews} news
   * @internal
   */
  onNews(news) {
    if (this.#isOver) return;
    if (news.t === 'refused') this.#fail(news.why);
    else if (news.t === 'state') this.#onState(news.state);
    else if (this.known !== false) {
      this.known = false;
      call(this.options.onUnknown);
    }
  }

  /** @param {string} why */
  #fail(why) {
    this.error = new Error(why || 'refused');
    this.close();
    call(this.options.onError, this.error);
  }

  /** @param {State} state */
  #onState(state) {
    const { position } = state;
    if (this.#seen.some((seen) => compare(seen, position) >= 0)) return;
    const others = this.#seen.filter((seen) => isNaN(compare(seen, position)));
    this.#seen = [...others.slice(-3), position];
    this.state = state;
    this.known = true;
    const last = this.#queue.at(-1);
    if (last && !isEnd(last)) this.#queue.pop();
    this.#queue = [...this.#queue.slice(-8), state];
    this.#wake();
    call(this.options.onState, state);
    if (!isEnd(state) || this.#isOver) return;
    // The same end may come again, at another position, from a server that lost its memory.
    const end = `${state.attempt} ${state.status} ${state.timestamp}`;
    if (end !== this.#lastEnd) call(this.options.onEnd, state);
    this.#lastEnd = end;
    if (!this.options.follow) this.close();
  }
}

/**
 * When the server asks to be asked again, in milliseconds, spread so that not all come at once; 0: it does not say.
 * @param {Response} response
 */
const retryAfter = ({ headers }) => Math.min(Number(headers.get('retry-after')) * 1000 * (1 + Math.random()) || 0, LONGEST);

/** By server, token and whether it is shared. @type {Map<string, Client>} */
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
  const key = JSON.stringify([url, options.token, isShared]);
  const client = clients.get(key) ?? new Client(url, options.token, isShared);
  clients.set(key, client);
  return new Watch(jobId, options, client);
}

/**
 * @param {unknown} text
 * @returns {any} an object, or null
 */
function parse(text) {
  try {
    const value = JSON.parse(/** @type {string} */ (text));
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

/**
 * A fault in a page's own code is told as any other, but stops nobody else's news.
 * @template {unknown[]} A
 * @param {((...args: A) => void) | undefined} callback
 * @param {A} args
 */
function call(callback, ...args) {
  try {
    callback?.(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// As the shared worker, whose name says what it is: a port for each page.
const scope = /** @type {any} */ (globalThis);
const [kind, url, token] = parse(scope.name) ?? [];
if (kind === SHARED && scope.SharedWorkerGlobalScope) {
  const host = new Host(url, token);
  /** Holds a lock for its life. @type {Promise<void>} */
  const alive = new Promise((resolve) => {
    navigator.locks.request(`${scope.name} worker`, () => new Promise(() => resolve()));
  });
  scope.onconnect = (/** @type {{ ports: [MessagePort] }} */ { ports: [port] }) => {
    const tell = (/** @type {News | { t: 'hello' }} */ news) => port.postMessage(news);
    port.onmessage = ({ data }) => host.receive(tell, data);
    alive.then(() => tell({ t: 'hello' }));
  };
}
