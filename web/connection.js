// @ts-check
/** Whether news can arrive: the light at the top of a page, and a notice once that takes long. */

import { byId, write } from './paint.js';

/** @typedef {import('./milepost.js').Connection} Connection */

/** A connection that is back sooner than this is no news, and … */
const BLINK = 700;
/** … that is back sooner than this is not worth a notice, in milliseconds. */
const HICCUP = 2500;

const WORDS = { connecting: 'Connecting', open: 'Live', reconnecting: 'Reconnecting', offline: 'Offline', closed: 'Not connected', failed: 'Not a Milepost server' };

export class ConnectionSign {
  /** `closed`: none is wanted. @type {Connection} */
  #connection = 'closed';
  #wasLive = false;
  #lastGood = performance.now();

  /** @param {() => void} retry */
  constructor(retry) {
    byId('retry').addEventListener('click', retry);
    this.paint();
  }

  get isLive() {
    return this.#connection === 'open';
  }

  /** @param {Connection} connection */
  set(connection) {
    if (connection === this.#connection) return;
    if (this.isLive || this.#connection === 'closed') this.#lastGood = performance.now();
    this.#connection = connection;
    this.#wasLive = connection !== 'closed' && (this.#wasLive || this.isLive);
    this.paint();
    if (!this.isLive) setTimeout(() => this.paint(), BLINK);
  }

  /** To be called every second: how long it takes matters. */
  paint() {
    const lasts = performance.now() - this.#lastGood;
    const isWanted = this.#connection !== 'closed';
    if (isWanted && !this.isLive && this.#wasLive && lasts < BLINK) return;
    const shown = this.#connection === 'connecting' && this.#wasLive ? 'reconnecting' : this.#connection;
    byId('connection').dataset.state = shown;
    write(byId('connection-text'), WORDS[shown]);
    document.body.toggleAttribute('data-stale', this.#wasLive && !this.isLive);

    const notice = byId('notice');
    notice.hidden = !isWanted || this.isLive || lasts < HICCUP;
    if (notice.hidden) return;
    const what = shown === 'offline' ? 'You are offline.' : this.#wasLive ? 'Connection lost.' : 'The server does not answer.';
    const known = this.#wasLive ? ' This is what was last known.' : '';
    write(byId('notice-text'), `${what}${known} ${shown === 'offline' ? 'Updates continue when you are online again.' : 'Trying again…'}`);
  }
}
