// @ts-check
/** `<job-progress>` and the module below it, in Chromium, with a real server and a network that fails. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { chromium } from 'playwright-core';

import { Front } from './front.js';
import { Server, until } from './server.js';
import { changeStates } from '../site.js';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {import('playwright-core').BrowserContext} */
let context;
/** @type {Server} */
let server;
/** @type {Front} */
let front;
/** @type {string[]} */
let faults = [];

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
  });
});
after(() => browser.close());
beforeEach(async () => {
  server = new Server();
  await server.start();
  front = new Front(server);
  await front.listen();
  context = await browser.newContext();
  faults = [];
});
afterEach(async () => {
  await context.close();
  front.close();
  await server.close();
  assert.deepEqual(faults, []);
});

/**
 * Opens a page of these jobs' elements.
 * @param {string[]} jobs
 * @param {{ head?: string, attributes?: string, prepare?: () => void }} [more]
 */
async function open(jobs, { head = '', attributes = '', prepare } = {}) {
  const elements = jobs.map((job) => `<job-progress job="${job}" ${attributes}></job-progress>`);
  front.pages.set('/page', `<!doctype html><html lang="en"><head><title>Jobs</title>
    <meta name="viewport" content="width=device-width"><style>body { background: Canvas; color: CanvasText }</style>
    ${head}<script type="module" src="/job-progress.js"></script></head>
    <body><main><h1>Jobs</h1>${elements.join('')}</main></body></html>`);
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('crash', () => faults.push('the page crashed'));
  if (prepare) await page.addInitScript(prepare);
  // The events of each element, from the beginning.
  await page.addInitScript(() => {
    // The first document of a tab leaves its window to the next one.
    if ('events' in window) return;
    /** @type {any} */ (window).events = [];
    for (const name of ['job-state', 'job-end', 'job-connection']) {
      addEventListener(name, (event) => {
        const { detail } = /** @type {CustomEvent} */ (event);
        /** @type {any} */ (window).events.push([name, detail.position ?? detail]);
      }, true);
    }
  });
  await page.goto(`${front.url}/page`);
  return page;
}

/**
 * What a person sees of a job, and hears.
 * @param {import('playwright-core').Page} page
 * @param {string} job
 */
function see(page, job) {
  return page.evaluate((job) => {
    const root = document.querySelector(`job-progress[job="${job}"]`)?.shadowRoot;
    const said = (/** @type {string} */ name) => {
      const found = /** @type {HTMLElement | null | undefined} */ (root?.querySelector(name));
      return found && !found.hidden ? (found.textContent ?? '') : '';
    };
    const bar = root?.querySelector('.bar');
    return {
      stage: said('.stage'), message: said('.message'), percent: said('.percent'), outcome: said('.outcome'),
      error: said('.error'), result: said('.result'), aside: said('.aside'), heard: said('.ears'),
      now: bar?.getAttribute('aria-valuenow') ?? null, text: bar?.getAttribute('aria-valuetext') ?? null,
    };
  }, job);
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} job
 * @param {Partial<Awaited<ReturnType<typeof see>>>} expected
 */
async function sees(page, job, expected) {
  /** @type {Awaited<ReturnType<typeof see>> | undefined} */
  let seen;
  try {
    await until(JSON.stringify(expected), async () => {
      seen = await see(page, job);
      return Object.entries(expected).every(([name, value]) => seen?.[/** @type {keyof typeof seen} */ (name)] === value);
    });
  } catch (error) {
    throw new Error(`${error}; but: ${JSON.stringify(seen)}`);
  }
}

/** @param {import('playwright-core').Page} page */
const events = (page) => page.evaluate(() => /** @type {[string, string][]} */ (/** @type {any} */ (window).events));

/** @param {number} count */
const connections = (count) => until(`${count} connections`, async () => (await server.connections()) === count);

