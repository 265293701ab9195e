// @ts-check
/** Timers by name. */

/** At most one of each name. */
export class Timers {
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */
  #running = {};

  /** @param {string} name */
  has(name) {
    return name in this.#running;
  }

  /**
   * Sets the timer of that name anew, or without `act`, stops it.
   * @param {string} name
   * @param {number} [ms]
   * @param {() => void} [act]
   */
  set(name, ms, act) {
    clearTimeout(this.#running[name]);
    delete this.#running[name];
    if (!act) return;
    this.#running[name] = setTimeout(() => {
      delete this.#running[name];
      act();
    }, ms);
  }

  stopAll() {
    for (const name of Object.keys(this.#running)) this.set(name);
  }
}
