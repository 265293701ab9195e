// @ts-check
/** A page in a hidden window of Chromium: it has no frames, and its timers run once a second. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { Front } from './front.js';
import { Server, until } from './server.js';

const sdk = new URL('../../sdks/typescript/', import.meta.url);
const { build } = await import(new URL('node_modules/esbuild/lib/main.js', sdk).href);

/** @type {import('playwright-core').Browser} */
let browser;
const server = new Server();
const front = new Front(server);

before(async () => {
  await server.start();
  await front.listen();
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
    // With these, a hidden window goes on as if it were visible.
    ignoreDefaultArgs: ['--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding', '--disable-background-timer-throttling'],
  });
});
after(async () => {
  await browser.close();
  front.close();
  await server.close();
});

/** A page that Playwright does not control, because it would make it visible. */
async function openWindow(/** @type {string} */ url) {
  const session = await browser.newBrowserCDPSession();
  const { targetId } = await session.send('Target.createTarget', { url, newWindow: true });
  const { sessionId } = await session.send('Target.attachToTarget', { targetId, flatten: false });
  /** @type {Map<number, (result: any) => void>} */
  const waiting = new Map();
  session.on('Target.receivedMessageFromTarget', ({ message }) => {
    const { id, result } = JSON.parse(message);
    waiting.get(id)?.(result);
  });
  return {
    async setWindow(/** @type {'minimized' | 'normal'} */ windowState) {
      const { windowId } = await session.send('Browser.getWindowForTarget', { targetId });
      await session.send('Browser.setWindowBounds', { windowId, bounds: { windowState } });
    },
    /** @returns {Promise<unknown>} */
    async evaluate(/** @type {string} */ expression) {
      const id = waiting.size + 1;
      const params = { expression, awaitPromise: true, returnByValue: true };
      const answered = new Promise((resolve) => waiting.set(id, resolve));
      await session.send('Target.sendMessageToTarget', { sessionId, message: JSON.stringify({ id, method: 'Runtime.evaluate', params }) });
      return (await answered).result.value;
    },
  };
}

/** A page of the hook and the element, as one file. */
async function script() {
  const contents = `
    import { createElement as h } from 'react';
    import { createRoot } from 'react-dom/client';
    import { useJob } from './src/react.ts';
    window.ends = [];
    addEventListener('job-end', ({ target }) => window.ends.push('job-end of ' + target.getAttribute('job')));
    function Job() {
      const { state } = useJob('hook', { url: location.origin, onEnd: ({ result }) => window.ends.push(result) });
      return h('p', null, state ? state.status + ' ' + state.progress : 'nothing');
    }
    createRoot(document.querySelector('div')).render(h(Job));`;
  const built = await build({
    stdin: { contents, resolveDir: fileURLToPath(sdk), loader: 'js' },
    bundle: true, format: 'esm', write: false, define: { 'process.env.NODE_ENV': '"production"' },
    // The package need not be built for it.
    alias: { milepost: fileURLToPath(new URL('../../web/milepost.js', sdk)) },
  });
  return built.outputFiles[0].text;
}

test('a hidden page follows its jobs, reports their ends, and is up to date when it is seen', async () => {
  front.scripts.set('/hidden.js', await script());
  front.pages.set('/hidden', `<!doctype html><html lang="en"><head><title>Jobs</title><meta name="color-scheme" content="light dark">
    <script type="module" src="/job-progress.js"></script><script type="module" src="/hidden.js"></script></head>
    <body><div></div><job-progress job="element"></job-progress></body></html>`);
  for (const job of ['hook', 'element']) await server.report(job, { progress: 0.1 });
  const page = await openWindow(`${front.url}/hidden`);
  const shown = async () => [
    await page.evaluate("document.querySelector('p')?.textContent"),
    await page.evaluate("document.querySelector('job-progress')?.shadowRoot?.querySelector('.percent')?.textContent"),
  ];
  /** @param {string[]} expected */
  const shows = async (expected) => {
    let seen = '';
    await until(`${expected}`, async () => (seen = `${await shown()}`) === `${expected}`).catch((error) => assert.fail(`${error}; it is ${seen}`));
  };
  await shows(['processing 0.1', '10%']);
  await page.setWindow('minimized');
  await until('the page to be hidden', async () => (await page.evaluate('document.visibilityState')) === 'hidden');
  const frames = await page.evaluate('new Promise((end) => { let n = 0; requestAnimationFrame(() => n++); setTimeout(() => end(n), 500); })');
  assert.equal(frames, 0);
  for (const job of ['hook', 'element']) await server.report(job, { progress: 0.6 });
  // The element draws in frames: nobody sees it.
  await shows(['processing 0.6', '10%']);
  for (const job of ['hook', 'element']) await server.report(job, { status: 'completed', result: 'done' });
  await shows(['completed 1', '10%']);
  await until('both ends', async () => `${await page.evaluate('ends.sort()')}` === 'done,job-end of element');
  await page.setWindow('normal');
  await shows(['completed 1', '100%']);
  assert.equal(`${await page.evaluate('ends')}`, 'done,job-end of element');
});
