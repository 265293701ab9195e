// @ts-check
/** Times, in the locale and the time zone of the person's browser; and whether that person reads how long ago something was, or when. */

import { ago } from './durations.js';

const KEY = 'milepost-times';
const TIME = /** @type {const} */ ({ hour: '2-digit', minute: '2-digit' });
const SECONDS = /** @type {const} */ ({ second: '2-digit' });
const DAY = /** @type {const} */ ({ day: 'numeric', month: 'short' });
const YEAR = /** @type {const} */ ({ year: 'numeric' });

/** They are slow to make, and a log shows hundreds of times. @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/**
 * With the date if it was on another day, and with the year if it was in another one.
 * @param {number} time
 * @param {Intl.DateTimeFormatOptions} ofDay how exact it is
 */
function format(time, ofDay) {
  const [date, today] = [new Date(time), new Date()];
  const isToday = date.toDateString() === today.toDateString();
  const options = { ...ofDay, ...(!isToday && DAY), ...(date.getFullYear() !== today.getFullYear() && YEAR) };
  const name = Object.keys(options).join(' ');
  const made = formats.get(name) ?? new Intl.DateTimeFormat(undefined, options);
  formats.set(name, made);
  return made.format(date);
}

/**
 * A time of day to the second.
 * @param {number} time in milliseconds since 1970
 */
export const moment = (time) => format(time, { ...TIME, ...SECONDS });

/**
 * A time of day to the minute.
 * @param {number | null} time in milliseconds since 1970
 */
export const clock = (time) => (time === null ? '' : format(time, TIME));

let isAbsolute = readKept();
// Its column is wider then.
document.body.toggleAttribute('data-absolute', isAbsolute);

function readKept() {
  try {
    return localStorage.getItem(KEY) === 'absolute';
  } catch {
    // Storage may be disabled.
    return false;
  }
}

/** Shows ages as times from now on, or times as ages. The browser remembers it. */
export function toggleTimes() {
  isAbsolute = !isAbsolute;
  document.body.toggleAttribute('data-absolute', isAbsolute);
  try {
    localStorage.setItem(KEY, isAbsolute ? 'absolute' : 'relative');
  } catch {}
}

/**
 * Writes how long ago something was, or when, as the person wants it; the other one is the element's title.
 * @param {HTMLElement} part
 * @param {number} age in milliseconds
 * @param {number} now the server's clock
 */
export function paintAge(part, age, now) {
  const [relative, absolute] = [ago(age), clock(now - age)];
  const [shown, other] = isAbsolute ? [absolute, relative] : [relative, absolute];
  if (part.textContent !== shown) part.textContent = shown;
  if (part.title !== other) part.title = other;
}