test('a job is seen live, from before it begins to its result', async () => {
  const page = await open(['a']);
  await sees(page, 'a', { stage: 'Waiting for the job', now: null, text: null });
  await server.report('a', { stage: 'uploading', progress: null, message: 'At the start' });
  await sees(page, 'a', { stage: 'uploading', message: 'At the start', percent: '', now: null, text: null });
  await server.report('a', { stage: 'rendering', progress: 0.299, message: 'Frame 299' });
  await sees(page, 'a', { stage: 'rendering', percent: '29%', now: '29', text: '29%, rendering', heard: 'rendering, 29%' });
  await server.report('a', { progress: 0.31 });
  await sees(page, 'a', { percent: '31%', message: '', heard: 'rendering, 29%' });
  await server.report('a', { progress: 0.5 });
  await sees(page, 'a', { heard: 'rendering, 50%' });
  await server.report('a', { status: 'completed', result: { video: 'https://example.com/v.mp4', bad: 'javascript:alert(1)' } });
  await sees(page, 'a', { outcome: '✓ Completed', percent: '100%', now: '100', heard: 'a: Completed', result: 'video', stage: '' });
  const links = await page.locator('job-progress a').evaluateAll((all) => all.map((each) => each.getAttribute('href')));
  assert.deepEqual(links, ['https://example.com/v.mp4']);
  assert.equal((await events(page)).filter(([name]) => name === 'job-end').length, 1);
  assert.equal(await page.locator('job-progress').getAttribute('status'), 'completed');
});

test('a failure is named; the next attempt starts at zero', async () => {
  const page = await open(['a']);
  await server.report('a', { progress: 0.8, stage: 'rendering' });
  await sees(page, 'a', { percent: '80%' });
  await server.report('a', { status: 'failed', error: 'Out of memory', message: 'Error: Out of memory' });
  await sees(page, 'a', { outcome: '✕ Failed', error: 'Out of memory', message: '', heard: 'a: Failed. Out of memory', stage: 'rendering' });
  await server.report('a', { attempt: 2, progress: 0.1, stage: 'rendering' });
  await sees(page, 'a', { percent: '10%', outcome: '', error: '' });
  // It jumps back, and glides forwards for as long as the job took for the step.
  const takes = () => page.locator('job-progress .fill').evaluate((fill) => parseFloat(getComputedStyle(fill).transitionDuration));
  assert.equal(await takes(), 0);
  await server.report('a', { progress: 0.2, stage: 'rendering' });
  await sees(page, 'a', { percent: '20%' });
  assert.ok((await takes()) > 0 && (await takes()) <= 2);
  // Many workers report 0 with a failure: the bar stays where it got to.
  await server.report('a', { status: 'failed', progress: 0, error: 'Out of memory' });
  await sees(page, 'a', { outcome: '✕ Failed', percent: '20%', now: '20' });
});

const TRACEBACK = `Traceback (most recent call last):\n${'  File "worker.py", line 7, in step\n    run()\n'.repeat(40)}ValueError: no such table: orders`;
const CAUSE = 'ValueError: no such table: orders';

for (const [errors, expected] of /** @type {const} */ ([['summary', CAUSE], ['full', CAUSE], ['hidden', '']])) {
  test(`errors="${errors}": what is shown of a traceback`, async () => {
    const page = await open(['a'], { attributes: `errors="${errors}"` });
    await server.report('a', { progress: 0.5, stage: 'import' });
    await sees(page, 'a', { percent: '50%' });
    const height = () => page.locator('job-progress').evaluate((each) => each.getBoundingClientRect().height);
    const before = await height();
    await server.report('a', { status: 'failed', error: TRACEBACK, message: `Error: ${TRACEBACK}` });
    await sees(page, 'a', { outcome: '✕ Failed', error: expected, message: '', heard: expected ? `a: Failed. ${CAUSE}` : 'a: Failed' });
    assert.ok((await height()) < before + 60, `${await height()} px`);
    const text = await page.locator('job-progress').evaluate((each) => each.shadowRoot?.textContent ?? '');
    assert.equal(text.includes('worker.py'), errors === 'full');
    if (errors !== 'full') return;
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByText('All 82 lines').click();
    await page.getByRole('button', { name: 'Copy' }).click();
    await until('the copy', async () => (await page.evaluate(() => navigator.clipboard.readText())) === TRACEBACK);
    assert.ok((await height()) < 600, `${await height()} px`);
  });
}

