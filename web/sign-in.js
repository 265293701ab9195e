// @ts-check
/** The form that asks for a credential when the server requires one, and the token in a page's address. */

import { credential, keep, tokenInAddress } from './credential.js';
import { byId, write } from './paint.js';

/** Takes a token out of the address: `#token=…`. */
function takeFromAddress() {
  const token = tokenInAddress();
  if (token === null) return;
  keep(token);
  // So that neither the history nor a copied address contains it.
  history.replaceState(history.state, '', location.pathname + location.search);
}

/**
 * Shows the form, with the reason.
 * @param {string} reason the server's
 */
export function askToSignIn(reason) {
  if (document.getElementById('sign-in')) return;
  const main = /** @type {HTMLElement} */ (document.querySelector('main'));
  main.insertAdjacentHTML('afterend', FORM);
  document.body.toggleAttribute('data-signed-out', true);
  write(byId('sign-in-reason'), credential() ? `The server did not accept the token: ${reason}.` : '');
  const field = /** @type {HTMLInputElement} */ (byId('sign-in-token'));
  byId('sign-in').addEventListener('submit', (event) => {
    event.preventDefault();
    keep(field.value.trim());
    location.reload();
  });
  field.focus();
}

const FORM = `
<form class="sign-in" id="sign-in">
  <h2>Sign in</h2>
  <p>This server requires a key or a token.</p>
  <p class="why" id="sign-in-reason"></p>
  <label for="sign-in-token">Key or token</label>
  <div><input type="password" id="sign-in-token" autocomplete="off" spellcheck="false" required maxlength="8192"><button type="submit" class="primary">Sign in</button></div>
  <p class="hint">It stays in this tab, and is forgotten when the tab closes. An operator can create one: <code>milepost token --watch '*' --for 8h</code></p>
</form>`;

/** Takes a token from the address, now and whenever the fragment changes. */
export function start() {
  takeFromAddress();
  addEventListener('hashchange', () => {
    if (!location.hash.startsWith('#token=')) return;
    takeFromAddress();
    location.reload();
  });
}
