// @ts-check
/**
 * How smoothly the dashboard scrolls through 10,000 jobs, a tenth of which are reported meanwhile. Of a machine that is busy otherwise it says little, so what the
 * page itself does for a frame is printed as well.
 *
 *     cargo build --release && MILEPOST=target/release/milepost node bench/browser/scroll.js
 */
import { createRequire } from 'node:module';

import { Server, until } from '../../e2e/browser/server.js';

const JOBS = 10_000;
/** So many pixels in each frame: all of it within ten seconds, faster than anybody reads. */
const STEP = 800;
const require = createRequire(new URL('../../e2e/package.json', import.meta.url));
const { chromium } = require('playwright-core');

const server = new Server();
await server.start();
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking'],
});
try {
  const report = async (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ progress) => {
    const lines = [];
    for (let n = from; n < to; n += 1) lines.push(JSON.stringify({ job_id: `job_${n}`, stage: 'rendering', progress, message: `Frame ${n}` }));
    await fetch(`${server.url}/updates`, { method: 'POST', body: lines.join('\n') }).then((answer) => answer.text());
  };
  for (let from = 0; from < JOBS; from += 5000) await report(from, from + 5000, 0.1);

  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.goto(server.url);
  await until('all jobs are counted', async () => (await page.locator('h1').textContent()).includes('10,000'));
  // What is not there yet loads as one comes near; this is about the scroll.
  await until('all jobs are loaded', () => page.evaluate(() => {
    scrollTo(0, document.body.scrollHeight);
    return document.querySelector('.jobs .job:last-child .job-id')?.textContent === 'job_0';
  }));
  await page.evaluate(() => scrollTo(0, 0));

  const control = await page.context().newCDPSession(page);
  await control.send('Performance.enable');
  /** What the page was busy with so far, in seconds by name. */
  const spent = async () => Object.fromEntries((await control.send('Performance.getMetrics')).metrics.map((/** @type {any} */ { name, value }) => [name, value]));
  const before = await spent();
  let isOver = false;
  const reports = (async () => {
    for (let turn = 1; !isOver; turn += 1) await report((turn % 10) * 1000, (turn % 10) * 1000 + 1000, (turn % 90) / 100 + 0.1);
  })();
  const { frames, tasks } = await page.evaluate(async (step) => {
    /** @type {number[]} */
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ entryTypes: ['longtask'] });
    const frame = () => new Promise((/** @type {(at: number) => void} */ resolve) => requestAnimationFrame(resolve));
    /** @type {number[]} */
    const frames = [];
    let before = await frame();
    const end = document.body.scrollHeight - innerHeight;
    for (let top = 0; top < end; top += step) {
      scrollTo({ top, behavior: 'instant' });
      const at = await frame();
      frames.push(at - before);
      before = at;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { frames: frames.sort((a, b) => a - b), tasks };
  }, STEP);
  const after = await spent();
  isOver = true;
  await reports;

  const at = (/** @type {number} */ share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))].toFixed(1);
  const late = frames.filter((/** @type {number} */ took) => took > 25).length;
  console.log(`| ${frames.length} frames, ${STEP} pixels each, through ${JOBS} jobs | ms |\n| --- | --- |`);
  console.log(`| median | ${at(0.5)} |\n| p95 | ${at(0.95)} |\n| p99 | ${at(0.99)} |\n| longest | ${at(1)} |`);
  const each = (/** @type {string} */ name) => (((after[`${name}Duration`] - before[`${name}Duration`]) / frames.length) * 1000).toFixed(1);
  console.log(`| a frame's scripts | ${each('Script')} |\n| a frame's styles and layout | ${(Number(each('RecalcStyle')) + Number(each('Layout'))).toFixed(1)} |`);
  console.log(`\n${late} frames came late (over 25 ms); ${tasks.length} tasks took over 50 ms, the longest ${Math.max(0, ...tasks).toFixed(0)} ms.`);
} finally {
  await browser.close();
  await server.close();
}
