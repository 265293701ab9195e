// The real server, for tests that need one.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';

import { freePort } from '../../../e2e/port.js';

/** How long anything may take on a busy machine, in milliseconds. Nothing is measured with it. */
export const PATIENCE = 60_000;

const binary = process.env.MILEPOST;
/** Why tests of the real server are skipped; false if they are not. */
export const skip = binary ? false : 'MILEPOST names no binary';

/** Asks again until the answer is true. */
export async function until(what, question) {
  const deadline = Date.now() + PATIENCE;
  while (!(await question())) {
    assert.ok(Date.now() < deadline, `it does not come about: ${what}`);
    await pause(10);
  }
}

/** Calls `use` with the URL of a server of its own. */
export async function withServer(use) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const server = spawn(binary, ['serve', '--listen', `127.0.0.1:${port}`], { stdio: 'ignore' });
  const gone = new Promise((resolve) => server.once('exit', resolve));
  try {
    await until('the server is ready', () => fetch(`${url}/readyz`).then(({ ok }) => ok, () => false));
    await use(url);
  } finally {
    server.kill();
    await gone;
  }
}
