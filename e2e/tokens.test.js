// @ts-check
/** Pages and modules where the server asks for credentials, in Chromium. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import { Front } from './browser/front.js';
import { PATIENCE, Server, launch, serveFiles, until } from './site.js';
import { SECRET, mint } from './tokens.js';

/** @type {import('playwright-core').Browser} */
let browser;
/** @type {import('playwright-core').BrowserContext} */
let context;
/** @type {Server} */
let server;
/** The tests' own pages at the server's origin. @type {Front} */
let front;
/** @type {string[]} */
let faults = [];
/** The addresses that pages asked for, and the tokens in headers. @type {string[]} */
let urls = [];
/** @type {(string | undefined)[]} */
let headers = [];
/** What sockets received. @type {string[]} */
let frames = [];

before(async () => {
  browser = await launch();
  server = new Server(`token_secret=${SECRET}`, 'token_leeway=0');
  await server.start();
  front = new Front(/** @type {any} */ (server));
  await front.listen();
});
after(async () => {
  await browser.close();
  front.close();
  await server.remove();
});
beforeEach(async () => {
  [faults, urls, headers, frames] = [[], [], [], []];
  context = await browser.newContext();
  await serveFiles(context);
});
afterEach(async () => {
  await context.close();
  assert.deepEqual(faults, []);
  assert.deepEqual(urls.filter((url) => url.includes('eyJ')), [], 'no token in an address');
});

/** @param {string} job @param {object} update */
async function report(job, update) {
  const authorization = `Bearer ${mint({ report: ['*'] })}`;
  const response = await fetch(`${server.url}/jobs/${job}`, { method: 'POST', headers: { authorization }, body: JSON.stringify(update) });
  assert.equal(response.status, 200);
}

/** @param {string} path */
async function open(path) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => {
    urls.push(request.url());
    if (request.url().includes('/jobs/')) headers.push(request.headers()['authorization']);
  });
  page.on('websocket', (socket) => {
    urls.push(socket.url());
    socket.on('framereceived', ({ payload }) => frames.push(String(payload)));
  });
  if (path) await page.goto(server.url + path);
  return page;
}

/**
 * A page with a bar whose token comes from `supply`, and its events.
 * @param {string} job
 * @param {() => string} supply
 * @param {string} [first] runs before the module
 */
async function bar(job, supply, first = '') {
  const page = await open('');
  await page.exposeFunction('supply', supply);
  const html = `<!doctype html><title>t</title><script>${first}</script><job-progress job="${job}"></job-progress>
    <script type="module">
      const bar = document.querySelector('job-progress');
      window.events = [];
      for (const name of ['job-state', 'job-connection']) bar.addEventListener(name, ({ detail }) => events.push(detail.position ? detail.progress : detail));
      bar.token = () => supply();
      await import('/job-progress.js');
    </script>`;
  front.pages.set('/page', html);
  await page.goto(`${front.url}/page`);
  /** @returns {Promise<unknown[]>} */
  const events = () => page.evaluate('window.events');
  return { page, events };
}

test('a token is renewed before it expires, and the socket stays', async () => {
  await report('a1', { progress: 0.25 });
  let asked = 0;
  const { events } = await bar('a1', () => mint({ watch: ['a1'] }, asked++ ? 60 : 4));
  await until('the state', async () => (await events()).includes(0.25));
  await until('the second token is taken', () => frames.some((frame) => frame.includes('authenticated')));
  assert.equal(asked, 2);
  await report('a1', { progress: 0.5 });
  await until('the next state', async () => (await events()).includes(0.5));
  assert.deepEqual(await events(), ['open', 0.25, 0.5]);
  assert.equal(urls.filter((url) => url.startsWith('ws')).length, 1);
});

test('a socket closed for its token resumes with another', async () => {
  await report('a2', { progress: 0.25 });
  let [asked, short] = [0, ''];
  // The page has no other while the first one holds.
  const { events } = await bar('a2', () => (++asked < 3 ? (short ||= mint({ watch: ['a2'] }, 1.5)) : mint({ watch: ['a2'] })));
  await until('it is back', async () => (await events()).filter((one) => one === 'open').length === 2);
  await report('a2', { progress: 0.5 });
  await until('the next state', async () => (await events()).includes(0.5));
  assert.deepEqual(await events(), ['open', 0.25, 'reconnecting', 'open', 0.5]);
});

