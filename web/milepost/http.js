// @ts-check
/** Requests to one server, and whether what answers there is a Milepost server. */

import { retryAfter } from './delay.js';
import { parseObject } from './json.js';

/** In place of a close code: what answers is no Milepost server. */
export const FOREIGN = 4404;

export class Http {
  /** A Milepost server has answered at this address. */
  isProven = false;

  /**
   * @param {string} base
   * @param {import('./credential.js').Credential} credential
   * @param {(date: string | null) => void} onDate what the server's clock shows, with each answer
   */
  constructor(base, credential, onDate) {
    this.base = base;
    this.credential = credential;
    this.onDate = onDate;
  }

  /**
   * Throws an object with a `code`, as a socket's close has, and a `reason`.
   * @param {string} path below `/jobs/`
   * @param {AbortSignal} signal
   * @param {Record<string, string>} [headers]
   */
  async get(path, signal, headers = {}) {
    const { token } = this.credential;
    if (token) headers['authorization'] = `Bearer ${token}`;
    // A token goes to the server that it was given for, and nowhere else.
    const redirect = token ? 'manual' : 'follow';
    const response = await fetch(`${this.base}/jobs/${path}`, { headers, signal, redirect, cache: 'no-store' });
    const { ok, status } = response;
    if (token && (response.type === 'opaqueredirect' || response.headers.has('location'))) {
      throw { code: FOREIGN, reason: `${this.base} redirects; a token is sent to the server itself only` };
    }
    this.#prove(response);
    this.onDate(response.headers.get('date'));
    if (ok || status === 304 || status === 404) {
      this.credential.accept();
      return response;
    }
    const retry = retryAfter(response);
    if (retry) throw { code: 1013, reason: `{"retry_ms":${retry}}` };
    const reason = parseObject(await response.text())?.detail;
    throw { code: [400, 401, 403].includes(status) ? 4000 + status : 1006, reason };
  }

  /**
   * A wrong address often leads to a page, or to another service. Once a Milepost server has answered here, another
   * answer is taken for a passing failure. The error names no job: all watches of a page get the same one.
   * @param {Response} response
   */
  #prove({ ok, status, headers }) {
    const type = headers.get('content-type') ?? '';
    // A 404 for an unknown job has `Retry-After`. One for an unknown path, as below a wrong prefix, has none.
    const isKnown = ok ? /json|event-stream/.test(type) : headers.has('retry-after') && /problem.json/.test(type);
    this.isProven ||= isKnown || status === 204 || status === 304;
    if (this.isProven || !(ok || status === 404)) return;
    throw { code: FOREIGN, reason: `no Milepost server at ${this.base}: ${status} ${type}` };
  }
}
