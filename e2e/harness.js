// @ts-check
/** What the tests of the pages begin with: a browser for all of them, a server for each, and what a page says that is amiss. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';
import { PATIENCE, Server, launch, serveFiles, until } from './site.js';

/** @type {import('playwright-core').Browser} */
export let browser;
/** The server of the present test. @type {Server} */
export let server;
/** What a page said that was amiss. @type {string[]} */
let faults = [];
/** What is undone after each test. @type {(() => unknown)[]} */
export let leftovers = [];

before(async () => {
  browser = await launch();
});
after(() => browser.close());
beforeEach(async () => {
  faults = [];
  leftovers = [];
  server = new Server('linger=0');
  leftovers.push(() => server.remove());
  await server.start();
});
afterEach(async () => {
  for (const undo of leftovers.reverse()) await undo();
});

/**
 * @param {string} path
 * @param {import('playwright-core').BrowserContextOptions} [options]
 * @param {(page: import('playwright-core').Page) => void} [prepare] what to set up before the page loads
 */
export async function open(path, options = {}, prepare = () => {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...options });
  leftovers.push(() => context.close());
  await serveFiles(context);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(message.text());
  });
  await prepare(page);
  await page.goto(path.startsWith('http') ? path : server.url + path);
  return page;
}

/** Forgets what was expected to be amiss. @param {RegExp} pattern */
export function forgive(pattern) {
  faults = faults.filter((fault) => !pattern.test(fault));
}

/** But for what Chromium itself says of a server that is not there. */
export function noFaults() {
  const own = faults.filter((fault) => !/ERR_(CONNECTION|INTERNET|EMPTY|SOCKET|NETWORK)|WebSocket connection to/.test(fault));
  assert.deepEqual(own, []);
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} selector
 * @param {RegExp | string} text
 */
export async function reads(page, selector, text) {
  const wanted = typeof text === 'string' ? new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : text;
  let found = '';
  try {
    await until(selector, async () => {
      const shown = page.locator(selector).first();
      found = (await shown.isVisible()) ? ((await shown.innerText()) ?? '') : '(not visible)';
      return wanted.test(found.replaceAll('\u202f', ' '));
    });
  } catch {
    assert.match(found.replaceAll('\u202f', ' '), wanted, selector);
  }
}

/** @param {string} job */
export const row = (job) => `.jobs .job:has(.job-id[title="${job}"])`;
