// @ts-check
/** How fast a job's progress grows, out of what was heard of it. */

/** What is older says nothing of the rate now, in milliseconds. */
const WINDOW = 30_000;
/** Over less time than this no rate can be told, in milliseconds. */
const SHORTEST = 3_000;
const FEWEST = 3;
const MOST = 64;

export class Pace {
  /** @type {{ at: number, progress: number }[]} */
  #samples = [];

  /**
   * @param {number} at on the clock of `performance.now()`
   * @param {number} progress 0…1
   */
  note(at, progress) {
    const last = this.#samples.at(-1);
    // Set back, it counts from there.
    if (last && progress < last.progress) this.#samples = [];
    this.#samples.push({ at, progress });
    // Every other one of a quick row still spans the same time.
    if (this.#samples.length > MOST) this.#samples = this.#samples.filter((_, index) => index % 2 === 0 || index === MOST);
  }

  /**
   * Progress a second; null if it cannot be told, or is nothing.
   * @param {number} now
   */
  rate(now) {
    const recent = this.#samples.filter(({ at }) => now - at <= WINDOW);
    const first = recent[0];
    const last = recent.at(-1);
    if (!first || !last || recent.length < FEWEST || last.at - first.at < SHORTEST) return null;
    const rate = ((last.progress - first.progress) / (last.at - first.at)) * 1000;
    return rate > 0 ? rate : null;
  }
}
