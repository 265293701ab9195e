// @ts-check
/**
 * The credential of this server's own pages. It comes from the address's fragment, which no server sees, or from the
 * form that is shown when the server asks for one. The tab keeps it for its session, and sends it to this server only.
 */

import { byId, write } from './paint.js';

const KEY = 'milepost-token';

/** @returns {string} empty: there is none */
export function credential() {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    // A page may be without storage.
    return memory;
  }
}

let memory = '';

/** @param {string} token */
function keep(token) {
  memory = token;
  try {
    sessionStorage.setItem(KEY, token);
  } catch {}
}

/** Takes a token out of the address: `#token=…`. */
function takeFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return;
  keep(token);
  // Neither the history nor a copied address has it.
  history.replaceState(history.state, '', location.pathname + location.search);
}

/**
 * Shows the form, and why.
 * @param {string} reason what the server said
 */
export function askToSignIn(reason) {
  const form = byId('sign-in');
  if (!form.hidden) return;
  form.hidden = false;
  document.body.toggleAttribute('data-signed-out', true);
  write(byId('sign-in-reason'), credential() ? `The server did not accept the token: ${reason}.` : '');
  byId('sign-in-token').focus();
}

/** For a page with the form. */
export function start() {
  takeFromAddress();
  addEventListener('hashchange', () => {
    if (!location.hash.startsWith('#token=')) return;
    takeFromAddress();
    location.reload();
  });
  byId('sign-in').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (byId('sign-in-token'));
    keep(field.value.trim());
    location.reload();
  });
}
