// @ts-check
/** What differs from Chromium: the pages and the component in Firefox. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Front } from './browser/front.js';
import { Firefox, isInstalled } from './firefox.js';
import { Server, until } from './site.js';

const options = { skip: isInstalled ? false : 'there is no Firefox' };
const server = new Server('linger=0');
const firefox = new Firefox();

before(async () => {
  if (!isInstalled) return;
  await server.start();
  await firefox.start();
});
after(async () => {
  await firefox.remove();
  await server.remove();
});

test('Firefox: the list and a job’s page are live', options, async () => {
  await server.report('film', { progress: 0.25, stage: 'fetch', message: 'part 1' });
  await firefox.open(server.url);
  await firefox.reads('.jobs .job', /film[^]*fetch[^]*25 %/);
  await server.report('film', { progress: 0.5, stage: 'encode' });
  await firefox.reads('.jobs .job', /encode[^]*50 %/);
  await firefox.open(`${server.url}/?job=film`);
  await firefox.reads('.figure', /50 %[^]*encode/);
  await server.report('film', { status: 'completed', result: { film: 'https://example.com/film.mp4' } });
  await firefox.reads('.figure', /^Completed[^]*Open film\.mp4/);
  assert.deepEqual(firefox.faults, []);
});

test('Firefox: a frame’s bar moves by a shared worker', options, async () => {
  await server.report('clip', { progress: 0.25 });
  await firefox.open(`${server.url}/embed/clip?stages`);
  const percent = () => firefox.evaluate(`document.querySelector('job-progress')?.shadowRoot.querySelector('.percent').textContent`);
  await until('25 %', async () => (await percent()) === '25%');
  await server.report('clip', { progress: 0.75 });
  await until('75 %', async () => (await percent()) === '75%');
  const width = () => firefox.evaluate(`(() => {
    const [bar, fill] = ['.bar', '.fill'].map((part) => document.querySelector('job-progress').shadowRoot.querySelector(part).getBoundingClientRect().width);
    return Math.round((fill / bar) * 100);
  })()`);
  await until('a bar at 75 %', async () => (await width()) === '75');
  assert.deepEqual(firefox.faults, []);
});

test('Firefox: a policy forbids WebSockets, and requests replace them', options, async (t) => {
  const front = new Front(server);
  t.after(() => front.close());
  await front.listen();
  // In this page, not in a worker, which has a policy of its own.
  front.pages.set('/page', `<!doctype html><meta http-equiv="content-security-policy" content="connect-src http:"><script>delete window.SharedWorker</script>
    <script type="module" src="/job-progress.js"></script><job-progress job="reel"></job-progress>`);
  await server.report('reel', { progress: 0.5 });
  await firefox.open(`${front.url}/page`);
  const percent = () => firefox.evaluate(`document.querySelector('job-progress').shadowRoot?.querySelector('.percent').textContent`);
  await until('50 %', async () => (await percent()) === '50%');
  await server.report('reel', { progress: 0.75 });
  await until('75 %', async () => (await percent()) === '75%');
  // What the browser itself says of the policy.
  assert.deepEqual(firefox.faults.filter((fault) => !/Content-Security-Policy/.test(fault)), []);
  firefox.faults = [];
});

test('Firefox: the try-it page runs a job to its end', options, async () => {
  await firefox.open(`${server.url}/try?job=trial`);
  await firefox.evaluate(`document.querySelector('#size').value = document.querySelector('#size option').value`);
  await firefox.evaluate(`[...document.querySelectorAll('button')].find((button) => /^Run/.test(button.textContent)).click()`);
  await until('the end', async () => (await server.state('trial')).status === 'completed');
  await firefox.reads('#live', /Completed|100 %/);
  assert.deepEqual(firefox.faults, []);
});
