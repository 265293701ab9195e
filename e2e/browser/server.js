// @ts-check
/** The server under test, which can be killed and started again at the same address. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { freePort } from '../port.js';

const BINARY = process.env['MILEPOST'] ?? fileURLToPath(new URL('../../target/debug/milepost', import.meta.url));
/** How long anything may take on a busy machine, in milliseconds. Nothing is measured with it. */
export const PATIENCE = Number(process.env['PATIENCE'] ?? 60_000);

/**
 * Asks again until the answer is true.
 * @template T
 * @param {string} what is waited for
 * @param {() => T | Promise<T>} question
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, question) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`it does not come about: ${what}`);
    await pause(25);
  }
}

export class Server {
  port = 0;
  #folder = mkdtempSync(join(tmpdir(), 'milepost-e2e-'));
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    this.port ||= await freePort();
    const options = ['--listen', `127.0.0.1:${this.port}`, '--data-dir', join(this.#folder, 'data'), '--set', 'ping_interval=0.5'];
    const process = spawn(BINARY, ['serve', ...options], { stdio: 'ignore' });
    this.#process = process;
    await until('the server is ready', async () => {
      if (process.exitCode !== null) throw new Error(`the server has gone: ${process.exitCode}`);
      return fetch(`${this.url}/readyz`).then(({ ok }) => ok, () => false);
    });
  }

  /** @param {'SIGTERM' | 'SIGKILL'} signal */
  async stop(signal) {
    const process = this.#process;
    this.#process = null;
    if (!process || process.exitCode !== null) return;
    const gone = new Promise((resolve) => process.once('exit', resolve));
    process.kill(signal);
    await gone;
  }

  async close() {
    await this.stop('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /**
   * @param {string} job
   * @param {object} update
   */
  async report(job, update) {
    const response = await fetch(`${this.url}/jobs/${job}`, { method: 'POST', body: JSON.stringify(update) });
    if (!response.ok) throw new Error(`refused: ${await response.text()}`);
  }

  /** How many sockets and streams there are. @returns {Promise<number>} */
  async connections() {
    const response = await fetch(`${this.url}/ws/stats`);
    return (await response.json()).stats.active_connections;
  }
}
