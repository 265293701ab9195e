// @ts-check
/** A job's state as the server sends it, and what can be read from it alone. */

/**
 * A job as the updates so far make it: a union on `status`. Fields that a worker adds pass through.
 * @template [Metadata=unknown]
 * @template [Result=unknown]
 * @typedef {Known<Metadata> & { [field: string]: unknown } & (Unended | Completed<Result> | Failed | Cancelled)} State
 */

/**
 * @typedef {{ status: 'queued' | 'processing', result?: unknown, error?: string }} Unended
 * @typedef {{ status: 'failed', result?: unknown, error?: string }} Failed
 * @typedef {{ status: 'cancelled', result?: unknown, error?: string }} Cancelled
 */

/**
 * @template [Result=unknown]
 * @typedef {{ status: 'completed', result?: Result, error?: string }} Completed
 */

/**
 * @template [Metadata=unknown]
 * @typedef {object} Known
 * @property {string} job_id
 * @property {string} stage
 * @property {number | null} [progress] 0…1; null: the total is not known
 * @property {string} [message]
 * @property {string} timestamp the worker's clock, RFC 3339; without a zone it is UTC
 * @property {Metadata} [metadata]
 * @property {string} [started_at] when the attempt began to run, by the server's clock, RFC 3339
 * @property {number} [paused_seconds] for how long the attempt was paused, up to the end of its latest pause
 * @property {string} [paused_at] since when the attempt is paused, by the server's clock
 * @property {string} [last_seen_at] of a running job: when its worker was last heard of, by the server's clock
 * @property {string} [progressed_at] of a running job: when it last advanced, by the server's clock
 * @property {string} [ended_at] when the attempt ended, by the server's clock
 * @property {'ok' | 'stalled' | 'lost'} [health]
 * @property {unknown} [eta] when the attempt is expected to complete: a text, RFC 3339, unless the worker's own field is something else
 * @property {unknown} [eta_high] when it almost certainly will have completed, likewise
 * @property {'worker' | 'rate' | 'history' | 'both'} [eta_basis] whether the worker said that, or the server computed it from the rate of
 *   the progress, from how long earlier attempts of the same name took, or from both
 * @property {unknown} [name] the kind of job: a text, unless a worker uses the field for something of its own
 * @property {unknown} [tags] words to find the job by: a list of texts, likewise
 * @property {unknown} [cancellable] true: the worker answers requests
 * @property {{ action: 'cancel' | 'pause' | 'resume', at: string, by?: string, reason?: string }} [requested] what was
 *   requested of the worker in this attempt
 * @property {Children} [children] of a job with children: how many there are, and how far
 * @property {number} attempt 1, 2, …
 * @property {string} position where in the job's life this stands, for `since`
 */

/**
 * @typedef {object} Children
 * @property {number} expected how many there are going to be, or are known
 * @property {number} queued
 * @property {number} processing
 * @property {number} completed
 * @property {number} failed
 * @property {number} cancelled
 * @property {number} lost how many have not ended, and are silent or forgotten
 * @property {true} [incomplete] there are more, which are not counted
 * @property {number} [progress] 0…1, if it is the job's progress as well
 */

/** @param {State} state */
export const isEnd = (state) => ['completed', 'failed', 'cancelled'].includes(state.status);

/**
 * How `since` compares with a state at `present` (section 4): below 0: behind; 0: the same; above 0: ahead.
 * NaN is foreign: positions of different epochs cannot be compared.
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
