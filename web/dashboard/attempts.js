// @ts-check
/** A job's attempts, the latest first: how each ended, when, after how long, and with which error. */

import { WORDS, clock, stopwatch, text } from '../job.js';
import { errorSummary } from '../milepost.js';
import { element } from '../paint.js';

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
 */
export function paintAttempts(parts, attempts, state) {
  const earlier = attempts.filter(({ attempt }) => attempt < state.attempt);
  const list = parts.attempts;
  parts['attempts-section'].hidden = state.attempt === 1 || earlier.length === 0;
  const { attempt, status, started_at, ended_at, error } = /** @type {Attempt} */ (/** @type {unknown} */ (state));
  const all = [{ attempt, status, started_at, ended_at, error }, ...[...earlier].reverse()];
  const content = JSON.stringify(all);
  if (shown.get(list) === content) return;
  shown.set(list, content);
  list.replaceChildren(...all.map(item));
}

/** @param {Attempt} attempt */
function item({ attempt, status, started_at, ended_at, error }) {
  const made = document.createElement('li');
  made.dataset.status = status;
  const [started, ended] = [Date.parse(text(started_at)), Date.parse(text(ended_at))];
  const head = element('p', '', 'leg');
  const took = ended >= started ? ` ${status === 'completed' ? 'in' : 'after'} ${stopwatch(ended - started)}` : '';
  head.append(element('span', `Attempt ${attempt}`, 'stage'), element('span', `${WORDS[status] ?? status}${took}`, 'took'));
  made.append(head);
  if (ended || started) made.append(element('p', ended ? `ended ${clock(ended)}` : `began ${clock(started)}`, 'leg-foot'));
  const whole = status === 'failed' ? text(error, Infinity) : '';
  const summary = errorSummary(whole);
  if (summary) {
    const line = element('p', summary, 'attempt-error');
    line.dir = 'auto';
    made.append(line);
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