test('a silent worker: its silence replaces the time left', async () => {
  const minutes = 60_000;
  let silent = 0;
  await changeStates(context, () => (silent ? { last_seen_at: new Date(Date.now() - silent).toISOString(), health: undefined } : {}));
  const prepare = () => Reflect.deleteProperty(window, 'SharedWorker');
  const page = await open(['a', 'b'], { prepare });
  const colour = (/** @type {string} */ job) => page.locator(`job-progress[job=${job}] .fill`).evaluate((fill) => getComputedStyle(fill).backgroundColor);
  const after = (/** @type {number} */ left) => new Date(Date.now() + left * minutes).toISOString();
  await server.report('a', { progress: 0.42, eta: after(3), eta_high: after(6) });
  await server.report('b', { progress: null });
  await sees(page, 'a', { aside: '3–6 min left' });
  const before = await colour('a');
  silent = 12 * minutes;
  await server.report('a', { progress: 0.99 });
  await server.report('b', { progress: null, message: 'counting' });
  await sees(page, 'a', { percent: '99%', aside: 'Silent for 12 min' });
  await sees(page, 'b', { message: 'counting', aside: 'Silent for 12 min' });
  assert.equal(await page.locator('job-progress[job=b] .fill').evaluate((fill) => getComputedStyle(fill).animationName), 'none');
  await until('another colour', async () => (await colour('a')) !== before);
  silent = 0;
  await server.report('a', { progress: 0.99, message: 'on again' });
  await sees(page, 'a', { message: 'on again', aside: '' });
  assert.equal(await page.locator('job-progress[job=a]').getAttribute('health'), null);
});

test('it speaks the page’s language; a page’s own words win', async () => {
  await server.report('a', { progress: 0.5, health: 'ok' });
  await server.report('b', { progress: 0.5 });
  await server.report('b', { status: 'failed', error: 'Nein' });
  await server.report('c', { status: 'completed', result: 'https://example.com/a.csv' });
  const own = '<script type="module">import { words } from "/job-progress.js"; words.completed = "Erledigt";</script>';
  const page = await open(['a', 'b', 'c', 'd'], { head: own, prepare: () => addEventListener('DOMContentLoaded', () => (document.documentElement.lang = 'de-AT')) });
  await sees(page, 'b', { outcome: '✕ Fehlgeschlagen' });
  await sees(page, 'c', { outcome: '✓ Erledigt' });
  await sees(page, 'd', { stage: 'Wartet auf den Job' });
  const link = page.locator('job-progress[job="c"] a');
  assert.equal(await link.textContent(), 'Ergebnis');
  for (const job of ['b', 'c']) {
    await page.locator(`job-progress[job="${job}"]`).evaluate((element) => {
      element.setAttribute('lang', 'ar');
      element.setAttribute('errors', 'full');
    });
  }
  await sees(page, 'b', { outcome: '✕ فشلت' });
  await until('the result in Arabic', async () => (await link.textContent()) === 'النتيجة');
});

test('events bubble, compact is one line, slots are shown', async () => {
  await server.report('a', { progress: 0.5, stage: 'rendering', message: 'Frame 1' });
  const page = await open(['a'], { attributes: 'compact' });
  await sees(page, 'a', { stage: 'rendering', percent: '50%' });
  const bubbled = await page.evaluate(() => new Promise((resolve) => {
    document.addEventListener('job-end', (event) => resolve([event.bubbles, event.composed, /** @type {CustomEvent} */ (event).detail.status]));
    const element = document.querySelector('job-progress');
    element?.append(Object.assign(document.createElement('button'), { textContent: 'Details' }));
    element?.append(Object.assign(document.createElement('b'), { slot: 'label', textContent: 'Film' }));
    void fetch('/jobs/a', { method: 'POST', body: '{"status":"completed"}' });
  }));
  assert.deepEqual(bubbled, [true, true, 'completed']);
  const box = await page.locator('job-progress').boundingBox();
  assert.ok(box && box.height < 40, JSON.stringify(box));
  for (const text of ['Details', 'Film']) assert.ok(await page.getByText(text).isVisible(), text);
});

