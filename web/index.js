// @ts-check
/** The page at `/`: every job that the server knows, live; with `?job=…`, one of them large. */

import { home } from './addresses.js';
import { ConnectionSign } from './connection.js';
import { JobPage } from './dashboard/job-page.js';
import { ListView } from './dashboard/list.js';
import { paintFavicon } from './favicon.js';
import { byId } from './paint.js';
import * as signIn from './sign-in.js';
import { Watches } from './watches.js';

/**
 * What a view has of the page that it is on.
 * @typedef {{ watches: Watches, sign: ConnectionSign, paintSoon: () => void }} Page
 * @typedef {ListView | JobPage} View
 */

signIn.start();
const main = byId('main');
const sign = new ConnectionSign(() => {
  watches.hurry();
  view?.retry();
});
/** @type {View | null} */
let view = null;
const watches = new Watches(home(), {
  onState: (state) => view?.onState(state),
  onUnknown: (job) => view?.onUnknown(job),
  onRefused: (job, reason) => view?.onRefused(job, reason),
  onConnection: (connection) => {
    const wasLive = sign.isLive;
    sign.set(connection);
    if (sign.isLive && !wasLive) view?.onLive();
  },
});
const page = { watches, sign, paintSoon };
const list = new ListView(page);
history.scrollRestoration = 'manual';
show();

/** Shows what the page's address says. */
function show() {
  const id = new URL(location.href).searchParams.get('job');
  const isFirst = view === null;
  view?.leave();
  view = id === null ? list : new JobPage(page, id);
  main.replaceChildren(view.root);
  main.className = id === null ? 'wide' : 'wide one-job';
  for (const link of document.querySelectorAll('.pages a')) {
    if (link.getAttribute('href') === './') link.toggleAttribute('aria-current', false);
  }
  if (id === null) document.querySelector('.pages a')?.setAttribute('aria-current', 'page');
  view.enter();
  paintTab();
  if (!isFirst) view.focus();
}

/** Where the list was left: its search and its filter. */
let listAddress = './';

// A job's page and the list are one document, so that who goes back finds the list as it was.
document.addEventListener('click', (event) => {
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || to.pathname !== location.pathname || link.target) return;
  event.preventDefault();
  view?.rememberScroll();
  if (view === list) listAddress = location.href;
  const isBack = link.dataset.part === 'back';
  history.pushState(null, '', isBack ? listAddress : to);
  show();
});
addEventListener('popstate', () => {
  view?.rememberScroll();
  show();
});
addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && view instanceof JobPage && !event.defaultPrevented) {
    history.pushState(null, '', listAddress);
    show();
  }
});

setInterval(() => {
  sign.paint();
  view?.tick();
  paintTab();
}, 1000);
document.addEventListener('visibilitychange', () => document.hidden || paintNow());

// Many updates may arrive between two frames. The last one is drawn.
let isPlanned = false;
function paintSoon() {
  if (isPlanned) return;
  isPlanned = true;
  // A hidden page gets no animation frames, but its title is seen.
  if (document.hidden) setTimeout(paintNow, 500);
  else requestAnimationFrame(paintNow);
}

/** What is seen of a page that is not looked at. */
function paintTab() {
  if (!view) return;
  document.title = view.title;
  const [tone, share] = view.icon;
  paintFavicon(tone, share);
}

function paintNow() {
  isPlanned = false;
  view?.paint();
  paintTab();
}
