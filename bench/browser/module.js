// @ts-check
/**
 * What the browser module weighs, and what it costs a browser: nothing to do, and much to do.
 *
 *     cargo build --release && MILEPOST=target/release/milepost node bench/browser/module.js
 */
import { get } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';

import { Front } from '../../e2e/browser/front.js';
import { Server } from '../../e2e/browser/server.js';

/** The core's bound. */
const BOUND = 8 * 1024;
const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 10);
const require = createRequire(new URL('../../e2e/package.json', import.meta.url));
const { chromium } = require('playwright-core');

const server = new Server();
await server.start();
const front = new Front(server);
await front.listen();
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
});
try {
  const control = await browser.newBrowserCDPSession();
  /** The CPU time of all that shows pages and runs workers, in seconds. @returns {Promise<number>} */
  const cpu = async () => {
    const { processInfo } = await control.send('SystemInfo.getProcessInfo');
    const renderers = processInfo.filter((/** @type {any} */ each) => each.type === 'renderer');
    return renderers.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.cpuTime, 0);
  };
  const size = (/** @type {string} */ path) => /** @type {Promise<number>} */ (new Promise((resolve, reject) => {
    get(server.url + path, { headers: { 'accept-encoding': 'gzip' } }, async (answer) => {
      let bytes = 0;
      for await (const chunk of answer) bytes += chunk.length;
      resolve(bytes);
    }).on('error', reject);
  }));
  console.log('| as served, gzipped | bytes |\n| --- | --- |');
  for (const path of ['/milepost.js', '/job-progress.js']) console.log(`| ${path} | ${await size(path)} |`);
  const isLight = (await size('/milepost.js')) < BOUND;
  console.log(`\nThe core is ${isLight ? 'below' : 'NOT below'} its bound of ${BOUND} bytes.\n`);
  if (!isLight) process.exitCode = 1;

  const jobs = Array.from({ length: 10 }, (_, n) => `j${n}`);
  const elements = jobs.map((job) => `<job-progress job="${job}"></job-progress>`).join('');
  front.pages.set('/empty', '<!doctype html><title>empty</title>');
  front.pages.set('/ten', `<!doctype html><title>ten</title><script type="module" src="/job-progress.js"></script>${elements}`);
  for (const job of jobs) await server.report(job, { progress: 0.5, stage: 'rendering' });

  console.log(`| renderers' CPU in ${SECONDS} s | seconds | of one core |\n| --- | --- | --- |`);
  /**
   * @param {string} what
   * @param {string} path
   * @param {() => Promise<unknown>} during
   */
  const measure = async (what, path, during) => {
    const page = await browser.newPage();
    await page.goto(front.url + path);
    await pause(2000);
    const before = await cpu();
    await Promise.all([pause(SECONDS * 1000), during()]);
    const used = (await cpu()) - before;
    console.log(`| ${what} | ${used.toFixed(3)} | ${((used / SECONDS) * 100).toFixed(2)} % |`);
    await page.close();
  };
  const nothing = async () => {};
  await measure('an empty page', '/empty', nothing);
  await measure('ten bars, nothing happens', '/ten', nothing);
  let reports = 0;
  await measure('ten bars, as many reports as one connection makes', '/ten', async () => {
    const end = performance.now() + SECONDS * 1000;
    for (; performance.now() < end; reports += 1) {
      await server.report(jobs[reports % 10] ?? '', { progress: (reports % 1000) / 1000, stage: 'rendering' });
    }
  });
  console.log(`\n${Math.round(reports / SECONDS)} reports/s in the last one. The pings come every 0.5 s, ten times as often as by default.`);
} finally {
  await browser.close();
  front.close();
  await server.close();
}