test('trusted types, and a text from right to left', async () => {
  const head = `<meta http-equiv="content-security-policy" content="require-trusted-types-for 'script'; trusted-types 'none'">`;
  await server.report('a', { progress: 0.5, message: 'שלום: 3 קבצים' });
  const page = await open(['a'], { head });
  await sees(page, 'a', { percent: '50%' });
  const direction = await page.locator('job-progress .message').evaluate((part) => getComputedStyle(part).direction);
  assert.equal(direction, 'rtl');
});

test('a page that is loaded again at 50 % shows it at once', async () => {
  const page = await open(['a']);
  await server.report('a', { progress: 0.5, stage: 'rendering', message: 'half' });
  await sees(page, 'a', { percent: '50%' });
  await page.reload();
  await sees(page, 'a', { percent: '50%', stage: 'rendering', message: 'half', heard: '' });
  await server.report('a', { progress: 0.75 });
  await sees(page, 'a', { percent: '75%' });
  assert.equal((await events(page)).filter(([name]) => name === 'job-state').length, 2);
});

for (const signal of /** @type {const} */ (['SIGTERM', 'SIGKILL'])) {
  test(`a server restart by ${signal} keeps the bar`, async () => {
    const page = await open(['a']);
    await server.report('a', { progress: 0.4, stage: 'rendering' });
    await sees(page, 'a', { percent: '40%' });
    await server.stop(signal);
    await sees(page, 'a', { percent: '40%', stage: 'rendering', aside: 'Reconnecting…' });
    await server.start();
    await server.report('a', { progress: 0.6 });
    await sees(page, 'a', { percent: '60%' });
    await server.report('a', { status: 'completed' });
    await sees(page, 'a', { outcome: '✓ Completed' });
    const positions = (await events(page)).filter(([name]) => name === 'job-state').map(([, position]) => position);
    assert.equal(new Set(positions).size, positions.length);
    assert.equal((await events(page)).filter(([name]) => name === 'job-end').length, 1);
  });
}

test('a lost network hides nothing, and missed states follow', async () => {
  const page = await open(['a']);
  await server.report('a', { progress: 0.2, stage: 'rendering' });
  await sees(page, 'a', { percent: '20%' });
  front.cut();
  await context.setOffline(true);
  await sees(page, 'a', { percent: '20%', stage: 'rendering', aside: 'Offline' });
  await server.report('a', { progress: 0.9, stage: 'encoding' });
  await server.report('a', { status: 'failed', error: 'disk full' });
  front.mend();
  await context.setOffline(false);
  await sees(page, 'a', { outcome: '✕ Failed', percent: '90%', error: 'disk full', aside: '' });
  const names = (await events(page)).map(([name, detail]) => (name === 'job-connection' ? detail : name));
  assert.equal(names.filter((name) => name === 'job-end').length, 1);
  assert.ok(names.includes('offline') && names.at(-1) !== 'offline');
});

for (const way of /** @type {const} */ (['a shared worker', 'one of them'])) {
  test(`tabs share one socket by ${way}, and go on without the first`, async () => {
    const prepare = () => Reflect.deleteProperty(window, 'SharedWorker');
    const more = way === 'one of them' ? { prepare } : {};
    const first = await open(['a', 'b'], more);
    await server.report('a', { progress: 0.1 });
    await sees(first, 'a', { percent: '10%' });
    const second = await open(['a', 'c'], more);
    await sees(second, 'a', { percent: '10%' });
    await server.report('a', { progress: 0.3 });
    await server.report('c', { progress: 0.4 });
    await sees(first, 'a', { percent: '30%' });
    await sees(second, 'a', { percent: '30%' });
    await sees(second, 'c', { percent: '40%' });
    await connections(1);
    await first.close();
    await server.report('a', { progress: 0.6 });
    await sees(second, 'a', { percent: '60%' });
    await connections(1);
    const positions = (await events(second)).filter(([name]) => name === 'job-state').map(([, position]) => position);
    assert.equal(new Set(positions).size, positions.length);
    await second.close();
    await connections(0);
  });
}

