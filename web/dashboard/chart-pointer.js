// @ts-check
/** What a chart says of the place that is pointed at: when that was, how far the job was, and what it was busy with. */

import { element, write } from '../paint.js';
import { moment } from '../times.js';
import { shape } from './shape.js';

/**
 * @typedef {import('./course.js').Sample} Sample
 * @typedef {{ samples: readonly Sample[], x: (time: number) => number, y: (progress: number) => number }} Plot `samples`: those whose
 *   progress is known, the oldest first
 */

/** By the chart's box. `at`: pixels from its left; null: nothing is pointed at. @type {WeakMap<HTMLElement, { plot: Plot, at: number | null }>} */
const pointers = new WeakMap();

/**
 * To be called each time that a chart was drawn: what is pointed at stays pointed at.
 * @param {HTMLElement} box
 * @param {Plot} plot
 */
export function pointAt(box, plot) {
  const pointer = pointers.get(box) ?? { plot, at: null };
  pointer.plot = plot;
  if (!pointers.has(box)) {
    pointers.set(box, pointer);
    const move = (/** @type {number | null} */ at) => {
      pointer.at = at;
      paint(box, pointer.plot, at);
    };
    box.addEventListener('pointermove', ({ clientX }) => move(clientX - box.getBoundingClientRect().left));
    box.addEventListener('pointerleave', () => move(null));
  }
  paint(box, plot, pointer.at);
}

/**
 * @param {HTMLElement} box
 * @param {Plot} plot
 * @param {number | null} at
 */
function paint(box, { samples, x, y }, at) {
  for (const before of box.querySelectorAll('.pointer')) before.remove();
  const picture = box.querySelector('svg');
  if (at === null || !picture || samples.length === 0) return;
  const distance = (/** @type {Sample} */ sample) => Math.abs(x(sample.time) - at);
  // Of several at the same place, the latest.
  const nearest = samples.reduce((best, sample) => (distance(sample) <= distance(best) ? sample : best));
  const { time, progress, stage } = nearest;
  const [left, top] = [x(time), y(progress ?? 0)];
  picture.append(
    shape('line', { class: 'pointer', x1: left, x2: left, y1: y(1), y2: y(0) }),
    shape('circle', { class: 'pointer', cx: left, cy: top, r: 4 }),
  );
  const hint = element('p', '', 'pointer');
  write(hint, [`${Math.floor((progress ?? 0) * 100)}\u202f%`, stage, moment(time)].filter(Boolean).join(' · '));
  hint.dir = 'auto';
  box.append(hint);
  const room = box.clientWidth - hint.offsetWidth;
  hint.style.left = `${Math.max(0, Math.min(room, left - hint.offsetWidth / 2))}px`;
  hint.style.top = `${top > 70 ? top - hint.offsetHeight - 10 : top + 12}px`;
}
