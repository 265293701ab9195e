// @ts-check
/** What the component says, in the language of its page. */

/** @typedef {import('../milepost.js').State} State */
/** @typedef {typeof words} Words */

/** The English texts. `languages.js` has other languages. A text that a page assigns here is used in all languages. */
export const words = {
  waiting: 'Waiting for the job',
  queued: 'Queued',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
  connecting: 'Connecting…',
  reconnecting: 'Reconnecting…',
  offline: 'Offline',
  cancelling: 'Cancelling…',
  pausing: 'Pausing…',
  paused: 'Paused',
  resuming: 'Resuming…',
  result: 'Result',
  unavailable: 'Not available',
  copy: 'Copy',
  lines: 'All {count} lines',
  children: '{count} of {total}',
  left: '{time} left',
  about: 'about {time}',
  below: 'less than {time}',
  longer: 'longer than usual',
  lost: 'Silent for {time}',
  stalled: 'No progress for {time}',
};

const english = { ...words };

/** @type {typeof import('../languages.js').languages} */
let languages = {};
/** @type {Promise<unknown> | undefined} */
let loading;

/** @param {string | undefined} language */
const primary = (language) => language?.split('-')[0] ?? 'en';

/**
 * Without its language, a page is in English.
 * @param {string | undefined} language
 */
export async function loadLanguage(language) {
  if (primary(language) === 'en') return;
  loading ??= import('../languages.js').then((module) => ({ languages } = module), () => {});
  await loading;
}

/**
 * The words of a language.
 * @param {string | undefined} language
 * @returns {Words}
 */
export function wordsOf(language) {
  const own = Object.entries(words).filter(([name, word]) => word !== english[/** @type {keyof Words} */ (name)]);
  return { ...words, ...languages[primary(language)], ...Object.fromEntries(own) };
}

/**
 * @param {string} sentence
 * @param {string} value of what stands in braces in it
 */
export const fill = (sentence, value) => sentence.replace(/\{\w+\}/, () => value);

/**
 * How many of the job's children have ended, if it has any.
 * @param {State | null} state
 * @param {Words} words
 */
export function childCount(state, words) {
  const { expected, completed = 0, failed = 0, cancelled = 0 } = /** @type {Record<string, number>} */ (state?.['children'] ?? {});
  return expected ? words.children.replace('{count}', String(completed + failed + cancelled)).replace('{total}', String(expected)) : '';
}

/**
 * What was requested of the worker and is not done yet, or that it is paused.
 * @param {State | null} state
 * @param {Words} words
 */
export function pending(state, words) {
  const isPaused = state?.['paused'] === true;
  switch (state?.requested?.action) {
    case 'cancel': return words.cancelling;
    case 'pause': return isPaused ? words.paused : words.pausing;
    case 'resume': return isPaused ? words.resuming : '';
    default: return '';
  }
}