test('a crashed tab stops no other tab, and leaves no watch', async () => {
  const first = await open(['a']);
  const second = await open(['b']);
  await server.report('a', { progress: 0.1 });
  await server.report('b', { progress: 0.1 });
  await sees(first, 'a', { percent: '10%' });
  await sees(second, 'b', { percent: '10%' });
  first.removeAllListeners('crash');
  const control = await context.newCDPSession(first);
  // Whoever has crashed does not answer.
  void control.send('Page.crash').catch(() => {});
  await until('one job is watched', async () => {
    const response = await fetch(`${server.url}/ws/stats`);
    return (await response.json()).stats.active_jobs === 1;
  });
  await server.report('b', { progress: 0.2 });
  await sees(second, 'b', { percent: '20%' });
  await connections(1);
});

test('eight jobs of a page share one socket', async () => {
  const jobs = ['1', '2', '3', '4', '5', '6', '7', '8'];
  const page = await open(jobs);
  for (const job of jobs) await server.report(job, { progress: Number(job) / 10 });
  for (const job of jobs) await sees(page, job, { percent: `${job}0%` });
  await connections(1);
  for (const job of jobs) await server.report(job, { status: 'completed' });
  for (const job of jobs) await sees(page, job, { outcome: '✓ Completed' });
  const ends = (await events(page)).filter(([name]) => name === 'job-end');
  assert.equal(ends.length, jobs.length);
});

test('an end while the tab was frozen is shown afterwards', async () => {
  const page = await open(['a']);
  await server.report('a', { progress: 0.5, stage: 'rendering' });
  await sees(page, 'a', { percent: '50%' });
  const control = await context.newCDPSession(page);
  await control.send('Page.setWebLifecycleState', { state: 'frozen' });
  await server.report('a', { status: 'completed', result: 'done' });
  front.cut();
  front.mend();
  await control.send('Page.setWebLifecycleState', { state: 'active' });
  await sees(page, 'a', { outcome: '✓ Completed', result: 'done', percent: '100%' });
  assert.equal((await events(page)).filter(([name]) => name === 'job-end').length, 1);
});

test('without WebSocket it streams, without that it polls', async () => {
  // No worker, whose chance could not be loaded: it comes back soon.
  const prepare = () => {
    Reflect.deleteProperty(window, 'SharedWorker');
    Math.random = () => 0.01;
  };
  const page = await open(['1', '2', '3', '4', '5'], { prepare });
  await connections(1);
  const check = async (/** @type {number} */ progress) => {
    for (const job of ['1', '2', '3', '4', '5']) await server.report(job, { progress });
    for (const job of ['1', '2', '3', '4', '5']) await sees(page, job, { percent: `${progress * 100}%` });
  };
  await check(0.1);
  front.block(/^\/ws/);
  await check(0.2);
  await connections(3);
  front.block(/^\/ws|events/);
  await check(0.3);
  await server.report('5', { status: 'completed' });
  await sees(page, '5', { outcome: '✓ Completed' });
  const positions = (await events(page)).filter(([name, position]) => name === 'job-end' && position);
  assert.equal(positions.length, 1);
});

test('a policy forbids WebSockets: requests replace the socket', async () => {
  // In this page, not in a worker, which has a policy of its own. A socket that is waited for would time out after 10 s.
  const prepare = () => {
    Reflect.deleteProperty(window, 'SharedWorker');
    const { setTimeout: real } = window;
    /** @type {any} */ (window).setTimeout = (/** @type {() => void} */ act, /** @type {number} */ ms) => real(act, ms >= 10_000 ? 1e8 : ms);
  };
  await server.report('a', { progress: 0.5 });
  const page = await open(['a'], { head: `<meta http-equiv="content-security-policy" content="connect-src http:">`, prepare });
  await sees(page, 'a', { percent: '50%' });
  await server.report('a', { progress: 0.75 });
  await sees(page, 'a', { percent: '75%' });
});

