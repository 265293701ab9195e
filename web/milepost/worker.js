// @ts-check
/** The shared worker that holds the connection for all tabs. */

import { parseObject } from './json.js';
import { SharedSession } from './shared-session.js';

/**
 * Pages share a connection only with pages that run the same version of this module from the same address: what they
 * send each other has no other version number. The bundler replaces this by a hash of the sources.
 */
const VERSION = '__MILEPOST_VERSION__';

/**
 * The name of all that pages share for a server: worker, channel and locks.
 * @param {string} url
 * @param {string | undefined} token
 */
export const sharedName = (url, token) => JSON.stringify([VERSION, import.meta.url, url, token]);

/** In a shared worker that `Client` started: serves a port for each page. Elsewhere does nothing. */
export function runAsWorker() {
  const scope = /** @type {any} */ (globalThis);
  const [version, , url, token] = parseObject(scope.name) ?? [];
  if (version !== VERSION || !scope.SharedWorkerGlobalScope) return;
  const session = new SharedSession(url, token);
  /** Holds a lock for its life. @type {Promise<void>} */
  const alive = new Promise((resolve) => {
    navigator.locks.request(`${scope.name} worker`, () => new Promise(() => resolve()));
  });
  scope.onconnect = (/** @type {{ ports: [MessagePort] }} */ { ports: [port] }) => {
    const notify = (/** @type {import('./messages.js').Message | { t: 'hello' }} */ message) => port.postMessage(message);
    port.onmessage = ({ data }) => session.receive(notify, data);
    alive.then(() => notify({ t: 'hello' }));
  };
}
