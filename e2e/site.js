// @ts-check
/** What tests of the pages have in common: a server that can be killed, a wire that can be cut, a browser. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { freePort } from './port.js';

const BINARY = process.env['MILEPOST'] ?? fileURLToPath(new URL('../target/debug/milepost', import.meta.url));
/** How long anything may take on a busy machine, in milliseconds. Nothing is measured with it. */
export const PATIENCE = 30_000;

/** A server that can be killed and started again at the same address, and keeps its states. */
export class Server {
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;
  #folder = mkdtempSync(join(tmpdir(), 'milepost-pages-'));
  port = 0;

  /** @param {string[]} settings */
  constructor(...settings) {
    this.settings = settings;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    this.port ||= await freePort();
    const options = ['--listen', `127.0.0.1:${this.port}`, '--data-dir', join(this.#folder, 'data')];
    const settings = this.settings.flatMap((setting) => ['--set', setting]);
    this.#process = spawn(BINARY, ['serve', ...options, ...settings], { stdio: 'ignore' });
    await until(`the server at ${this.url}`, async () => {
      if (this.#process?.exitCode !== null) throw new Error('the server does not start');
      return (await fetch(`${this.url}/readyz`).catch(() => null))?.ok;
    });
  }

  /** As a power cut would. */
  async kill() {
    if (!this.#process) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
    this.#process = null;
  }

  async remove() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /**
   * @param {string} job
   * @param {object} update
   */
  async report(job, update) {
    const response = await fetch(`${this.url}/jobs/${job}`, { method: 'POST', body: JSON.stringify(update) });
    if (!response.ok) throw new Error(await response.text());
  }

  /** @param {object[]} updates each with its `job_id` */
  async reportMany(updates) {
    for (let at = 0; at < updates.length; at += 5000) {
      const body = updates.slice(at, at + 5000).map((update) => JSON.stringify(update)).join('\n');
      const response = await fetch(`${this.url}/updates`, { method: 'POST', body });
      if (!response.ok) throw new Error(await response.text());
      await response.text();
    }
  }

  /**
   * Appends lines to a job's log.
   * @param {string} job
   * @param {...(string | object)} lines
   */
  async write(job, ...lines) {
    const body = lines.map((line) => JSON.stringify(typeof line === 'string' ? { text: line } : line)).join('\n');
    const response = await fetch(`${this.url}/jobs/${job}/log`, { method: 'POST', headers: { 'content-type': 'application/x-ndjson' }, body });
    if (!response.ok) throw new Error(await response.text());
  }

  /** @returns {Promise<any>} */
  async stats() {
    return (await (await fetch(`${this.url}/ws/stats`)).json()).stats;
  }

  /**
   * @param {string} job
   * @returns {Promise<any>}
   */
  async state(job) {
    return (await fetch(`${this.url}/jobs/${job}`)).json();
  }
}

/** A wire to a server that can be cut. */
export class Wire {
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();
  #isCut = false;
  #listener = createServer((socket) => {
    if (this.#isCut) return socket.destroy();
    const far = connect(this.port, '127.0.0.1');
    for (const [one, other] of [[socket, far], [far, socket]]) {
      this.#sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });

  /** @param {number} port */
  constructor(port) {
    this.port = port;
  }

  async open() {
    this.#listener.listen(0, '127.0.0.1');
    await once(this.#listener, 'listening');
    const address = /** @type {import('node:net').AddressInfo} */ (this.#listener.address());
    return `http://127.0.0.1:${address.port}`;
  }

  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
  }

  remove() {
    this.cut();
    this.#listener.close();
  }
}

export function launch() {
  return chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--no-first-run', '--disable-dev-shm-usage',
      // A page that comes from no address may not open sockets on this machine.
      ...(FILES ? ['--disable-features=LocalNetworkAccessChecks'] : [])],
  });
}

/**
 * Changes states on their way to a page, as another server would send them.
 * @param {import('playwright-core').BrowserContext} context
 * @param {(state: any) => object} change
 */
export async function changeStates(context, change) {
  await context.routeWebSocket(/\/ws/, (socket) => {
    const upstream = socket.connectToServer();
    socket.onMessage((message) => upstream.send(message));
    upstream.onMessage((message) => {
      const parsed = JSON.parse(message.toString());
      socket.send(parsed.position ? JSON.stringify({ ...parsed, ...change(parsed) }) : message);
    });
  });
}

/** A folder with the pages' files, in place of those in the binary, while one works on them. */
const FILES = process.env['WEB_FILES'];

/** @param {import('playwright-core').BrowserContext} context */
export async function serveFiles(context) {
  if (!FILES) return;
  const types = { html: 'text/html', css: 'text/css', js: 'text/javascript' };
  await context.route(/^http:\/\/127\.0\.0\.1:\d+\/(try|[\w/-]+\.(js|css))?(\?.*)?$/, (route) => {
    const path = new URL(route.request().url()).pathname;
    const name = path === '/' ? '/index.html' : path === '/try' ? '/try.html' : /^\/(first|index|try|job-progress)\.js$/.test(path) ? path.replace('.js', '.min.js') : path;
    if (!existsSync(FILES + name)) return route.fallback();
    const type = types[/** @type {keyof typeof types} */ (name.split('.').at(-1) ?? '')];
    return route.fulfill({ body: readFileSync(FILES + name), contentType: `${type}; charset=utf-8` });
  });
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * What axe-core has against the page as it is now.
 * @param {import('playwright-core').Page} page
 * @returns {Promise<string[]>}
 */
export async function violations(page) {
  await page.evaluate(axe);
  // @ts-expect-error: put into the page above.
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.flatMap((/** @type {any} */ { id, nodes }) =>
    nodes.map((/** @type {any} */ node) => `${id}: ${node.target.join(' ')}: ${node.failureSummary}`),
  );
}

/**
 * @param {string} what
 * @param {() => Promise<unknown> | unknown} holds
 */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
