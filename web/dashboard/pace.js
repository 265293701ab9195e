// @ts-check
/** How fast a job has advanced of late, as its samples show it. */

/** @typedef {import('./course.js').Sample} Sample */

/** With less than this, nothing can be said: as for the server's estimate. */
const LEAST_STEPS = 3;
const LEAST_TIME = 10_000;
const LEAST_GAIN = 0.02;
/** What was longer ago does not count, in milliseconds, … */
const RECENT = 30_000;
/** … nor what is not in this last part of the attempt. */
const LAST_PART = 0.2;

/**
 * Progress a second, 0…1; null: too little is known, or it has not advanced of late.
 * @param {readonly Sample[]} samples the oldest first
 * @returns {number | null}
 */
export function paceOf(samples) {
  const { known, rises } = latest(samples);
  const [first, last] = [known[0], known.at(-1)];
  if (!first || !last || rises < LEAST_STEPS) return null;
  const elapsed = last.time - first.time;
  if (elapsed < LEAST_TIME || last.progress - first.progress < LEAST_GAIN) return null;
  const since = last.time - Math.max(RECENT, elapsed * LAST_PART);
  const from = known.filter(({ time }) => time <= since).at(-1) ?? first;
  return ((last.progress - from.progress) / (last.time - from.time)) * 1000 || null;
}

/**
 * Where the latest attempt was since it was last set back, and how often it advanced.
 * @param {readonly Sample[]} samples
 */
function latest(samples) {
  const attempt = samples.at(-1)?.attempt;
  /** @type {{ time: number, progress: number }[]} */
  let known = [];
  let rises = 0;
  for (const { time, progress, attempt: of, status } of samples) {
    if (of !== attempt || status !== 'processing') continue;
    const before = known.at(-1)?.progress ?? progress;
    if (progress === null || before === null || progress < before) [known, rises] = [[], 0];
    else if (progress > before) rises += 1;
    if (progress !== null) known.push({ time, progress });
  }
  return { known, rises };
}
