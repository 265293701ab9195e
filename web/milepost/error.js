// @ts-check
/** What a person reads first of a job's error. */

/** A summary is one line, of at most so many characters. */
const MAX_SUMMARY = 300;

/**
 * The line of an error that names its cause: the last one that is not indented. A Python traceback ends with it, and
 * the frames of a JavaScript or Java stack are indented below it.
 *
 * @param {unknown} error
 * @returns {string} empty if there is no error
 */
export function errorSummary(error) {
  const lines = typeof error === 'string' ? error.split(/\r?\n|\r/).filter((line) => line.trim()) : [];
  const line = (lines.filter((each) => !/^\s/.test(each)).at(-1) ?? lines.at(-1) ?? '').trim();
  return line.length > MAX_SUMMARY ? `${line.slice(0, MAX_SUMMARY)}…` : line;
}
