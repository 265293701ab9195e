// @ts-check
/** Asks a person to type a job's id before something happens to that job. */

import { byId, write } from './paint.js';

/** Answers of the dialog's form. */
const YES = 'yes';

/**
 * Opens the dialog `#confirm`. Resolves to true once the id has been typed and the action confirmed.
 * @param {string} jobId
 * @param {string} action what the button does, for example `Report failure`
 * @param {string} consequence what happens to the job then
 * @returns {Promise<boolean>}
 */
export function confirmByTyping(jobId, action, consequence) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'));
  const field = /** @type {HTMLInputElement} */ (byId('confirm-id'));
  const button = /** @type {HTMLButtonElement} */ (byId('confirm-yes'));
  write(byId('confirm-text'), consequence);
  write(byId('confirm-expected'), jobId);
  write(button, action);
  field.value = '';
  button.disabled = true;
  field.oninput = () => (button.disabled = field.value.trim() !== jobId);
  dialog.returnValue = '';
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === YES && field.value.trim() === jobId), { once: true });
  });
}
