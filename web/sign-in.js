// @ts-check
/** The form that asks for a credential when the server requires one, and the token in a page's address. */

import { credential, keep, tokenInAddress } from './credential.js';
import { byId, element } from './paint.js';

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
  const { form, field } = buildForm(credential() ? `The server did not accept the token: ${reason}.` : '');
  main.after(form);
  document.body.toggleAttribute('data-signed-out', true);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    keep(field.value.trim());
    location.reload();
  });
  field.focus();
}

/** @param {string} why */
function buildForm(why) {
  const form = element('form', '', 'sign-in');
  form.id = 'sign-in';
  const label = element('label', 'Key or token');
  label.setAttribute('for', 'sign-in-token');
  const field = document.createElement('input');
  Object.assign(field, { id: 'sign-in-token', type: 'password', autocomplete: 'off', spellcheck: false, required: true, maxLength: 8192 });
  const row = document.createElement('div');
  row.append(field, element('button', 'Sign in', 'primary'));
  const hint = element('p', 'It stays in this tab, and is forgotten when the tab closes. An operator can create one: ', 'hint');
  hint.append(element('code', "milepost token --watch '*' --for 8h"));
  form.append(element('h2', 'Sign in'), element('p', 'This server requires a key or a token.'), element('p', why, 'why'), label, row, hint);
  return { form, field };
}

/** Takes a token from the address, now and whenever the fragment changes. */
export function start() {
  takeFromAddress();
  addEventListener('hashchange', () => {
    if (!location.hash.startsWith('#token=')) return;
    takeFromAddress();
    location.reload();
  });
}
