// @ts-check
/**
 * Watches jobs of a Milepost server: in a browser, in a worker, in Node 20 and later. Nothing to install, nothing
 * to build.
 *
 *     import { watch } from '/milepost.js';
 *     for await (const state of watch('render-7')) bar.value = state.progress ?? 0;
 *
 * All watches of a page share one WebSocket, and so do the tabs of one browser. Where a WebSocket is not possible,
 * server-sent events or polling replace it. A lost connection is made again and resumes where it was. Comments refer
 * to the sections of `spec/README.md`.
 *
 * These sources are bundled into `web/milepost.js` by `node sdks/typescript/bundle.js`.
 */

import { watch as watchJob } from './watch.js';
import { runAsWorker } from './worker.js';

/**
 * @template [Metadata=unknown]
 * @template [Result=unknown]
 * @typedef {import('./state.js').State<Metadata, Result>} State
 */

/**
 * @typedef {import('./state.js').Children} Children
 * @typedef {import('./messages.js').Connection} Connection
 * @typedef {import('./log-watch.js').LogLine} LogLine
 * @typedef {import('./log-watch.js').LogOptions} LogOptions
 * @typedef {import('./log-watch.js').LogPart} LogPart
 * @typedef {import('./outlook.js').Health} Health
 * @typedef {import('./steps.js').Step} Step
 * @typedef {import('./outlook.js').Remaining} Remaining
 * @typedef {import('./watch.js').Token} Token
 * @typedef {import('./watch.js').WatchError} WatchError
 * @typedef {import('./watch.js').WatchOptions} WatchOptions
 */

/**
 * @template [Metadata=unknown]
 * @template [Result=unknown]
 * @typedef {Omit<import('./watch.js').Watch, 'options' | 'client' | 'pace' | 'command' | 'onConnection' | 'onMessage' | 'state' | typeof Symbol.asyncIterator> & {
 *   state: State<Metadata, Result> | null,
 *   [Symbol.asyncIterator](): AsyncGenerator<State<Metadata, Result>, void, unknown>,
 * }} Watch
 */

export { watchLog } from './watch.js';
export { errorSummary } from './error.js';
export { Outlook } from './outlook.js';
export { isEnd } from './state.js';
export { stageLabel, stepsOf } from './steps.js';

/**
 * Watches a job until its end.
 *
 * @template [Metadata=unknown] what the worker sends as metadata
 * @template [Result=unknown] what the worker sends as result
 * @param {string} jobId
 * @param {WatchOptions} [options]
 * @returns {Watch<Metadata, Result>} to be iterated over, or closed
 * @throws {TypeError} if `url` is no URL
 */
export function watch(jobId, options) {
  return /** @type {any} */ (watchJob(jobId, options));
}

runAsWorker();
