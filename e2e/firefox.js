// @ts-check
/** Firefox, driven by the protocol that it speaks itself: WebDriver BiDi. Playwright drives only a Firefox of its own. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PATIENCE, until } from './site.js';

/** A client of WebSocket for Node 20, which has none. */
const { ws: WebSocket } = createRequire(import.meta.url)('playwright-core/lib/utilsBundle');

const BINARY = process.env['FIREFOX'] ?? '/usr/bin/firefox-esr';
export const isInstalled = existsSync(BINARY);

export class Firefox {
  #folder = mkdtempSync(join(tmpdir(), 'milepost-firefox-'));
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;
  /** @type {any} */
  #socket = null;
  #count = 0;
  /** By id of the command. @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  #page = '';
  /** What its pages said that is amiss. @type {string[]} */
  faults = [];

  async start() {
    const options = ['--headless', '--no-remote', '--remote-debugging-port', '0', '--profile', this.#folder];
    const started = spawn(BINARY, options, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: this.#folder } });
    this.#process = started;
    const address = await new Promise((resolve, reject) => {
      createInterface({ input: /** @type {import('node:stream').Readable} */ (started.stderr) }).on('line', (line) => {
        const [, found] = /WebDriver BiDi listening on (ws:\S+)/.exec(line) ?? [];
        if (found) resolve(found);
      });
      started.once('exit', () => reject(new Error('Firefox does not start')));
    });
    this.#socket = new WebSocket(`${address}/session`);
    this.#socket.on('message', (/** @type {Buffer} */ text) => this.#onMessage(JSON.parse(text.toString())));
    await once(this.#socket, 'open');
    await this.#ask('session.new', { capabilities: {} });
    await this.#ask('session.subscribe', { events: ['log.entryAdded'] });
    const { contexts } = await this.#ask('browsingContext.getTree', {});
    this.#page = contexts[0].context;
  }

  /** @param {string} url */
  open(url) {
    return this.#ask('browsingContext.navigate', { context: this.#page, url, wait: 'complete' });
  }

  /**
   * What an expression in the page is, or resolves to: a text.
   * @param {string} expression
   * @returns {Promise<string>}
   */
  async evaluate(expression) {
    const target = { context: this.#page };
    const { result, exceptionDetails } = await this.#ask('script.evaluate', { expression: `(async () => String(await (${expression})))()`, target, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  }

  /**
   * Waits until an element is there whose text matches.
   * @param {string} selector
   * @param {RegExp} text
   */
  async reads(selector, text) {
    let found = '';
    await until(`${selector}: ${text}`, async () => {
      found = await this.evaluate(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ''`);
      return text.test(found.replaceAll('\u202f', ' '));
    }).catch((error) => {
      throw new Error(`${error.message}; it is ${found}`);
    });
  }

  async remove() {
    const { exitCode } = this.#process ?? {};
    if (this.#process && exitCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill();
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /**
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  #ask(method, params) {
    const id = ++this.#count;
    this.#socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`Firefox did not answer: ${method}`)), PATIENCE);
      const settle = (/** @type {(value: any) => void} */ how) => (/** @type {any} */ value) => {
        clearTimeout(late);
        how(value);
      };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
    });
  }

  /** @param {any} message */
  #onMessage({ id, type, result, error, message, method, params }) {
    if (method === 'log.entryAdded' && ['error', 'warn'].includes(params.level)) this.faults.push(params.text);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (type === 'error') waiting?.reject(new Error(`${error}: ${message}`));
    else waiting?.resolve(result);
  }
}
