// @ts-check
import { createServer } from 'node:net';

/**
 * Ports below those of outgoing connections: while a server is down, no connection takes its port by chance, and one that is
 * made to it is not connected to itself.
 */
const FIRST = 20_000;
const COUNT = 12_000;
const TRIES = 100;

/** @returns {Promise<number>} a port of this machine on which nobody listens */
export async function freePort() {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
  throw new Error(`${TRIES} ports were all taken`);
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function isFree(port) {
  return new Promise((resolve) => {
    const probe = createServer().once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
