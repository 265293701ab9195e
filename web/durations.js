// @ts-check
/** Durations in words. `spec/fixtures/durations.json` has examples, which the command line shows in the same way. */

/** What is no longer ago than this is now, in milliseconds. */
const JUST_NOW = 2000;

/** As people write `4.2` where they live. */
export const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/**
 * How long something has lasted so far, such as silence, in its largest unit: `42 s`, `12 min`, `3 h`, `5 days`.
 * @param {number} ms
 */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} days`;
}

/**
 * How long something took that is over: `762 ms`, `4.2 s`, `42 s`, `1:18`, `2:05:10`, `3 d 4 h`.
 * @param {number} ms
 */
export function stopwatch(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return `${Math.floor(ms)} ms`;
  if (seconds < 60) return `${seconds < 10 ? tenths.format(Math.floor(ms / 100) / 10) : seconds} s`;
  const pad = (/** @type {number} */ figure) => String(figure).padStart(2, '0');
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86_400)];
  if (days >= 1) return `${days} d ${hours % 24} h`;
  return hours ? `${hours}:${pad(minutes % 60)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/**
 * How long ago something was.
 * @param {number} ms
 */
export const ago = (ms) => (ms < JUST_NOW ? 'just now' : `${duration(ms)} ago`);
