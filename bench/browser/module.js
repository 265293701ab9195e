// @ts-check
/**
 * What the browser module weighs, and what it costs a browser: nothing to do, and much to do.
 *
 *     cargo build --release && MILEPOST=target/release/milepost node bench/browser/module.js
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

import { Front } from '../../e2e/browser/front.js';
import { Server } from '../../e2e/browser/server.js';

/** The core's bound: 6 KiB. */
const BOUND = 6 * 1024;
const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 10);
const require = createRequire(new URL('../../e2e/package.json', import.meta.url));
const { chromium } = require('playwright-core');
const ts = require('typescript');

/**
 * Without its comments, and otherwise as it is.
 * @param {string} text
 */
function withoutComments(text) {
  const file = ts.createSourceFile('module.js', text, ts.ScriptTarget.Latest, true);
  /** From start to end. @type {Map<number, number>} */
  const comments = new Map();
  const visit = (/** @type {any} */ node) => {
    // A comment is looked for before tokens alone: inside of one, a template say, nothing is.
    if (node.getChildCount(file)) node.getChildren(file).forEach(visit);
    else for (const range of ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []) comments.set(range.pos, range.end);
    for (const range of ts.getTrailingCommentRanges(text, node.getEnd()) ?? []) comments.set(range.pos, range.end);
  };
  visit(file);
  let [left, at] = ['', 0];
  for (const [start, end] of [...comments].sort(([a], [b]) => a - b)) {
    if (start < at) continue;
    left += text.slice(at, start);
    at = end;
  }
  // A line that was a comment is no line.
  return (left + text.slice(at)).replace(/^\s*\n/gm, '');
}

const bytes = (/** @type {string} */ text) => gzipSync(text, { level: 9 }).length;
console.log('| gzip -9, bytes | as served | without comments |\n| --- | --- | --- |');
let isLight = true;
for (const name of ['milepost.js', 'job-progress.js']) {
  const text = readFileSync(new URL(`../../web/${name}`, import.meta.url), 'utf8');
  const bare = withoutComments(text);
  ts.transpileModule(bare, { reportDiagnostics: true }).diagnostics?.forEach((/** @type {any} */ each) => {
    throw new Error(`the comments' removal broke ${name}: ${each.messageText}`);
  });
  if (name === 'milepost.js') isLight = bytes(bare) < BOUND;
  console.log(`| ${name} | ${bytes(text)} | ${bytes(bare)} |`);
}
console.log(`\nThe core is ${isLight ? 'below' : 'NOT below'} its bound of ${BOUND} bytes.\n`);
if (!isLight) process.exitCode = 1;

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
