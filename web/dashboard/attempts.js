// @ts-check
/** A job's attempts, the latest first: how each ended, when, after how long, on which course, and with which error. */

import { stopwatch } from '../durations.js';
import { WORDS, text } from '../job.js';
import { errorSummary } from '../milepost.js';
import { element } from '../paint.js';
import { clock } from '../times.js';
import { sparkline } from './chart.js';

/**
 * As the history has it. The latest attempt's error is that of the state, which may be longer.
 * @typedef {{ attempt: number, status: string, started_at?: string | null, ended_at?: string | null, error?: unknown }} Attempt
 */

/** @type {WeakMap<HTMLElement, string>} */
const shown = new WeakMap();

/**
 * The section is hidden if the first attempt is the only one.
 * @param {Record<string, HTMLElement>} parts
 * @param {readonly Attempt[]} attempts the oldest first
 * @param {import('../milepost.js').State} state the present one, which overrides its attempt's entry
 * @param {readonly import('./course.js').Sample[]} samples of all attempts, as far as they are known
 */
export function paintAttempts(parts, attempts, state, samples) {
  const earlier = attempts.filter(({ attempt }) => attempt < state.attempt);
  const list = parts.attempts;
  parts['attempts-section'].hidden = state.attempt === 1 || earlier.length === 0;
  const { attempt, status, started_at, ended_at, error } = /** @type {Attempt} */ (/** @type {unknown} */ (state));
  const all = [{ attempt, status, started_at, ended_at, error }, ...[...earlier].reverse()];
  // Of the attempt that runs, the chart above is the course.
  const courses = all.map(({ attempt, ended_at }) => (ended_at ? samples.filter((sample) => sample.attempt === attempt) : []));
  const content = JSON.stringify([all, courses.map(({ length }) => length)]);
  if (shown.get(list) === content) return;
  shown.set(list, content);
  list.replaceChildren(...all.map((entry, index) => item(entry, courses[index])));
}

/**
 * @param {Attempt} attempt
 * @param {readonly import('./course.js').Sample[]} course
 */
function item({ attempt, status, started_at, ended_at, error }, course) {
  const made = document.createElement('li');
  made.dataset.status = status;
  const [started, ended] = [Date.parse(text(started_at)), Date.parse(text(ended_at))];
  const head = element('p', '', 'leg');
  const took = ended > started ? ` ${status === 'completed' ? 'in' : 'after'} ${stopwatch(ended - started)}` : '';
  head.append(element('span', `Attempt ${attempt}`, 'stage'), element('span', `${WORDS[status] ?? status}${took}`, 'took'));
  made.append(head);
  if (ended || started) made.append(element('p', ended ? `ended ${clock(ended)}` : `began ${clock(started)}`, 'leg-foot'));
  const line = sparkline(course);
  if (line) made.append(line);
  const whole = status === 'failed' ? text(error, Infinity) : '';
  const summary = errorSummary(whole);
  if (summary) {
    const cause = element('p', summary, 'attempt-error');
    cause.dir = 'auto';
    made.append(cause);
  }
  if (summary !== whole.trim()) made.append(trace(whole));
  return made;
}

/** @param {string} whole */
function trace(whole) {
  const details = document.createElement('details');
  const lines = element('pre', whole);
  lines.tabIndex = 0;
  lines.dir = 'auto';
  details.append(element('summary', `All ${whole.trim().split('\n').length} lines`), lines);
  return details;
}
