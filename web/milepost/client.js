// @ts-check
/** A page's watches of one server, and its way to the session that serves them. */

import { SharedSession } from './shared-session.js';
import { sharedName } from './worker.js';

/**
 * @typedef {import('./messages.js').Command} Command
 * @typedef {import('./messages.js').Connection} Connection
 * @typedef {import('./messages.js').Message} Message
 * @typedef {import('./watch.js').Watch} Watch
 */

const IS_PAGE = 'document' in globalThis;
/** This page, among those that share. */
export const PAGE = Math.random().toString(36);

/** A page's watches of one server, and its way to the session. */
export class Client {
  /** @type {Set<Watch>} */
  #watches = new Set();
  /** @type {Connection} */
  connection = 'connecting';
  reason = '';
  code = 0;
  /** The server's clock less this page's, in milliseconds. */
  skew = 0;
  /** @type {((command: Command) => void) | null} */
  #post = null;
  #hasLeft = false;
  /** Lets go of what the page holds for others. @type {(() => void)[]} */
  #releases = [];

  /**
   * @param {string} url
   * @param {import('./watch.js').Token | undefined} token
   * @param {boolean} isShared
   */
  constructor(url, token, isShared) {
    this.url = url;
    this.token = token;
    /** What those who share have in common. */
    this.name = sharedName(url, String(token ?? ''));
    // A function cannot go to a worker, and other tabs may be signed in as somebody else.
    this.isShared = isShared && typeof token !== 'function' && IS_PAGE && navigator.locks;
    this.#join();
    if (!IS_PAGE) return;
    for (const event of ['visibilitychange', 'online', 'offline', 'pageshow']) {
      addEventListener(event, () => {
        if (document.hidden) return;
        if (this.#hasLeft) this.#join();
        else this.#post?.({ t: 'probe' });
        for (const watch of this.#watches) watch.onConnection();
      });
    }
    // A page that is kept for the back button holds nothing meanwhile.
    addEventListener('pagehide', () => this.#leave());
  }

  /** @param {Watch} watch */
  add(watch) {
    this.#watches.add(watch);
    this.#post?.(watch.command('watch'));
  }

  /** @param {Watch} watch */
  delete(watch) {
    this.#watches.delete(watch);
    this.#post?.(watch.command('unwatch'));
  }

  /** @param {Message} message */
  #receive = (message) => {
    if (message.t === 'clock') {
      this.skew = message.skew;
      return;
    }
    if (message.t === 'connection') ({ connection: this.connection, reason: this.reason, code: this.code } = message);
    if (this.connection === 'failed' && message.t === 'connection') console.warn(`milepost: ${this.reason}`);
    for (const watch of this.#watches) {
      if (message.t === 'connection') watch.onConnection();
      else if (message.job === watch.jobId) watch.onMessage(message);
    }
  };

  /**
   * From now on, that is the way.
   * @param {(command: Command) => void} post
   * @param {string} [lock]
   */
  #sendTo(post, lock) {
    this.#post = post;
    post({ t: 'open', lock });
    for (const watch of this.#watches) post(watch.command('watch'));
  }

  #join() {
    this.#hasLeft = false;
    const lock = PAGE + this.name;
    // Others wait for this lock, which is free again as soon as this page is gone.
    if (this.isShared) this.#holdLock(lock, () => this.#shareByWorker(lock));
    else this.#openSession();
  }

  #leave() {
    this.#hasLeft = true;
    this.#post?.({ t: 'bye' });
    this.#post = null;
    for (const release of this.#releases.reverse()) release();
    this.#releases = [];
  }

  /**
   * @param {string} lock
   * @param {() => void} then
   */
  #holdLock(lock, then) {
    const command = new AbortController();
    /** @type {Promise<void>} */
    const held = new Promise((resolve) => {
      this.#releases.push(resolve, () => command.abort());
    });
    navigator.locks.request(lock, { signal: command.signal }, () => (then(), held)).catch((error) => {
      if (error.name !== 'AbortError') this.#openSession();
    });
  }

  #openSession() {
    const host = new SharedSession(this.url, this.token);
    this.#releases.push(() => host.session.close());
    this.#sendTo((command) => host.receive(this.#receive, command));
    return host;
  }

  /**
   * A worker that has the socket for all tabs: this very file, if it is a file of its own and of this origin.
   * @param {string} lock
   */
  #shareByWorker(lock) {
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
        this.#sendTo((command) => port.postMessage(command), lock);
        // The worker holds this one: it has gone, and another is started.
        this.#holdLock(`${this.name} worker`, () => {
          this.#leave();
          this.#join();
        });
      },
      () => releases === this.#releases && this.#shareByElection(lock),
    );
  }

  /**
   * One of the tabs has the socket for all; who it is, a lock decides.
   * @param {string} lock
   */
  #shareByElection(lock) {
    const channel = new BroadcastChannel(this.name);
    /** @type {SharedSession | null} */
    let host = null;
    /** @type {Map<string, (message: Message) => void>} */
    const ports = new Map();
    channel.onmessage = ({ data: { from, to, command, message } }) => {
      if (from && host) {
        const port = ports.get(from) ?? ((/** @type {Message} */ message) => channel.postMessage({ to: from, message }));
        ports.set(from, port);
        if (command.t === 'bye') ports.delete(from);
        host.receive(port, command);
      } else if (to === PAGE) this.#receive(message);
      // A new leader.
      else if (to === '*' && this.#post) this.#sendTo(this.#post, lock);
    };
    this.#releases.push(() => channel.close());
    this.#sendTo((command) => channel.postMessage({ from: PAGE, command }), lock);
    this.#holdLock(this.name, () => {
      host = this.#openSession();
      channel.postMessage({ to: '*' });
    });
  }
}
