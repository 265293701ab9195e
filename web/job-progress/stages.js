// @ts-check
/** The steps of a job, as the attribute `stages` shows them. */

import { stepsOf } from '../milepost.js';

/** Shapes, so that a step does not depend on its colour alone. */
const MARKS = { done: '✓', now: '●', ahead: '○', skipped: '⊘' };

/**
 * A list item for each stage that the job declares.
 * @param {HTMLElement} list
 * @param {import('../milepost.js').State | null} state
 */
export function paintSteps(list, state) {
  const steps = stepsOf(state);
  list.hidden = !steps.length;
  const shown = JSON.stringify([steps, state?.status]);
  if (list.dataset['shown'] === shown) return;
  list.dataset['shown'] = shown;
  list.replaceChildren(...steps.map(({ label, is }) => {
    const item = document.createElement('li');
    const mark = is === 'now' && state?.status === 'failed' ? '✕' : MARKS[is];
    item.textContent = `${mark} ${label}`;
    item.dir = 'auto';
    item.className = is;
    item.setAttribute('part', `step step-${is}`);
    if (is === 'now') item.setAttribute('aria-current', 'step');
    return item;
  }));
}
