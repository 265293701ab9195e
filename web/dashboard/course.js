// @ts-check
/** The way a job took, as far as it was heard of or is kept by the server. */

import { Job, WORDS, text, timeOf } from '../job.js';

/** @typedef {import('../milepost.js').State} State */
/**
 * @typedef {{ time: number, progress: number | null, stage: string, attempt: number, status: string, number: number }} Sample
 * @typedef {{ stage: string, attempt: number, status: string, begun: number, left: number, from: number | null, to: number | null }} Leg
 */

/** With more, every other one of the older half goes: the shape of the way stays. */
const MOST = 600;

export class Course {
  /** The oldest first. @type {Sample[]} */
  samples = [];
  /** @type {Set<string>} */
  #known = new Set();

  /** @param {State} state newer than those before */
  add(state) {
    if (this.#known.has(state.position)) return;
    this.#known.add(state.position);
    this.samples.push(sample(state));
    this.#settle(this.samples.length - 1);
    if (this.samples.length > MOST) this.samples = this.samples.filter((_, index) => index % 2 === 0 || index > MOST / 2);
    if (this.#known.size > 4 * MOST) this.#known = new Set([state.position]);
  }

  /** @param {State[]} states those before what was heard, the oldest first */
  recall(states) {
    const earlier = states.filter(({ position }) => !this.#known.has(position));
    for (const { position } of earlier) this.#known.add(position);
    this.samples = [...earlier.map(sample), ...this.samples].sort((a, b) => a.number - b.number);
    this.#settle(0);
  }

  /**
   * Makes sense of each sample, from that one on, after the one before it.
   * @param {number} from
   */
  #settle(from) {
    for (let index = Math.max(1, from); index < this.samples.length; index += 1) {
      const [before, sample] = [this.samples[index - 1], this.samples[index]];
      // A worker's clock may be set back. What came later is not shown to be earlier.
      sample.time = Math.max(sample.time, before.time);
      // A failure is reported with 0 by many workers: it happened where the job was.
      const isLost = ['failed', 'cancelled'].includes(sample.status) && !sample.progress;
      if (isLost && before.attempt === sample.attempt) sample.progress = before.progress;
    }
  }

  /** How many states there were before the first that is known. */
  get countBefore() {
    return Math.max(0, (this.samples[0]?.number ?? 1) - 1);
  }

  /** When the first of them was. It may not have been the job's first: see `countBefore`. @returns {number | null} */
  get begun() {
    return this.samples[0]?.time ?? null;
  }

  /** What it was busy with, one after the other. */
  get legs() {
    /** @type {Leg[]} */
    const legs = [];
    for (const { stage, attempt, status, time, progress } of this.samples) {
      const last = legs.at(-1);
      if (last && last.attempt === attempt) last.left = Math.max(last.left, time);
      if (last && last.stage === stage && last.attempt === attempt && last.status === status) {
        last.to = progress ?? last.to;
      } else {
        legs.push({ stage, attempt, status, begun: time, left: time, from: progress, to: progress });
      }
    }
    return legs;
  }
}

/**
 * @param {State} state
 * @returns {Sample}
 */
function sample(state) {
  const job = new Job(state.job_id);
  job.update(state, 0);
  const stage = job.hasEnded ? job.word : job.stage || WORDS[state.status] || text(state.status);
  const number = Number(state.position.split('-')[1]);
  return { time: timeOf(state) ?? 0, progress: job.share, stage, attempt: state.attempt, status: state.status, number };
}
