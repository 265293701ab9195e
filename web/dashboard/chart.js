// @ts-check
/** Progress over time, drawn; and as a table, for those who do not see it and those who want the figures. */

import { duration, moment } from '../job.js';
import { element, write } from '../paint.js';

/** @typedef {import('./course.js').Sample} Sample */

const HEIGHT = 170;
/** Room for the labels, in pixels. */
const EDGE = { top: 8, right: 8, bottom: 22, left: 44 };
const MOST_ROWS = 100;

/**
 * @param {HTMLElement} box
 * @param {readonly Sample[]} samples the oldest first
 */
export function drawChart(box, samples) {
  const width = Math.max(240, box.clientWidth || 600);
  const begun = samples[0].time;
  const span = Math.max(1000, (samples.at(-1)?.time ?? begun) - begun);
  const x = (/** @type {number} */ time) => EDGE.left + ((time - begun) / span) * (width - EDGE.left - EDGE.right);
  const y = (/** @type {number} */ progress) => EDGE.top + (1 - progress) * (HEIGHT - EDGE.top - EDGE.bottom);

  const picture = shape('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img' });
  picture.setAttribute('aria-label', describe(samples, span));
  for (const share of [0, 0.5, 1]) {
    picture.append(shape('line', { class: 'grid', x1: EDGE.left, x2: width - EDGE.right, y1: y(share), y2: y(share) }));
    picture.append(label(EDGE.left - 8, y(share) + 4, 'end', `${share * 100}\u202f%`));
  }
  picture.append(label(EDGE.left, HEIGHT - 4, 'start', moment(begun)));
  picture.append(label(width - EDGE.right, HEIGHT - 4, 'end', `+${duration(span)}`));

  for (const run of runs(samples)) {
    const points = run.map(({ time, progress }) => `${x(time).toFixed(1)},${y(progress ?? 0).toFixed(1)}`);
    const [first, last] = [run[0], run[run.length - 1]];
    picture.append(shape('path', { class: 'area', d: `M${x(first.time)},${y(0)}L${points.join('L')}L${x(last.time)},${y(0)}Z` }));
    picture.append(shape('polyline', { class: 'line', points: points.join(' ') }));
  }
  samples.forEach((sample, index) => {
    const before = samples[index - 1];
    if (!before || (before.stage === sample.stage && before.attempt === sample.attempt)) return;
    const kind = before.attempt === sample.attempt ? 'change' : 'change attempt';
    picture.append(shape('line', { class: kind, x1: x(sample.time), x2: x(sample.time), y1: y(1), y2: y(0) }));
  });
  const last = samples.filter(({ progress }) => progress !== null).at(-1);
  if (last) picture.append(shape('circle', { class: 'dot-now', cx: x(last.time), cy: y(last.progress ?? 0), r: 4 }));
  box.replaceChildren(picture);
}

/**
 * @param {HTMLElement} body of a table
 * @param {readonly Sample[]} samples
 */
export function fillTable(body, samples) {
  const shown = samples.slice(-MOST_ROWS).reverse();
  while (body.childElementCount > shown.length) body.lastElementChild?.remove();
  while (body.childElementCount < shown.length) {
    const row = document.createElement('tr');
    row.append(element('td', ''), element('td', ''), element('td', ''));
    body.append(row);
  }
  shown.forEach(({ time, progress, stage }, index) => {
    const [when, share, what] = body.children[index].children;
    write(when, moment(time));
    write(share, progress === null ? 'not known' : `${Math.floor(progress * 100)}\u202f%`);
    write(what, stage);
  });
}

/**
 * What one line connects: within an attempt, as long as the progress is known.
 * @param {readonly Sample[]} samples
 */
function runs(samples) {
  /** @type {Sample[][]} */
  const all = [];
  let isOpen = false;
  for (const sample of samples) {
    const run = all.at(-1);
    if (sample.progress === null) isOpen = false;
    else if (isOpen && run && run[0].attempt === sample.attempt) run.push(sample);
    else {
      all.push([sample]);
      isOpen = true;
    }
  }
  return all;
}

/**
 * @param {readonly Sample[]} samples
 * @param {number} span
 */
function describe(samples, span) {
  const known = samples.filter(({ progress }) => progress !== null);
  const percent = (/** @type {Sample | undefined} */ sample) => `${Math.floor((sample?.progress ?? 0) * 100)} %`;
  if (known.length === 0) return 'Progress over time: not known';
  return `Progress over time: from ${percent(known[0])} to ${percent(known.at(-1))} within ${duration(span)}`;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function shape(name, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} anchor
 * @param {string} content
 */
function label(x, y, anchor, content) {
  const made = shape('text', { x, y, 'text-anchor': anchor });
  made.textContent = content;
  return made;
}