test('a forbidden job is an error, and is not retried', async () => {
  let asked = 0;
  const { page, events } = await bar('a3', () => {
    asked += 1;
    return mint({ watch: ['other'] });
  });
  await until('it gives up', async () => (await events()).at(-1) === 'closed');
  await page.getByText('does not allow').first().waitFor();
  assert.equal(asked, 1);
});

test('without a WebSocket, tokens are in a header', async () => {
  await report('a4', { progress: 0.25 });
  let asked = 0;
  const { events } = await bar('a4', () => mint({ watch: ['a4'] }, asked++ ? 60 : 1), 'delete window.WebSocket');
  await until('the state', async () => (await events()).includes(0.25));
  await until('a second token', () => asked === 2);
  await report('a4', { progress: 0.5 });
  await until('the next state', async () => (await events()).includes(0.5));
  assert.ok(headers.length && headers.every((header) => header?.startsWith('Bearer eyJ')), String(headers));
  assert.ok(new Set(headers).size > 1);
});

test('the dashboard asks for a token, and keeps it in the tab', async () => {
  await report('a5', { progress: 0.25 });
  const page = await open('/');
  const field = page.getByLabel('Key or token');
  await field.fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('The server did not accept the token').waitFor();
  await field.fill(mint({ watch: ['*'] }));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.jobs').getByText('a5', { exact: true }).waitFor();
  assert.equal(await field.isVisible(), false);
  await page.goto(`${server.url}/?job=a5`);
  await until('the job', async () => (await page.locator('main').innerText()).includes('25'));
});

test('a token in a link’s fragment is removed from the address', async () => {
  await report('a6', { progress: 0.25 });
  const page = await open('');
  // Chromium reports requests without the fragment.
  await page.goto(`${server.url}/?job=a6#token=${mint({ watch: ['a6'] }, 1.5)}`);
  await until('the job', async () => (await page.locator('main').innerText()).includes('25'));
  assert.equal(page.url(), `${server.url}/?job=a6`);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
});

test('/try sends its token to no other server', async () => {
  /** The headers of all requests, those of sockets included. @type {string[]} */
  const seen = [];
  const other = createServer((request, response) => {
    seen.push(JSON.stringify([request.method, request.url, request.headers]));
    response.writeHead(request.method === 'OPTIONS' ? 204 : 404, {
      'access-control-allow-origin': '*',
      'access-control-allow-headers': '*',
      'access-control-allow-methods': '*',
    });
    response.end();
  });
  other.on('upgrade', (request, socket) => {
    seen.push(JSON.stringify([request.url, request.headers]));
    socket.destroy();
  });
  await new Promise((resolve) => other.listen(0, '127.0.0.1', () => resolve(null)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (other.address());
  const page = await open('');
  const token = mint({ watch: ['*'], report: ['*'] });
  await page.goto(`${server.url}/try?job=far&server=http://127.0.0.1:${port}#token=${token}`);
  await page.getByRole('button', { name: 'Connect' }).click();
  await until('a socket', async () => seen.some((request) => request.includes('upgrade')));
  await page.getByRole('button', { name: 'Report failure' }).click();
  await until('a report', async () => {
    if (await page.locator('#confirm-id').isVisible()) {
      await page.locator('#confirm-id').fill('far');
      await page.locator('#confirm').getByRole('button', { name: 'Report failure' }).click();
    }
    return seen.some((request) => request.startsWith('["POST"'));
  });
  assert.deepEqual(seen.filter((request) => request.includes('eyJ') || request.includes('milepost.bearer')), []);
  other.closeAllConnections();
  other.close();
});

test('a job’s page offers to cancel it only to who may', async () => {
  await report('a7', { progress: 0.25, cancellable: true });
  for (const control of [['a7'], []]) {
    const page = await open('');
    const history = page.waitForResponse(/a7\/history/);
    await page.goto(`${server.url}/?job=a7#token=${mint({ watch: ['a7'], control })}`);
    await until('the job', async () => (await page.locator('main').innerText()).includes('25'));
    await history;
    await until('the buttons', async () => (await page.getByRole('button', { name: 'Cancel' }).isVisible()) === (control.length > 0));
  }
});
