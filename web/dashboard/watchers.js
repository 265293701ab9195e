// @ts-check
/** How many watch which job, besides this page: on the instance that it came from. */

import { home } from '../addresses.js';
import { ask } from '../server.js';

/** How often to ask, in milliseconds. */
const EVERY = 3000;
/** So many jobs in one question, as the server allows. */
const MOST = 100;

export class Watchers {
  /** @type {Map<string, number>} */
  #counts = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Counts the starts, so that of two only the later one goes on; 0: it rests. */
  #turn = 0;
  #turns = 0;

  /**
   * @param {object} by
   * @param {() => string[]} by.wanted the jobs that can be seen
   * @param {(id: string) => boolean} by.isOwn whether this page watches it, too
   * @param {() => void} by.changed
   */
  constructor(by) {
    this.by = by;
  }

  start() {
    this.stop();
    const turn = (this.#turn = ++this.#turns);
    const again = async () => {
      if (!document.hidden) await this.#look(turn);
      if (turn === this.#turn) this.#timer = setTimeout(again, EVERY);
    };
    this.#timer = setTimeout(again, 0);
  }

  stop() {
    this.#turn = 0;
    clearTimeout(this.#timer);
  }

  /** Asks soon rather than when it is time: others can be seen now. */
  hurry() {
    if (this.#turn) this.start();
  }

  /** As words: `3`; nothing if nobody else does, or it is not known. @param {string} id */
  of(id) {
    const count = this.#counts.get(id);
    return count ? String(count) : '';
  }

  /** @param {number} turn */
  async #look(turn) {
    const ids = this.by.wanted().slice(0, MOST);
    if (!ids.length) return;
    const own = new Set(ids.filter((id) => this.by.isOwn(id)));
    const answer = await ask(`${home()}/watchers?job_id=${ids.map(encodeURIComponent).join(',')}`).catch(() => null);
    if (turn !== this.#turn) return;
    // Of those that were seen before nothing is remembered: what was, says nothing of now.
    this.#counts.clear();
    if (answer?.ok) for (const [id, count] of Object.entries(answer.body.watchers)) this.#counts.set(id, Math.max(0, count - Number(own.has(id))));
    this.by.changed();
  }
}