test('two copies of the module on one origin each have a worker', async () => {
  await server.report('a', { progress: 0.5 });
  const module = await (await fetch(`${server.url}/milepost.js`)).text();
  for (const version of ['v1', 'v2']) front.scripts.set(`/${version}/milepost.js`, module);
  /** @type {import('playwright-core').Page[]} */
  const pages = [];
  for (const version of ['v1', 'v2']) {
    front.pages.set(`/${version}/`, `<!doctype html><title>Copy</title><script type="module">
      import { watch } from './milepost.js';
      watch('a', { url: '/', onState: ({ progress }) => (document.title = String(progress)) });</script>`);
    const page = await context.newPage();
    pages.push(page);
    // Without a worker, tabs would elect one of them by this.
    await page.addInitScript(() => {
      /** @type {any} */ (window).BroadcastChannel = class {
        constructor() {
          document.title = 'no worker';
          throw new Error('no worker');
        }
      };
    });
    await page.goto(`${front.url}/${version}/`);
    await until('a title', async () => /^(0|no)/.test(await page.title()));
    assert.equal(await page.title(), '0.5');
  }
  await connections(2);
});

test('examples of docs/watching.md work in a foreign page', async () => {
  const text = readFileSync(new URL('../../docs/watching.md', import.meta.url), 'utf8');
  const blocks = [...text.matchAll(/^```html\n([^]*?)^```$/gm)].map(([, html]) => html);
  // A frame of another server is for that server's `frame_ancestors`.
  const ours = blocks.filter((html) => !html.startsWith('<iframe'));
  assert.deepEqual([blocks.length, ours.length], [3, 2]);
  front.pages.set('/elsewhere', `<!doctype html><title>Elsewhere</title>${ours.join('').replaceAll('http://localhost:8084', server.url)}`);
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  await page.goto(`${front.url}/elsewhere`);
  const value = () => page.locator('#bar').evaluate((bar) => (bar.hasAttribute('value') ? /** @type {any} */ (bar).value : null));
  await server.report('job_12345', { progress: 0.5, stage: 'rendering' });
  await sees(page, 'job_12345', { percent: '50%', stage: 'rendering' });
  await until('the bar is at half', async () => (await value()) === 0.5);
  await server.report('job_12345', { progress: null });
  await until('the total is not known', async () => (await value()) === null);
  await server.report('job_12345', { status: 'completed' });
  await sees(page, 'job_12345', { outcome: '✓ Completed' });
  await until('the bar is full', async () => (await value()) === 1);
});

test('a request to the worker replaces the time left', async () => {
  await server.report('a', { cancellable: true, progress: 0.5 });
  const page = await open(['a']);
  const request = (/** @type {string} */ action) => fetch(`${server.url}/jobs/a/requests`, { method: 'POST', body: JSON.stringify({ action }) });
  await request('pause');
  await sees(page, 'a', { aside: 'Pausing…' });
  await server.report('a', { progress: 0.5, paused: true });
  await sees(page, 'a', { aside: 'Paused' });
  await request('cancel');
  await sees(page, 'a', { aside: 'Cancelling…' });
  await server.report('a', { status: 'cancelled' });
  await sees(page, 'a', { aside: '', outcome: '⊘ Cancelled' });
});

test('a job that may not be watched says why', async () => {
  const page = await open(['no%20job']);
  const element = page.locator('job-progress');
  await element.evaluate((each) => each.setAttribute('job', 'no job'));
  await sees(page, 'no job', { error: "' ' is not allowed in a job id; allowed are A-Z a-z 0-9 - . _ ~ : @", stage: 'Not available' });
});

