// @ts-check
/** Figures in words, as the language of the page writes them. */

import { fill } from './words.js';

/**
 * Never rounded up: 100 % is for what is done.
 * @param {number} progress
 * @param {string | undefined} language
 */
export function percent(progress, language) {
  const format = new Intl.NumberFormat(language, { style: 'percent' });
  return format.format(Math.floor(progress * 100 + 1e-9) / 100);
}

/**
 * @param {string} unit
 * @param {string | undefined} language
 * @returns {Intl.NumberFormat & { formatRange?: (low: number, high: number) => string }}
 */
const whole = (unit, language) => new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits: 0 });

/**
 * @param {import('../milepost.js').Remaining} remaining
 * @param {import('./words.js').Words} words
 * @param {string | undefined} language
 */
export function timeLeft({ kind, low, high, unit }, words, language) {
  if (kind === 'longer') return words.longer;
  const format = whole(unit, language);
  if (kind === 'between' && format.formatRange) return fill(words.left, format.formatRange(low, high));
  return fill(words.left, kind === 'below' ? fill(words.below, format.format(high)) : fill(words.about, format.format(low)));
}

/**
 * @param {number} ms
 * @param {string | undefined} language
 */
export function duration(ms, language) {
  const seconds = Math.max(1, ms / 1000);
  /** @type {[number, string]} */
  const [size, unit] = seconds < 120 ? [1, 'second'] : seconds < 7200 ? [60, 'minute'] : seconds < 172_800 ? [3600, 'hour'] : [86_400, 'day'];
  return whole(unit, language).format(Math.floor(seconds / size));
}
