// @ts-check
/**
 * The page at `/embed/{job_id}`: one job's bar, for a frame in another page. Its query may set `label`, `errors`
 * (`summary`, `full`, `hidden`), `stages`, `compact`, `theme` (`light`, `dark`) and `lang`. A token is in the fragment, which no server sees:
 * `/embed/render-7#token=…`.
 */

import './job-progress.js';

// No text becomes a script or markup here (`require-trusted-types-for 'script'`). The one exception is the address of the worker that
// frames and tabs share. `/milepost.js` is for everybody's pages and has to stay small, so the policy is not there.
const WORKER = new URL('milepost.js', import.meta.url).href;
/** Browsers without Trusted Types need no policy. @type {any} */ (globalThis).trustedTypes?.createPolicy('default', {
  /** @param {string} url */
  createScriptURL: (url) => (url === WORKER ? url : null),
});

const query = new URLSearchParams(location.search);
const id = decodeURIComponent(location.pathname.split('/').at(-1) ?? '');
const theme = query.get('theme');
const lang = query.get('lang');
if (theme === 'light' || theme === 'dark') document.documentElement.style.colorScheme = theme;
// In a tab of its own there is no page around it that has a ground.
document.documentElement.classList.toggle('alone', self === top);
if (lang) document.documentElement.lang = lang;
const name = query.get('label') ?? id;
document.title = `${name} – Milepost`;
const heading = document.getElementById('title');
if (heading) heading.textContent = name;

/** @returns {string} empty: there is none */
const token = () => new URLSearchParams(location.hash.slice(1)).get('token') ?? '';

const bar = document.createElement('job-progress');
bar.setAttribute('job', id);
bar.setAttribute('url', new URL('..', location.href.split(/[?#]/)[0]).href);
for (const name of ['label', 'errors', 'stages', 'compact']) {
  const value = query.get(name);
  if (value !== null) bar.setAttribute(name, value);
}
if (token()) bar.setAttribute('token', token());
// The page around it renews the token by another fragment, which loads nothing again.
addEventListener('hashchange', () => bar.setAttribute('token', token()));
document.getElementById('main')?.append(bar);
