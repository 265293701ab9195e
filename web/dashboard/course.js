// @ts-check
/** The way a job took, as far as it was heard of or is kept by the server. */

import { Job, WORDS, text, timeOf } from '../job.js';

/** @typedef {import('../milepost.js').State} State */
/**
 * @typedef {{ time: number, progress: number | null, stage: string, attempt: number, status: string, epoch: string, number: number }} Sample
 * @typedef {{ stage: string, attempt: number, status: string, begun: number, left: number, from: number | null, to: number | null }} Leg
 * @typedef {{ id: string, label?: string, started_at: string | null, ended_at: string | null, progress_from: number | null, progress_to: number | null }} Stage
 * @typedef {{ states: State[], samples?: [number, number][], stages?: Stage[], attempts?: import('./attempts.js').Attempt[] }} History
 */

/** With more, every other one of the older half goes: the shape of the way stays. */
const MOST = 600;

export class Course {
  /** Those of states, the oldest first. @type {Sample[]} */
  #ofStates = [];
  /** Those of the timeline that the server keeps, of one attempt, the oldest first. @type {Sample[]} */
  #ofTimeline = [];
  /** @type {Set<string>} */
  #known = new Set();

  /** @param {State} state newer than those before */
  add(state) {
    if (this.#known.has(state.position)) return;
    this.#known.add(state.position);
    this.#ofStates.push(sample(state));
    this.#settle(this.#ofStates.length - 1);
    if (this.#ofStates.length > MOST) this.#ofStates = this.#ofStates.filter((_, index) => index % 2 === 0 || index > MOST / 2);
    if (this.#known.size > 4 * MOST) this.#known = new Set([state.position]);
  }

  /** @param {History} history what the server kept from before */
  recall({ states, samples, stages }) {
    this.#recallStates(states);
    const present = states.at(-1);
    if (present && samples && stages) this.#ofTimeline = ofTimeline(present, samples, stages);
  }

  /** The oldest first. @returns {Sample[]} */
  get samples() {
    const attempt = this.#ofTimeline[0]?.attempt;
    if (attempt === undefined) return this.#ofStates;
    const before = this.#ofStates.filter((sample) => sample.attempt < attempt);
    const after = this.#ofStates.slice(before.length);
    const first = after[0]?.time ?? Infinity;
    return [...before, ...this.#ofTimeline.filter(({ time }) => time < first), ...after];
  }

  /** @param {State[]} states the oldest first */
  #recallStates(states) {
    const earlier = states.filter(({ position }) => !this.#known.has(position));
    for (const { position } of earlier) this.#known.add(position);
    const epochs = inOrder(states.map(({ position }) => epochOf(position)), this.#ofStates.map(({ epoch }) => epoch));
    const rank = new Map(epochs.map((epoch, index) => [epoch, index]));
    const rankOf = (/** @type {Sample} */ { epoch }) => rank.get(epoch) ?? 0;
    this.#ofStates = [...earlier.map(sample), ...this.#ofStates].sort((a, b) => rankOf(a) - rankOf(b) || a.number - b.number);
    this.#settle(0);
  }

  /**
   * Makes sense of each sample, from that one on, after the one before it.
   * @param {number} from
   */
  #settle(from) {
    for (let index = Math.max(1, from); index < this.#ofStates.length; index += 1) {
      const [before, sample] = [this.#ofStates[index - 1], this.#ofStates[index]];
      // A worker's clock may be set back. What came later is not shown to be earlier.
      sample.time = Math.max(sample.time, before.time);
      // A failure is reported with 0 by many workers: it happened where the job was.
      const isLost = ['failed', 'cancelled'].includes(sample.status) && !sample.progress;
      if (isLost && before.attempt === sample.attempt) sample.progress = before.progress;
    }
  }

  /** How many states there were before the first that is known. */
  get countBefore() {
    return this.#ofTimeline.length > 0 ? 0 : Math.max(0, (this.#ofStates[0]?.number ?? 1) - 1);
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
  const [epoch, number] = state.position.split('-');
  const time = Date.parse(text(state.ended_at ?? state.last_seen_at)) || timeOf(state) || 0;
  return { time, progress: job.share, stage, attempt: state.attempt, status: state.status, epoch, number: Number(number) };
}

/** @param {string} position */
const epochOf = (position) => position.split('-')[0];

/**
 * The epochs of both, the oldest first: of states that the server kept, and of those that were received. Each has some that the other
 * has not, and nothing but their order says which epoch came first.
 * @param {string[]} kept
 * @param {string[]} received
 */
function inOrder(kept, received) {
  const order = [...new Set(kept)];
  let next = order.length;
  for (const epoch of [...new Set(received)].reverse()) {
    const known = order.indexOf(epoch);
    if (known >= 0) next = known;
    else order.splice(next, 0, epoch);
  }
  return order;
}

/**
 * The samples of an attempt, and where its stages began and ended.
 * @param {State} present
 * @param {[number, number][]} samples
 * @param {Stage[]} stages
 */
function ofTimeline(present, samples, stages) {
  const started = Date.parse(text(present.started_at));
  /** @type {(time: number, progress: number | null, stage: string) => Sample} */
  const made = (time, progress, stage) =>
    sample(/** @type {State} */ ({
      job_id: present.job_id,
      status: 'processing',
      stage,
      progress: progress ?? undefined,
      attempt: present.attempt,
      position: `${epochOf(present.position)}-0`,
      last_seen_at: new Date(time).toISOString(),
    }));
  /** @type {Sample[]} */
  const all = [];
  for (const { id, label, started_at, ended_at, progress_from, progress_to } of stages) {
    const [begun, ended] = [Date.parse(text(started_at)), Date.parse(text(ended_at)) || Infinity];
    const times = samples.map(([seconds, progress]) => /** @type {const} */ ([started + seconds * 1000, progress]));
    const within = times.filter(([time]) => begun < time && time < ended).map(([time, progress]) => made(time, progress, label ?? id));
    all.push(made(begun, progress_from, label ?? id), ...within);
    if (ended < Infinity) all.push(made(ended - 1, progress_to, label ?? id));
  }
  return all;
}
