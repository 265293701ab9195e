// @ts-check
/**
 * The credential of this server's own pages, which comes from the address's fragment, which browsers do not send, or from the
 * form that appears when the server requires one. The tab keeps it for its session, and sends it to this server only.
 */

const KEY = 'milepost-token';

let memory = '';

/** @returns {string} empty if there is none */
export function credential() {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    // Storage may be disabled.
    return memory;
  }
}

/** @param {string} token */
export function keep(token) {
  memory = token;
  try {
    sessionStorage.setItem(KEY, token);
  } catch {}
}

/** The token in the address, `#token=…`; null: there is none. */
export const tokenInAddress = () => new URLSearchParams(location.hash.slice(1)).get('token');