test('without a credential, readers are not told how to send one', async () => {
  const key = 'a'.repeat(40);
  const guarded = createServer((_, response) => {
    const headers = { 'content-type': 'application/problem+json', 'access-control-allow-origin': '*', 'access-control-expose-headers': 'retry-after', 'retry-after': '0' };
    response.writeHead(401, headers).end(JSON.stringify({ type: 'urn:milepost:problem:unauthenticated', status: 401, detail: `send a key or a token: ${key}` }));
  });
  await new Promise((resolve) => guarded.listen(0, '127.0.0.1', () => resolve(null)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (guarded.address());
  /** @type {string[]} */
  const warnings = [];
  context.on('console', (message) => message.type() === 'warning' && /milepost/.test(message.text()) && warnings.push(message.text()));
  try {
    const page = await open(['a'], { attributes: `url="http://127.0.0.1:${port}/"` });
    await sees(page, 'a', { stage: 'Not available', error: '', aside: '' });
    await until('a warning for who writes the page', async () => warnings.some((text) => text.includes(`milepost: a: send a key or a token: ${key}`)));
    await page.locator('job-progress').evaluate((each) => each.setAttribute('errors', 'full'));
    await sees(page, 'a', { stage: 'Not available', error: `send a key or a token: ${key}` });
  } finally {
    guarded.closeAllConnections();
    guarded.close();
  }
});

test('an address in a field called `url` is shown as its file', async () => {
  for (const [job, url, shown] of /** @type {const} */ ([
    ['a', 'https://example.com/out/customers.csv?signature=x/y', 'customers.csv'], ['b', 'https://example.com/', 'url'], ['c', 'http://%', '%'],
  ])) {
    await server.report(job, { status: 'completed', result: { url, rows: 7 } });
    const page = await open([job]);
    await sees(page, job, { outcome: '✓ Completed', result: shown });
  }
});

test('another job takes the place of the one before', async () => {
  await server.report('a', { progress: 0.8 });
  await server.report('b', { progress: 0.2 });
  const page = await open(['a']);
  await sees(page, 'a', { percent: '80%' });
  await page.locator('job-progress').evaluate((each) => each.setAttribute('job', 'b'));
  await sees(page, 'b', { percent: '20%' });
  await server.report('a', { progress: 0.9 });
  await server.report('b', { progress: 0.3 });
  await sees(page, 'b', { percent: '30%' });
});

test('nothing is animated for who wants no motion', async () => {
  const page = await open(['a', 'b']);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await server.report('a', { progress: null });
  await server.report('b', { progress: 0.5 });
  await sees(page, 'b', { percent: '50%' });
  await until('the total of the first is not known', () => page.locator('job-progress[job=a] .is-unknown').count());
  const moving = () => page.locator('job-progress .fill').evaluateAll((fills) => fills.map((fill) => {
    const { animationName, transitionProperty, transitionDuration } = getComputedStyle(fill);
    return animationName !== 'none' || (transitionProperty !== 'none' && parseFloat(transitionDuration) > 0);
  }));
  assert.deepEqual(await moving(), [false, false]);
  await page.emulateMedia({ reducedMotion: 'no-preference' });
  assert.equal((await moving())[0], true);
});

test('a dark page that does not say so: all of it can be read', async () => {
  const page = await open(['running', 'failed', 'completed'], { head: '<style>body { background: #101214 !important; color: #eee !important }</style>' });
  await server.report('running', { progress: 0.4, stage: 'rendering', message: 'Frame 40' });
  await server.report('failed', { status: 'failed', error: 'no memory' });
  await server.report('completed', { status: 'completed', result: { video: 'https://example.com/v' }, message: 'All done' });
  await sees(page, 'completed', { outcome: '✓ Completed', result: 'video' });
  await sees(page, 'running', { percent: '40%' });
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const violations = await page.evaluate(async () => {
    const found = await /** @type {any} */ (window).axe.run(document, { runOnly: ['color-contrast'] });
    return found.violations.flatMap((/** @type {any} */ each) => each.nodes.map((/** @type {any} */ node) => `${node.html} ${node.failureSummary}`));
  });
  assert.deepEqual(violations, []);
});

test('in development, a dark page that does not say so is told', async () => {
  front.scripts.set('/dark-page.js', readFileSync(new URL('../../web/dark-page.js', import.meta.url), 'utf8'));
  const dark = 'body { background: #101214 !important; color: #eee !important }';
  await server.report('a', { progress: 0.4 });
  for (const [style, count] of /** @type {const} */ ([
    [dark, 1],
    [`:root { color-scheme: dark } ${dark}`, 0],
    ['', 0],
  ])) {
    /** @type {string[]} */
    const warnings = [];
    const page = await open(['a', 'b'], { head: `<style>${style}</style><script type="module" src="/dark-page.js"></script>` });
    page.on('console', (message) => void warnings.push(message.text()));
    await page.reload();
    for (const job of ['a', 'b']) await until(`${job} is live`, () => page.locator(`job-progress[job=${job}]`).evaluate((each) => /** @type {any} */ (each).connection === 'open'));
    assert.equal(warnings.filter((text) => /milepost: .*color-scheme/.test(text)).length, count, `${style}: ${warnings}`);
    assert.deepEqual(await page.locator('job-progress').evaluateAll((all) => all.map((each) => each.childElementCount)), [0, 0], 'nothing is left behind');
    await page.close();
  }
});

test('from right to left, it fills from the right', async () => {
  const page = await open(['a'], { head: '<script>document.documentElement.dir = "rtl"</script>' });
  await server.report('a', { progress: 0.25 });
  await sees(page, 'a', { percent: '25%' });
  const boxes = await until('it is drawn', async () => {
    const found = await page.locator('job-progress').evaluate((each) => ['.bar', '.fill'].map((name) => each.shadowRoot?.querySelector(name)?.getBoundingClientRect().toJSON()));
    return found[1].width > 0 && Math.abs(found[1].width / found[0].width - 0.25) < 0.01 ? found : null;
  });
  assert.ok(Math.abs(boxes[0].right - boxes[1].right) < 1);
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`axe finds nothing to complain of, ${colorScheme}`, async () => {
    const page = await open(['waiting', 'queued', 'unknown', 'running', 'completed', 'failed', 'cancelled'], {
      head: '<meta name="color-scheme" content="light dark"><style>:root { color-scheme: light dark }</style>',
    });
    await page.emulateMedia({ colorScheme });
    await server.report('queued', { status: 'queued' });
    await server.report('unknown', { progress: null, stage: 'counting' });
    await server.report('running', { progress: 0.4, stage: 'rendering', message: 'Frame 40' });
    await server.report('completed', { status: 'completed', result: { video: 'https://example.com/v' }, message: 'All done' });
    await server.report('failed', { status: 'failed', error: 'no memory' });
    await server.report('cancelled', { status: 'cancelled', progress: 0.3 });
    await sees(page, 'cancelled', { outcome: '⊘ Cancelled', stage: '' });
    await sees(page, 'running', { percent: '40%' });
    await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
    const violations = await page.evaluate(async () => {
      const found = await /** @type {any} */ (window).axe.run(document, { resultTypes: ['violations'] });
      return found.violations.map((/** @type {any} */ each) => `${each.id}: ${each.nodes.map((/** @type {any} */ node) => node.html).join(' | ')}`);
    });
    assert.deepEqual(violations, []);
    if (process.env['SCREENSHOTS']) await page.screenshot({ path: `${process.env['SCREENSHOTS']}/component-${colorScheme}.png` });
  });
}

test('an address of another site: each element says so, one warning', async (t) => {
  // As a single-page application answers whatever it is asked for.
  const site = createServer((_, response) => void response.writeHead(200, { 'content-type': 'text/html', 'access-control-allow-origin': '*' }).end('<!doctype html><title>Shop</title>'));
  await new Promise((resolve) => site.listen(0, '127.0.0.1', () => resolve(null)));
  t.after(() => site.close());
  const { port } = /** @type {import('node:net').AddressInfo} */ (site.address());
  /** @type {string[]} */
  const warnings = [];
  context.on('console', (message) => message.type() === 'warning' && /milepost/.test(message.text()) && warnings.push(message.text()));
  const page = await open(['a', 'b'], { attributes: `url="http://127.0.0.1:${port}/"` });
  const address = `http://127.0.0.1:${port}`;
  // None names another element's job, and none is the job's failure.
  for (const job of ['a', 'b']) await sees(page, job, { error: `no Milepost server at ${address}: 200 text/html`, stage: 'Not available', aside: '', outcome: '' });
  assert.equal(warnings.length, 1, warnings.join('\n'));
  assert.match(warnings[0] ?? '', /text\/html/);
  assert.deepEqual((await events(page)).filter(([name, state]) => name === 'job-connection' && state === 'failed').length, 2);
});

test('a wrong path on a Milepost server is an error, an unknown job is not', async () => {
  const page = await open(['a'], { attributes: `url="${front.url}/prefix"` });
  await until('an error', async () => /no Milepost server/i.test((await see(page, 'a')).error));
  const other = await open(['unknown']);
  await sees(other, 'unknown', { stage: 'Waiting for the job', error: '' });
  await until('the connection', async () => (await events(other)).some(([name, state]) => name === 'job-connection' && state === 'open'));
});
