// @ts-check
/** What a job was busy with, one after the other, and for how long; and the declared stages that are still ahead. */

import { stopwatch } from '../durations.js';
import { element } from '../paint.js';
import { moment } from '../times.js';

/**
 * @typedef {import('../milepost.js').Step} Step
 * @typedef {import('./course.js').Leg} Leg
 */

const MOST_LEGS = 40;
const ENDS = ['completed', 'failed', 'cancelled'];

/** @type {WeakMap<HTMLElement, string>} */
const shown = new WeakMap();

/**
 * @param {HTMLElement} list
 * @param {readonly Leg[]} legs the oldest first
 * @param {number} countBefore states that are not kept any more
 * @param {readonly Step[]} steps the stages that the job declares
 */
export function paintTimeline(list, legs, countBefore, steps) {
  const latest = legs.slice(-MOST_LEGS);
  const isCut = countBefore > 0 || latest.length < legs.length;
  const isOver = ENDS.includes(latest.at(-1)?.status ?? '');
  // Of a job that has ended nothing is ahead.
  const rest = isOver ? [] : steps.filter(({ is }) => is === 'skipped' || is === 'ahead');
  const content = JSON.stringify([latest, isCut, rest]);
  if (shown.get(list) === content) return;
  shown.set(list, content);
  const items = latest.map((leg, index) => item(leg, latest[index - 1], index === latest.length - 1, isCut && index === 0));
  list.replaceChildren(...items, ...rest.map(stepItem));
}

/** @param {Step} step */
function stepItem({ label, is }) {
  const made = document.createElement('li');
  made.dataset.step = is;
  const head = element('p', '', 'leg');
  head.append(element('span', label, 'stage'), element('span', is, 'took'));
  made.append(head);
  return made;
}

/**
 * @param {Leg} leg
 * @param {Leg | undefined} before
 * @param {boolean} isLast
 * @param {boolean} isCut whether its beginning is not kept any more
 */
function item(leg, before, isLast, isCut) {
  const made = document.createElement('li');
  const isEnd = ENDS.includes(leg.status);
  made.dataset.status = leg.status;
  made.toggleAttribute('data-now', isLast && !isEnd);
  const percent = (/** @type {number | null} */ share) => (share === null ? '' : `${Math.floor(share * 100)}\u202f%`);
  const time = element('time', moment(leg.begun));
  time.setAttribute('datetime', new Date(leg.begun).toISOString());
  const head = element('p', '', 'leg');
  const took = isEnd ? '' : isLast ? 'now' : stopwatch(leg.left - leg.begun);
  head.append(element('span', leg.stage, 'stage'), element('span', isCut && took !== 'now' && took ? `over ${took}` : took, 'took'));
  const range = [...new Set([percent(leg.from), percent(leg.to)])].filter(Boolean).join(' – ');
  const isNewAttempt = leg.attempt > (before?.attempt ?? 1);
  const foot = element('p', '', 'leg-foot');
  foot.append(isCut ? element('span', `before ${time.textContent}`) : time, element('span', [isNewAttempt ? `attempt ${leg.attempt}` : '', range].filter(Boolean).join(' · ')));
  made.append(head, foot);
  return made;
}
