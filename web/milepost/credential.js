// @ts-check
/** A session's token: the one that its page gave, or what the page's function returns whenever one is needed. */

/** The page has so long to supply a token, in milliseconds. */
const PATIENCE = 30_000;
/** A page that was asked no longer ago than this waits a moment before it is asked again, in milliseconds. */
const RECENTLY = 5000;
const MOMENT = 1000;

export class Credential {
  /** Empty: there is none. Null: the page has not been asked yet. @type {string | null} */
  token;
  /** The page is being asked. @type {Promise<void> | null} */
  #asking = null;
  #askedAt = -Infinity;
  /** Connections in a row that were refused for their token. */
  #rejections = 0;

  /** @param {import('./watch.js').Token | null | undefined} given null in a worker, whose name is JSON */
  constructor(given) {
    this.given = given;
    this.token = this.isRenewable ? null : /** @type {string | null | undefined} */ (given) ?? '';
  }

  /** Whether the page can be asked for another one. */
  get isRenewable() {
    return typeof this.given === 'function';
  }

  /** Asks the page, once at a time. */
  ask() {
    if (this.#asking) return this.#asking;
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    this.#askedAt = performance.now();
    const late = new Promise((_, reject) => {
      timer = setTimeout(reject, PATIENCE, new Error('no token came in time'));
    });
    const ask = /** @type {() => unknown} */ (this.given);
    return (this.#asking = Promise.race([late, Promise.resolve().then(ask)])
      .then((token) => {
        this.token = String(token ?? '');
      })
      .finally(() => {
        clearTimeout(timer);
        this.#asking = null;
      }));
  }

  /** The server has let it in. */
  accept() {
    this.#rejections = 0;
  }

  /**
   * The server has refused it.
   * @returns {number | null} after how many milliseconds to come back with another; null: there is none
   */
  reject() {
    if (!this.isRenewable) return null;
    this.token = null;
    // A new one that is refused as well is the page's trouble, not a matter of time.
    if (++this.#rejections > 1) return null;
    return performance.now() - this.#askedAt < RECENTLY ? MOMENT : 0;
  }
}
