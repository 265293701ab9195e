// @ts-check
/** The buttons by which a person requests something of a job's worker: cancel, pause, resume. */

import { home, jobUrl } from '../addresses.js';
import { request } from '../server.js';
import { write } from '../paint.js';

/** @typedef {import('../job.js').Job} Job */

/** So long the second click on Cancel, which confirms it, is waited for, in milliseconds. */
const CONFIRM = 5000;

export class Requests {
  /** What went wrong with the latest request, or nothing. */
  #fault = '';
  #isSending = false;
  /** Not before it is known. */
  #isAllowed = false;
  #isConfirming = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Record<string, HTMLElement>} parts `actions`, `cancel`, `pause` and `pending`
   * @param {Job} job
   */
  constructor(parts, job) {
    this.parts = parts;
    this.job = job;
    parts.cancel.addEventListener('click', () => this.#onCancel());
    parts.pause.addEventListener('click', () => this.#send(this.#isPaused ? 'resume' : 'pause'));
  }

  get #isPaused() {
    const action = this.job.state?.requested?.action;
    return action === 'pause';
  }

  /** Whether this page's credential may control the job. @param {boolean} is */
  allow(is) {
    this.#isAllowed = is;
  }

  paint() {
    const { parts, job } = this;
    const takesRequests = this.#isAllowed && job.state?.cancellable === true && !job.hasEnded;
    parts.actions.hidden = !takesRequests && !this.#fault;
    const isCancelling = job.state?.requested?.action === 'cancel';
    for (const button of [parts.cancel, parts.pause]) {
      button.hidden = isCancelling || !takesRequests;
      /** @type {HTMLButtonElement} */ (button).disabled = this.#isSending;
    }
    write(parts.pause, this.#isPaused ? 'Resume' : 'Pause');
    write(parts.cancel, this.#isConfirming ? 'Really cancel?' : 'Cancel');
    parts.cancel.classList.toggle('danger', this.#isConfirming);
    const { by, reason } = job.state?.requested ?? {};
    const who = [by && `requested by ${by}`, reason].filter(Boolean).join(': ');
    write(parts.pending, this.#fault || [job.pending, job.pending && who].filter(Boolean).join(' '));
  }

  leave() {
    clearTimeout(this.#timer);
  }

  #onCancel() {
    clearTimeout(this.#timer);
    this.#isConfirming = !this.#isConfirming;
    if (!this.#isConfirming) this.#send('cancel');
    else {
      this.#timer = setTimeout(() => {
        this.#isConfirming = false;
        this.paint();
      }, CONFIRM);
    }
    this.paint();
  }

  /** @param {'cancel' | 'pause' | 'resume'} action */
  async #send(action) {
    this.#isSending = true;
    this.#fault = '';
    this.paint();
    this.#fault = await sendRequest(this.job.id, action);
    this.#isSending = false;
    this.paint();
  }
}

/**
 * Requests something of a job's worker.
 * @param {string} id
 * @param {'cancel' | 'pause' | 'resume'} action
 * @returns {Promise<string>} what went wrong, or nothing
 */
export async function sendRequest(id, action) {
  try {
    const { ok, status, body } = await request(`${jobUrl(home(), id)}/requests`, { method: 'POST', body: JSON.stringify({ action }) });
    // One that may watch the job but not control it gets the answer for an unknown job.
    if (!ok) return status === 403 || status === 404 ? 'You may watch this job, but not control it.' : `Refused: ${body?.detail ?? status}`;
    return '';
  } catch {
    return 'The request did not get through. Try again.';
  }
}

/**
 * Deletes a job.
 * @param {string} id
 * @returns {Promise<string>} what went wrong, or nothing
 */
export async function deleteJob(id) {
  try {
    const { ok, status, body } = await request(jobUrl(home(), id), { method: 'DELETE' });
    // One that may watch the job but not control it gets the answer for an unknown job.
    if (!ok) return status === 403 || status === 404 ? 'You may not delete this job.' : `Refused: ${body?.detail ?? status}`;
    return '';
  } catch {
    return 'The request did not get through. Try again.';
  }
}
