// @ts-check
/**
 * Opens the page that is named on the command line in Chromium and writes, a JSON object a line:
 * {"frame"} for each text frame that its sockets get, {"text"} for what a person reads on it and {"healths"} that are shown in amber
 * (of jobs that are not well), each time that changes, {"fault"} for what goes wrong in it. Ends when its input does.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const address = process.argv[2];
if (!address) throw new Error('which page?');

/** @param {object} event */
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const folder = mkdtempSync(join(tmpdir(), 'milepost-e2e-'));
const context = await chromium.launchPersistentContext(folder, {
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--no-first-run', '--disable-dev-shm-usage',
  ],
});

process.stdin.resume();
process.stdin.on('end', async () => {
  await context.close();
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
});

const page = await context.newPage();
page.on('websocket', (socket) => {
  socket.on('framereceived', ({ payload }) => say({ frame: payload.toString() }));
});
page.on('pageerror', (error) => say({ fault: String(error) }));
page.on('crash', () => say({ fault: 'the page crashed' }));
await page.exposeFunction('onText', (/** @type {string} */ text, /** @type {string[]} */ healths) => say({ text, healths }));
await page.addInitScript(() => {
  let seen = '';
  const sendText = () => {
    // What an element shows in a tree of its own is not a part of the body's text.
    const inside = [...document.querySelectorAll('job-progress')].flatMap((bar) => [...(bar.shadowRoot?.querySelectorAll('[part]') ?? [])]);
    const shown = inside.map((part) => (part instanceof HTMLElement ? part.innerText : ''));
    const text = [document.body?.innerText ?? '', ...shown].join('\n');
    const unwell = [...document.querySelectorAll('[data-health], job-progress[health]')];
    const healths = unwell.map((each) => each.getAttribute('data-health') ?? each.getAttribute('health') ?? '');
    if (text + healths === seen) return;
    seen = text + healths;
    // @ts-expect-error: exposed to the page above.
    void window.onText(text, healths);
  };
  new MutationObserver(sendText).observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true,
  });
  // Nor does the observer see into it.
  setInterval(sendText, 100);
});
await page.goto(address);
