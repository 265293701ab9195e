// @ts-check
/** The jobs that a page watches, all over one socket of its own. */

import { home } from './addresses.js';
import { credential } from './credential.js';
import { watch } from './milepost.js';
import { askToSignIn } from './sign-in.js';

/**
 * @typedef {import('./milepost.js').State} State
 * @typedef {import('./milepost.js').Connection} Connection
 *
 * @typedef {object} Listener
 * @property {(state: State) => void} onState each newer than the one before it of the same job
 * @property {(job: string) => void} onUnknown the server has no state of the job (yet), or has forgotten it before it ended
 * @property {(job: string, reason: string) => void} onRefused the job is not watched any more
 * @property {(connection: Connection) => void} onConnection
 */

export class Watches {
  /** @type {Map<string, import('./milepost.js').Watch>} */
  #watches = new Map();
  /** The server's clock less this page's, in milliseconds, as it was last known. */
  #skew = 0;

  /**
   * @param {string} server
   * @param {Listener} listener
   */
  constructor(server, listener) {
    this.server = server;
    this.listener = listener;
  }

  get size() {
    return this.#watches.size;
  }

  /**
   * @param {string} job
   * @param {string | undefined} since the position of the state that is known already
   * @param {{ mode?: 'latest', maxRate: number }} pace
   */
  watch(job, since, pace) {
    this.unwatch(job);
    const isFirst = this.#watches.size === 0;
    const { onState, onUnknown, onRefused, onConnection } = this.listener;
    // For the server that this page came from, and no other.
    const token = this.server === home() ? credential() : '';
    const made = watch(job, {
      url: this.server,
      ...(token ? { token } : {}),
      ...(since ? { since } : {}),
      ...pace,
      // An attempt may follow an end.
      follow: true,
      // What is watched changes with each turn of the wheel: nothing to share with other tabs.
      share: false,
      onState,
      onUnknown: () => onUnknown(job),
      onConnection: (connection) => connection !== 'closed' && onConnection(connection),
      onError: ({ message, code }) => {
        this.#watches.delete(job);
        if (code === 4401 && this.server === home()) askToSignIn(message);
        onRefused(job, message);
      },
    });
    this.#watches.set(job, made);
    // Callbacks get changes only, and an earlier watch may have had another value.
    if (isFirst) onConnection(made.connection);
  }

  /** @param {string} job */
  unwatch(job) {
    this.#watches.get(job)?.close();
    this.#watches.delete(job);
  }

  close() {
    for (const job of [...this.#watches.keys()]) this.unwatch(job);
  }

  /** The server's clock, in milliseconds since 1970. */
  get now() {
    const [first] = this.#watches.values();
    if (first?.connection === 'open') this.#skew = first.serverNow - Date.now();
    return Date.now() + this.#skew;
  }

  /** Tells the clock of an answer over HTTP, which counts until a watch knows better. @param {number} now */
  hear(now) {
    this.#skew = now - Date.now();
  }

  /** Comes back now rather than later: whoever is asked to must believe that the network is there. */
  hurry() {
    dispatchEvent(new Event('online'));
  }
}
