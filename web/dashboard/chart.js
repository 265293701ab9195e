// @ts-check
/** Progress over time, drawn; and as a table, for those who do not see it and those who want the figures. */

import { duration } from '../durations.js';
import { element, write } from '../paint.js';
import { moment } from '../times.js';
import { pointAt } from './chart-pointer.js';
import { shape } from './shape.js';

/** @typedef {import('./course.js').Sample} Sample */

const HEIGHT = 190;
/** Room for the labels, in pixels. */
const EDGE = { top: 24, right: 8, bottom: 22, left: 44 };
const MOST_ROWS = 100;
/** How wide a letter of a label is at most, and how little of a stage's name is still of use, in pixels. */
const LETTER = 6.5;
const LEAST_LABEL = 30;

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
  const changes = samples.filter((sample, index) => isChange(samples[index - 1], sample));
  changes.forEach((sample, index) => {
    const [from, to] = [x(sample.time), x(changes[index + 1]?.time ?? begun + span)];
    if (index > 0) {
      const kind = changes[index - 1].attempt === sample.attempt ? 'change' : 'change attempt';
      picture.append(shape('line', { class: kind, x1: from, x2: from, y1: EDGE.top - 16, y2: y(0) }));
    }
    if (to - from >= LEAST_LABEL) picture.append(stageLabel(sample.stage, from + 4, to - from - 8));
  });
  const last = samples.filter(({ progress }) => progress !== null).at(-1);
  if (last) picture.append(shape('circle', { class: 'dot-now', cx: x(last.time), cy: y(last.progress ?? 0), r: 4 }));
  box.replaceChildren(picture);
  pointAt(box, { samples: samples.filter(({ progress }) => progress !== null), x, y });
}

/**
 * Whether a stage or an attempt begins.
 * @param {Sample | undefined} before
 * @param {Sample} sample
 */
const isChange = (before, sample) => before?.stage !== sample.stage || before.attempt !== sample.attempt;

/**
 * What the job was busy with, above its part of the line; as much of the name as there is room for.
 * @param {string} stage
 * @param {number} left
 * @param {number} room
 */
function stageLabel(stage, left, room) {
  const letters = [...stage];
  const most = Math.floor(room / LETTER);
  const made = label(left, EDGE.top - 7, 'start', letters.length > most ? `${letters.slice(0, Math.max(1, most - 1)).join('')}…` : stage);
  made.setAttribute('class', 'stage-label');
  const whole = shape('title', {});
  whole.textContent = stage;
  made.append(whole);
  return made;
}

/**
 * The same without words, for an attempt in a list. Nothing: too little is known of it.
 * @param {readonly Sample[]} samples of the attempt, the oldest first
 */
export function sparkline(samples) {
  const known = samples.filter(({ progress }) => progress !== null);
  if (known.length < 2) return null;
  const [width, height] = [200, 28];
  const begun = known[0].time;
  const span = Math.max(1, (known.at(-1)?.time ?? begun) - begun);
  const points = known.map(({ time, progress }) => `${(((time - begun) / span) * width).toFixed(1)},${(2 + (1 - (progress ?? 0)) * (height - 4)).toFixed(1)}`);
  const picture = shape('svg', { class: 'sparkline', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': describe(samples, span) });
  picture.append(shape('path', { class: 'area', d: `M0,${height}L${points.join('L')}L${width},${height}Z` }), shape('polyline', { class: 'line', points: points.join(' '), 'vector-effect': 'non-scaling-stroke' }));
  return picture;
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
