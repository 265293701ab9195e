// @ts-check
/** Why a job failed: the line that names the cause, and all of it on demand. */

import { errorSummary } from '../milepost.js';
import { write } from './parts.js';

/**
 * @param {Record<string, HTMLElement>} parts `error` and `trace`
 * @param {string} error empty: there is none
 * @param {string} shown `summary`, `full` or `hidden`
 * @param {{ lines: string, copy: string }} words
 */
export function paintError({ error: part, trace }, error, shown, words) {
  const [summary, whole, button] = trace?.children ?? [];
  if (!part || !trace || !summary || !whole || !button) return;
  const cause = errorSummary(error);
  part.hidden = !cause || shown === 'hidden';
  write(part, part.hidden ? '' : cause);
  trace.hidden = shown !== 'full' || cause === error.trim();
  write(whole, trace.hidden ? '' : error);
  write(summary, words.lines.replace('{count}', String(error.trim().split('\n').length)));
  write(button, words.copy);
}

/**
 * Copies a part's text. Where a page may not use the clipboard, the text is selected instead.
 * @param {Element | null | undefined} part
 */
export async function copy(part) {
  try {
    await navigator.clipboard.writeText(part?.textContent ?? '');
  } catch {
    if (part) getSelection()?.selectAllChildren(part);
  }
}
