// @ts-check
/** The pages of the binary, in Chromium: `MILEPOST=target/debug/milepost node --test e2e/pages.test.js`. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { browser, forgive, leftovers, noFaults, open, reads, row, server } from './harness.js';
import { Server, Wire, changeStates, until, violations } from './site.js';

/**
 * Types the id that `/try` asks for, and goes on.
 * @param {import('playwright-core').Page} page
 * @param {string} job
 * @param {string} action
 */
async function confirm(page, job, action) {
  await page.locator('#confirm-id').fill(job);
  await page.locator('#confirm').getByRole('button', { name: action }).click();
}

/** @param {number} count */
function many(count) {
  return Array.from({ length: count }, (_, index) => ({
    job_id: `job_${String(index).padStart(5, '0')}`,
    status: ['completed', 'failed', 'processing', 'queued', 'cancelled'][index % 5],
    progress: (index % 100) / 100,
    message: `number ${index}`,
  }));
}

test('the dashboard shows a job live, from begin to end', async () => {
  const page = await open('/');
  await reads(page, '.empty h2', 'No jobs yet');
  await reads(page, '#connection-text', 'Live');
  await server.report('render', { progress: 0.25, stage: 'rendering', message: 'Frame 500 of 2000' });
  await reads(page, row('render'), /render[^]*rendering[^]*Frame 500 of 2000[^]*25 %/);
  await server.report('render', { progress: 0.5, message: 'Frame 1000 of 2000' });
  await reads(page, row('render'), /Frame 1000[^]*50 %/);
  assert.equal(await page.locator(row('render')).getByRole('progressbar').getAttribute('aria-valuenow'), '50');
  await server.report('render', { status: 'failed', progress: 0, error: 'Out of memory' });
  await reads(page, row('render'), /Out of memory[^]*50 %[^]*Failed/);
  await reads(page, '.ready', 'Ready');
  await reads(page, '.figures', /Connections\s*1/);
  noFaults();
});

test('a row and a job’s page tell how many others watch', async () => {
  await server.report('render', { progress: 0.25 });
  await server.report('quiet', { progress: 0.5 });
  const page = await open('/');
  await reads(page, row('render'), '25 %');
  /** @type {AbortController[]} */
  const others = [];
  leftovers.push(() => others.forEach((other) => other.abort()));
  const another = async () => {
    const { signal } = others[others.push(new AbortController()) - 1];
    assert.ok((await fetch(`${server.url}/jobs/render/events`, { signal })).ok);
  };
  await another();
  await another();
  await reads(page, `${row('render')} .watchers`, /^\s*2/);
  assert.equal(await page.locator(`${row('quiet')} .watchers`).isVisible(), false);
  await page.locator(row('render')).locator('.job-id').click();
  await reads(page, '[data-part="watchers"]', '2 besides this page');
  for (const other of others) other.abort();
  await reads(page, '[data-part="watchers"]', 'only this page');
  noFaults();
});

test('a job’s page shows its progress, course and outcome', async () => {
  const hostile = '<img src=x onerror=alert(1)>';
  await server.report('r1', { stage: 'analyzing', progress: 0.1, timestamp: '2024-01-01T00:00:00Z' });
  await server.report('r1', { stage: 'rendering', progress: 0.4, timestamp: '2024-01-01T00:01:00Z', metadata: { fps: 24, note: hostile } });
  const page = await open('/?job=r1');
  await reads(page, '.figure', /40 %[^]*rendering/);
  // By the server's clock: the worker's timestamps are a minute apart.
  await reads(page, '.timeline', /analyzing[^]*rendering[^]*now/);
  await reads(page, '[data-part="metadata"]', hostile);
  assert.match((await page.locator('.chart svg').getAttribute('aria-label')) ?? '', /from 10 % to 40 % within 1 s/);
  await page.getByText('As a table').click();
  await reads(page, '.samples', /40 %\s*rendering[^]*10 %\s*analyzing/);
  await server.report('r1', { status: 'completed', result: { video_url: 'https://cdn.example.com/video.mp4', bytes: 12, bad: 'javascript:alert(1)' } });
  await reads(page, '.badge', 'Completed');
  await reads(page, '.headline', /^Completed/);
  await reads(page, '.aside', /^ended \d\d:\d\d$/);
  await reads(page, '[data-part="begun"]', /^\d\d:\d\d$/);
  await reads(page, '.timeline', /Completed/);
  const links = page.locator('[data-part="result"] a');
  assert.deepEqual(await links.evaluateAll((all) => all.map((each) => each.getAttribute('href'))), ['https://cdn.example.com/video.mp4']);
  await server.report('r1', { attempt: 2, stage: 'rendering', progress: 0.1 });
  await reads(page, '.badge', 'Running, attempt 2');
  await page.getByText('Updates').click();
  await reads(page, '.log', /10 %\s*rendering[^]*Completed[^]*40 %/);
  await server.report('r1', { status: 'failed', error: 'Out of memory' });
  await reads(page, '.block-error', /Why it failed[^]*Out of memory/);
  noFaults();
});

test('a page that opens late shows the whole run', async () => {
  await server.report('film', { stage: 'analyzing', progress: 0 });
  // More than the 32 states that the server keeps: the beginning is in the samples and stages only.
  const updates = Array.from({ length: 60 }, (_, index) => ({ job_id: 'film', stage: 'rendering', progress: (31 + index) / 100 }));
  await server.reportMany(updates);
  const { states } = await (await fetch(`${server.url}/jobs/film/history`)).json();
  assert.ok(states.length < updates.length && states[0].progress > 0.5, `${states.length} states`);
  const page = await open('/?job=film');
  const chart = page.locator('.chart svg');
  await reads(page, '.timeline', /analyzing[^]*rendering[^]*now/);
  assert.match((await chart.getAttribute('aria-label')) ?? '', /from 0 % to 90 % /);
  // The line begins at the bottom left of the chart.
  const points = (await chart.locator('polyline.line').first().getAttribute('points')) ?? '';
  const bottomLeft = await chart.locator('line.grid').first().evaluate((line) => ['x1', 'y1'].map((name) => Number(line.getAttribute(name))));
  assert.deepEqual(points.split(' ')[0].split(',').map(Number), bottomLeft);
  await page.getByText('As a table').click();
  await reads(page, '.samples', /90 %\s*rendering[^]*0 %\s*analyzing/);
  noFaults();
});

test('long errors, messages and metadata open on demand', async () => {
  const error = `Traceback (most recent call last):\n${'  File "worker.py", line 7, in step\n    run()\n'.repeat(40)}ValueError: no such table: orders`;
  const keys = Object.fromEntries(Array.from({ length: 70 }, (_, index) => [`key_${index}`, index === 0 ? `${'x'.repeat(600)}END` : index]));
  await server.report('r1', { progress: 0.5, metadata: keys, message: `${'m'.repeat(1200)}END` });
  const page = await open('/?job=r1', { permissions: ['clipboard-read', 'clipboard-write'] });
  await reads(page, '.message', /m… Show all 1,203 characters$/);
  await page.locator('.message button').click();
  await reads(page, '.message', /mEND$/);
  await page.getByRole('button', { name: 'Show all 603 characters' }).click();
  await reads(page, '[data-part="metadata"]', /xEND/);
  await page.getByRole('button', { name: '20 more' }).click();
  await reads(page, '[data-part="metadata"]', 'key_69');
  await server.report('r1', { status: 'failed', error });
  await reads(page, '.error-summary', /^ValueError: no such table: orders$/);
  await page.locator('.block-error').getByText('All 82 lines').click();
  await reads(page, '.block-error pre', /^Traceback[^]*orders$/);
  await page.locator('.block-error').getByRole('button', { name: 'Copy' }).click();
  await reads(page, '.block-error button', 'Copied');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), error);
  await page.goto(server.url);
  await reads(page, row('r1'), 'ValueError: no such table: orders');
  noFaults();
});

test('a result is a tree that opens, links, copies and saves', async () => {
  const result = {
    files: [{ url: 'https://example.com/a.mp4', bytes: 1234567.5 }, { url: 'javascript:alert(1)', bytes: 8 }],
    rows: Array.from({ length: 60 }, (_, index) => index), none: null, ok: true, deep: { a: { b: { c: 'bottom' } } },
  };
  await server.report('r1', { progress: 0.5, metadata: { step: 1, at: { file: 'a' } } });
  const page = await open('/?job=r1', { permissions: ['clipboard-read', 'clipboard-write'], locale: 'de-DE' });
  const metadata = page.locator('[data-part="metadata"]');
  await metadata.locator('summary').click();
  await reads(page, '[data-part="metadata"]', /step\s*1[^]*at\s*\{1\}$/);
  await server.report('r1', { progress: 0.6, metadata: { step: 2, at: { file: 'b' } } });
  await reads(page, '[data-part="metadata"]', /step\s*2[^]*at\s*\{1\}$/);
  await metadata.locator('summary').click();
  await reads(page, '[data-part="metadata"]', /file\s*b$/);

  await server.report('r1', { status: 'completed', result });
  const tree = page.locator('[data-part="result"]');
  await reads(page, '[data-part="result"]', /1\.234\.567,5[^]*javascript:alert\(1\)[^]*rows\s*\[60\]\s*none\s*null\s*ok\s*true/);
  assert.deepEqual(await tree.locator('a').evaluateAll((all) => all.map((each) => each.getAttribute('href'))), ['https://example.com/a.mp4']);
  await tree.getByText('rows').click();
  await reads(page, '[data-part="result"]', /49\s*49\s*10 more/);
  await tree.getByRole('button', { name: '10 more' }).click();
  await reads(page, '[data-part="result"]', /59\s*59/);
  await page.locator('[data-part="result-copy"]').click();
  await reads(page, '[data-part="result-copy"]', 'Copied');
  assert.deepEqual(JSON.parse(await page.evaluate(() => navigator.clipboard.readText())), result);
  const [file] = await Promise.all([page.waitForEvent('download'), page.locator('[data-part="result-download"]').click()]);
  assert.equal(file.suggestedFilename(), 'r1-result.json');
  noFaults();
});

test('pages let no text become markup or a script', async () => {
  await server.report('film', { progress: 0.5 });
  const session = await browser.newBrowserCDPSession();
  for (const [path, shown] of [['/', '50 %'], ['/?job=film', '50 %'], ['/try?job=film', '50 %'], ['/embed/film', 'film']]) {
    const page = await open(path, {}, (opened) => opened.addInitScript(() => {
      const violated = /** @type {string[]} */ (Object.assign(globalThis, { violated: [] }).violated);
      addEventListener('securitypolicyviolation', ({ violatedDirective, sample }) => violated.push(`${violatedDirective}: ${sample}`));
    }));
    await reads(page, 'main', shown);
    // Frames share a worker, whose address is the one text that may become a script.
    if (path === '/embed/film') {
      await until('the shared worker', async () => {
        const { targetInfos } = await session.send('Target.getTargets');
        return targetInfos.some(({ type, url }) => type === 'shared_worker' && url === `${server.url}/milepost.js`);
      });
    }
    const violated = () => page.evaluate(() => /** @type {any} */ (globalThis).violated);
    assert.deepEqual(await violated(), [], path);
    const refused = await page.evaluate(() => {
      /** @type {Record<string, () => unknown>} */
      const attempts = {
        markup: () => (document.body.innerHTML = '<img src=x>'),
        script: () => (document.createElement('script').src = '/milepost.js'),
        worker: () => new SharedWorker('/index.js', { type: 'module' }),
        policy: () => /** @type {any} */ (globalThis).trustedTypes.createPolicy('other', {}),
      };
      return Object.entries(attempts).map(([name, attempt]) => {
        try {
          attempt();
          return `${name}: allowed`;
        } catch (error) {
          return `${name}: ${/** @type {Error} */ (error).name}`;
        }
      });
    });
    assert.deepEqual(refused, ['markup: TypeError', 'script: TypeError', 'worker: TypeError', 'policy: TypeError'], path);
    await until('four violations', async () => (await violated()).length === 4);
    await page.context().close();
  }
  forgive(/requires '?Trusted|Content Security Policy|trusted/i);
  noFaults();
});

test('an image of a result is loaded on demand', async () => {
  const pixel = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
  await server.report('r1', { status: 'completed', result: { poster: 'https://example.com/poster.png?size=2', gone: 'http://example.com/gone.webp', film: 'https://example.com/a.mp4' } });
  /** @type {string[]} */
  const loaded = [];
  const page = await open('/?job=r1', {}, (opened) => opened.route(/example\.com/, (route) => {
    loaded.push(route.request().url());
    return route.request().url().includes('poster') ? route.fulfill({ body: pixel, contentType: 'image/png' }) : route.fulfill({ status: 404 });
  }));
  await reads(page, '[data-part="result"]', /poster\.png\?size=2\s*Preview[^]*gone\.webp\s*Preview[^]*a\.mp4$/);
  assert.deepEqual(loaded, []);
  await page.getByRole('button', { name: 'Preview' }).first().click();
  const image = page.getByRole('img', { name: 'Preview of https://example.com/poster.png?size=2' });
  await until('a pixel', () => image.evaluate((shown) => /** @type {HTMLImageElement} */ (shown).naturalWidth === 1));
  await page.getByRole('button', { name: 'Preview' }).click();
  await reads(page, '[data-part="result"]', 'The image could not be loaded.');
  assert.deepEqual(await violations(page), []);
  forgive(/status of 404/);
  noFaults();
});

test('notifications of ends are asked for once', async () => {
  await server.report('r1', { progress: 0.4 });
  await server.report('r2', { progress: 0.4 });
  const page = await open('/?job=r1', {}, (opened) => opened.addInitScript(() => {
    const shown = /** @type {[string, string][]} */ ([]);
    let asked = 0;
    class Recorded {
      static permission = 'default';
      static async requestPermission() {
        asked += 1;
        return (Recorded.permission = 'granted');
      }
      /** @param {string} title @param {{ body: string }} options */
      constructor(title, { body }) {
        shown.push([title, body]);
      }
    }
    Object.assign(globalThis, { Notification: Recorded, notified: () => [asked, ...shown] });
  }));
  await reads(page, '.figure', '40 %');
  // @ts-expect-error: put into the page above.
  const notified = () => page.evaluate(() => globalThis.notified());
  const button = page.locator('[data-part="notify"]');
  await reads(page, '[data-part="notify"]', 'Notify me when it ends');
  assert.deepEqual(await notified(), [0]);
  for (const text of ['You will be notified', 'Notify me when it ends', 'You will be notified']) {
    await button.click();
    await reads(page, '[data-part="notify"]', text);
  }
  assert.deepEqual(await violations(page), []);
  await server.report('r1', { status: 'failed', error: 'ValueError: no such table' });
  await reads(page, '.badge', 'Failed');
  assert.equal(await button.isVisible(), false);
  assert.deepEqual(await notified(), [1, ['Failed: r1', 'ValueError: no such table']]);
  // Any page may use the module by itself. This one has no policy for a worker that tabs share.
  const done = page.evaluate(async () => {
    const { notifyOnEnd } = await import(String(new URL('/notify.js', location.href)));
    return notifyOnEnd('r2', { share: false });
  });
  await server.report('r2', { status: 'completed', message: 'all of it' });
  assert.equal(await done, true);
  assert.deepEqual((await notified()).at(-1), ['Completed: r2', 'all of it']);
  noFaults();
});

test('a job’s page lists its attempts, each with its error', async () => {
  await server.report('r1', { progress: 0.4 });
  const page = await open('/?job=r1');
  await reads(page, '.figure', '40 %');
  await server.report('r1', { status: 'failed', error: 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: first' });
  await reads(page, '.badge', 'Failed');
  assert.equal(await page.locator('[data-part="attempts-section"]').isVisible(), false);
  await server.report('r1', { attempt: 2, progress: 0.1 });
  await server.report('r1', { status: 'failed', error: 'second' });
  await server.report('r1', { attempt: 3, progress: 0.2 });
  const all = /Attempt 3\s*Running[^]*Attempt 2\s*Failed[^]*second[^]*Attempt 1\s*Failed[^]*ValueError: first/;
  await reads(page, '[data-part="attempts"]', all);
  await page.locator('[data-part="attempts"]').getByText('All 3 lines').click();
  await reads(page, '[data-part="attempts"]', /Traceback[^]*line 1/);
  // Who comes late sees the lines that name the causes, which is what the server keeps.
  await page.reload();
  await reads(page, '[data-part="attempts"]', all);
  assert.deepEqual(await violations(page), []);
  noFaults();
});

test('declared stages are labelled steps in every view', async () => {
  const stages = ['fetch', { id: 'encode', label: 'Encode the film', weight: 2 }, { id: 'proof', skipped: true }, { id: 'upload', label: 'Upload' }];
  await server.report('film', { stages, stage: 'fetch', stage_progress: 0 });
  await server.report('film', { stage: 'encode', stage_progress: 0.5 });
  const page = await open('/?job=film');
  await reads(page, '.figure', /50 %\s*Encode the film/);
  await reads(page, '[data-part="timeline"]', /^\s*fetch\s[^]*Encode the film\s+now\s[^]*proof\s+skipped\s+Upload\s+ahead\s*$/);
  assert.deepEqual(await violations(page), []);
  await page.goto(server.url);
  await reads(page, row('film'), /Encode the film[^]*50 %/);
  await page.goto(`${server.url}/embed/film`);
  await page.locator('job-progress').evaluate((bar) => bar.setAttribute('stages', ''));
  const steps = () => page.locator('job-progress [part="stages"] li').allInnerTexts();
  await until('the steps', async () => (await steps()).join() === '✓ fetch,● Encode the film,⊘ proof,○ Upload');
  assert.equal(await page.locator('job-progress [aria-current="step"]').innerText(), '● Encode the film');
  await server.report('film', { status: 'failed', error: 'no space left' });
  await until('the failure', async () => (await steps())[1] === '✕ Encode the film');
  await server.report('film', { attempt: 2, stages, stage: 'upload' });
  await server.report('film', { status: 'completed' });
  await until('all of it', async () => (await steps()).join() === '✓ fetch,✓ Encode the film,⊘ proof,✓ Upload');
  noFaults();
});

test('only a completed job without progress has a full bar', async () => {
  for (const status of ['completed', 'failed', 'cancelled']) await server.report(status, { status, progress: null });
  const page = await open('/');
  const bar = (/** @type {string} */ job) => page.locator(row(job)).locator('.bar');
  await reads(page, row('completed'), /100 %[^]*Completed/);
  assert.equal(await bar('completed').locator('.bar-fill').evaluate((fill) => getComputedStyle(fill).transform), 'matrix(1, 0, 0, 1, 0, 0)');
  for (const status of ['failed', 'cancelled']) assert.equal(await bar(status).isVisible(), false, status);
  await page.goto(`${server.url}/embed/completed`);
  await until('a full bar', async () => (await page.locator('job-progress .fill').getAttribute('style'))?.includes('100%'));
  await page.goto(`${server.url}/embed/failed`);
  await until('no bar', async () => !(await page.locator('job-progress .bar').isVisible()));
  noFaults();
});

test('a job’s page and the component count its children', async () => {
  await server.report('batch', { children_expected: 3, stage: 'rendering' });
  for (const part of [1, 2]) await server.report(`part-${part}`, { parent_id: 'batch', progress: 0.2 });
  await server.report('part-1', { status: 'failed', error: 'no' });
  const page = await open('/?job=batch');
  await reads(page, '[data-part="children-count"]', '1 of 3 ended · 1 failed · 1 running');
  // It has no progress until a child has.
  await reads(page, '[data-part="timeline"]', /\s\d+ %\s*$/);
  assert.doesNotMatch(await page.locator('[data-part="timeline"]').innerText(), /–/);
  // What failed comes first.
  await reads(page, '[data-part="children"]', /part-1[^]*no[^]*Failed[^]*part-2[^]*20 %/);
  // A child that advances, and changes no count.
  await server.report('part-2', { progress: 0.6 });
  await reads(page, '[data-part="children"]', /part-2[^]*60 %/);
  assert.deepEqual(await violations(page), []);
  await page.goto(`${server.url}/embed/batch`);
  await until('the count', async () => /^1 of 3/.test(await page.locator('job-progress [part="aside"]').innerText()));
  noFaults();
});

test('children are asked for again after a request that failed', async () => {
  await server.report('batch', { children_expected: 1 });
  await server.report('part-1', { parent_id: 'batch', status: 'completed' });
  let requests = 0;
  const page = await open('/?job=batch', {}, (opened) => void opened.route(/[?]parent=/, (route) => {
    requests += 1;
    return requests === 1 ? route.fulfill({ status: 503, json: {} }) : route.continue();
  }));
  await reads(page, '[data-part="children"]', /part-1/);
});

test('children that need attention have rows, others a count', async () => {
  await server.report('batch', { children_expected: 130 });
  const child = (/** @type {number} */ index, /** @type {object} */ fields) => ({ job_id: `part-${index}`, parent_id: 'batch', ...fields });
  await server.reportMany([
    child(0, { status: 'failed', error: 'no space left on device' }), child(1, { progress: 0.3 }), child(2, { status: 'queued' }),
    ...Array.from({ length: 117 }, (_, index) => child(index + 3, { status: 'completed' })),
    { job_id: 'another', status: 'failed', error: 'of nobody' },
  ]);
  const page = await open('/?job=batch');
  await reads(page, '[data-part="children-count"]', '118 of 130 ended · 1 failed · 1 running · 1 queued');
  await reads(page, '[data-part="children"]', /^\s*part-0\s[^]*no space[^]*Failed[^]*part-1\s[^]*30 %[^]*part-2\s[^]*Queued[^]*part-\d+[^]*Completed/);
  assert.equal(await page.locator('.children .child').count(), 50);
  assert.deepEqual(await violations(page), []);
  await page.getByText('and 70 more').click();
  await reads(page, '[data-part="parent-filter"]', /Children of\s+batch/);
  await until('the children only', async () => /All 120\b/.test((await page.locator('.filter').innerText()).replace(/\s+/g, ' ')));
  await page.locator('.filter label', { hasText: 'Failed' }).click();
  await until('the failed child', async () => (await page.locator('.jobs .job-id').allInnerTexts()).join() === 'part-0');
  assert.match(page.url(), /parent=batch/);
  await page.getByRole('button', { name: 'Show jobs with any parent' }).click();
  await until('all that failed', async () => (await page.locator('.jobs .job-id').allInnerTexts()).length === 2);
  assert.deepEqual(await violations(page), []);
  noFaults();
});

test('a browser that shows no notifications still shows the end', async () => {
  await server.report('r1', { progress: 0.4 });
  const page = await open('/?job=r1', {}, (opened) => opened.addInitScript(() => {
    // As Chrome on Android.
    class Refusing {
      static permission = 'granted';
      constructor() {
        throw new TypeError('Illegal constructor');
      }
    }
    Object.assign(globalThis, { Notification: Refusing });
  }));
  await page.locator('[data-part="notify"]').click();
  await reads(page, '[data-part="notify"]', 'You will be notified');
  await server.report('r1', { status: 'completed' });
  await reads(page, '.badge', 'Completed');
  noFaults();
});

test('a silent worker looks the same in the list and on its page', async () => {
  await server.report('r1', { stage: 'copying', progress: 0.99 });
  await server.report('r2', { progress: null });
  const page = await open('/');
  await reads(page, row('r1'), '99 %');
  await changeStates(page.context(), () => ({ last_seen_at: new Date(Date.now() - 725_000).toISOString(), health: 'lost' }));
  await page.reload();
  await reads(page, '#connection-text', 'Live');
  await server.report('r1', { progress: 0.99 });
  await server.report('r2', { progress: null });
  for (const job of ['r1', 'r2']) await reads(page, row(job), /Silent for 12 min\s*12 min ago/);
  const amber = await page.locator(`${row('r1')} .left`).evaluate((part) => getComputedStyle(part).color);
  const looks = (/** @type {string} */ selector) => page.locator(selector).first().evaluate((part) => getComputedStyle(part).backgroundColor);
  await until('an amber bar', async () => (await looks(`${row('r1')} .bar-fill`)) === amber);
  assert.equal(await page.locator(`${row('r2')} .bar-fill`).evaluate((fill) => getComputedStyle(fill).animationName), 'none');
  await page.goto(`${server.url}/?job=r1`);
  await reads(page, '.badge', 'Silent');
  await reads(page, '.figure', /99 %[^]*Silent for 12 min$/);
  assert.equal(await page.locator('.aside').evaluate((part) => getComputedStyle(part).color), amber);
  await until('an amber bar', async () => (await looks('.bar-fill')) === amber);
  assert.doesNotMatch(await page.locator('[data-part="timeline"]').innerText(), /now/);
  assert.deepEqual(await violations(page), []);
  noFaults();
});

test('attention is one click away, and the tab shows ends', async () => {
  await server.reportMany(many(1500));
  await server.report('broken', { progress: 0.5 });
  await server.report('broken', { status: 'failed', error: 'Out of memory' });
  const past = (/** @type {number} */ seconds) => new Date(Date.now() - seconds * 1000).toISOString();
  await server.report('overdue', { progress: 0.7, eta: past(600), eta_high: past(60) });
  await server.report('late-perhaps', { progress: 0.7, eta: past(600), eta_high: past(-3600) });
  const page = await open('/');
  await reads(page, '[data-count="attention"]', '302');
  await page.getByText('Need attention').click();
  await reads(page, row('overdue'), 'longer than usual');
  assert.equal(await page.locator(row('late-perhaps')).count(), 0);
  await reads(page, row('broken'), /Out of memory[^]*Failed/);
  assert.equal(await page.locator('.jobs .job:not([data-status="failed"], [data-overdue])').count(), 0);
  assert.match(page.url(), /status=attention/);
  await server.report('r1', { progress: 0.5 });
  await page.goto(`${server.url}/?job=r1`);
  await until('a title', async () => /^50\s%/.test(await page.title()));
  const icon = () => page.evaluate(() => document.querySelector('link[rel=icon]')?.getAttribute('href') ?? '');
  await until('half an icon', async () => /width%3D'8'/.test(await icon()));
  const running = await icon();
  await server.report('r1', { status: 'failed', error: 'no' });
  await until('a title', async () => /^Failed at 50\s%/.test(await page.title()));
  assert.notEqual(await icon(), running);
  noFaults();
});

test('a phone shows long names, paper no navigation', async () => {
  const name = 'customers-import:2026-11-29T04-00-00~eu-west';
  await server.report(name, { progress: 0.5, stage: 'copying' });
  const page = await open('/', { viewport: { width: 320, height: 640 } });
  await reads(page, row(name), '50 %');
  const cut = () => page.locator(`${row(name)} .job-id`).evaluate((link) => link.scrollWidth > link.clientWidth || link.scrollHeight > link.clientHeight + 1);
  assert.equal(await cut(), false);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
  await page.emulateMedia({ media: 'print' });
  assert.equal(await page.locator('.pages').isVisible(), false);
  noFaults();
});

for (const width of [1153, 1280, 1440, 1601]) {
  test(`at ${width} px a row’s rate and time left are whole`, async () => {
    await server.report('render', { progress: 0.4, stage: 'rendering', message: 'm'.repeat(300) });
    const page = await open('/', { viewport: { width, height: 700 } });
    const at = (/** @type {number} */ minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
    await changeStates(page.context(), () => ({ eta: at(39), eta_high: at(64), eta_basis: 'rate', progressed_at: at(0), last_seen_at: at(0) }));
    await page.reload();
    await reads(page, '#connection-text', 'Live');
    await server.report('render', { progress: 0.4, message: 'm'.repeat(300) });
    await reads(page, `${row('render')} .left`, /1\.5 %\/min.*39–64 min left/s);
    const isCut = await page.locator(`${row('render')} .left`).evaluate((left) => left.scrollWidth > left.clientWidth);
    assert.equal(isCut, false);
    noFaults();
  });
}

test('a worker whose clock is an hour off looks right', async () => {
  for (const [job, hours] of /** @type {const} */ ([['slow', -1], ['fast', 1]])) {
    await server.report(job, { progress: 0.5, timestamp: new Date(Date.now() + hours * 3_600_000).toISOString() });
  }
  const page = await open('/');
  for (const job of ['slow', 'fast']) await reads(page, row(job), /50 %[^]*(just now|\d s ago)/);
  assert.equal(await page.locator('.jobs [data-health]').count(), 0);
  noFaults();
});

test('a page waits for an unknown job, and rejects a bad id', async () => {
  const page = await open('/?job=later');
  await reads(page, '.empty', /Nobody has reported this job yet[^]*curl -X POST/);
  await server.report('later', { progress: 0.3 });
  await reads(page, '.figure', '30 %');
  // The page asks for the job, and Chromium notes the answer.
  forgive(/the server responded with a status of 404/);
  noFaults();
  await page.goto(`${server.url}/?job=${encodeURIComponent('not allowed/')}`);
  await reads(page, '.empty', /not allowed|character/);
});

for (const path of ['/?job=half', '/try?job=half', '/']) {
  test(`${path}: a reload at 50 % shows 50 %`, async () => {
    await server.report('half', { stage: 'rendering', progress: 0.25 });
    const page = await open(path);
    await reads(page, 'main', '25 %');
    await server.report('half', { stage: 'rendering', progress: 0.5 });
    await reads(page, 'main', '50 %');
    await page.reload();
    await reads(page, 'main', '50 %');
    await server.report('half', { status: 'completed' });
    await reads(page, 'main', /100 %/);
    noFaults();
  });

  test(`${path}: a server that is killed and comes back`, async () => {
    await server.report('half', { stage: 'rendering', progress: 0.5, message: 'before' });
    const page = await open(path);
    await reads(page, 'main', '50 %');
    await reads(page, '#connection-text', 'Live');
    await server.kill();
    await reads(page, '#connection-text', 'Reconnecting');
    await reads(page, 'main', '50 %');
    await reads(page, '#notice', 'Connection lost. This is what was last known.');
    assert.deepEqual(await violations(page), []);
    await server.start();
    await server.report('half', { stage: 'rendering', progress: 0.75, message: 'after' });
    await page.locator('#retry').click({ timeout: 1000 }).catch(() => {});
    await reads(page, '#connection-text', 'Live');
    await reads(page, 'main', /after[^]*75 %|75 %[^]*after/);
    assert.equal(await page.locator('#notice').isVisible(), false);
    noFaults();
  });

  test(`${path}: offline, and back`, async () => {
    const wire = new Wire(server.port);
    leftovers.push(() => wire.remove());
    const url = await wire.open();
    await server.report('half', { progress: 0.5 });
    const page = await open(url + path);
    await reads(page, 'main', '50 %');
    await reads(page, '#connection-text', 'Live');
    await page.context().setOffline(true);
    wire.cut();
    await reads(page, '#connection-text', 'Offline');
    await reads(page, '#notice', 'You are offline');
    await reads(page, 'main', '50 %');
    await server.report('half', { status: 'completed', result: 'done' });
    wire.mend();
    await page.context().setOffline(false);
    await reads(page, '#connection-text', 'Live');
    await reads(page, 'main', /Completed/);
    noFaults();
  });
}

test('of 10,000 jobs, only visible ones are watched', async () => {
  await server.reportMany(many(10_000));
  /** @type {Set<string>} */
  const subscribed = new Set();
  let sockets = 0;
  const page = await open('/', {}, (page) => page.on('websocket', (socket) => {
    sockets += 1;
    socket.on('framesent', ({ payload }) => {
      const { type, job_id } = JSON.parse(payload.toString());
      if (type === 'subscribe') subscribed.add(job_id);
      if (type === 'unsubscribe') subscribed.delete(job_id);
    });
  }));
  await reads(page, 'h1', /Jobs\s*10,000/);
  await reads(page, row('job_09999'), 'number 9999');
  const bounded = async () => {
    assert.ok((await page.locator('.jobs .job').count()) <= 60);
    assert.ok((await page.locator('*').count()) <= 1500);
    assert.ok(subscribed.size <= 60, `${subscribed.size} are watched`);
  };
  await bounded();

  // To the end, page by page.
  await page.locator(row('job_09999')).locator('.job-id').focus();
  await until('the last one', async () => {
    await page.keyboard.press('End');
    await bounded();
    return page.locator(row('job_00000')).isVisible();
  });
  assert.equal(await page.locator(row('job_00000')).getAttribute('aria-setsize'), '10000');
  await until('that it is watched', () => subscribed.has('job_00002') && !subscribed.has('job_09997'));
  await server.report('job_00002', { progress: 0.87, message: 'alive' });
  await reads(page, row('job_00002'), /alive[^]*87 %/);

  // Through all of it with the wheel: what is there is where it belongs.
  for (let top = 0; top < 480_000; top += 16_000) {
    await page.evaluate((to) => scrollTo(0, to), top);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await bounded();
    const shown = await page.evaluate(() => document.elementsFromPoint(600, 500).some((element) => element.closest('.jobs .job')));
    assert.ok(shown, `nothing is shown at ${top}`);
  }
  const stats = await server.stats();
  assert.ok(stats.active_jobs <= 80, `${stats.active_jobs} are watched`);
  assert.equal(sockets, 1);

  // Who reads further down is not moved by what comes on top.
  await page.evaluate(() => scrollTo(0, 200_000));
  const at = () => page.evaluate(() => document.elementsFromPoint(600, 500).map((element) => element.closest('.jobs .job')?.querySelector('.job-id')?.textContent).find(Boolean));
  await until('a row', at);
  const before = await at();
  await server.reportMany(Array.from({ length: 50 }, (_, index) => ({ job_id: `new_${index}`, progress: 0.1 })));
  await reads(page, 'h1', '10,050').catch(() => {});
  await until('the new ones', async () => (await page.locator('h1').textContent())?.includes('10,050'));
  assert.equal(await at(), before);
  noFaults();
});

test('a search goes on over pages of the server without a match', async () => {
  await server.report('needle', { progress: 0.5 });
  await server.reportMany(many(25_000));
  const page = await open('/');
  await page.waitForResponse((response) => /limit=1000&after=\w+$/.test(response.url()));
  // So it is where the server considers fewer jobs for a page than it has.
  /** @type {(() => void)[]} */
  const held = [];
  let pages = 0;
  await page.route(/\/jobs\?limit=1000&after=\w+&q=/, async (route) => {
    const asked = new URL(route.request().url()).searchParams;
    if (asked.get('q') === 'nothing') await new Promise((resolve) => held.push(() => resolve(null)));
    else if ((pages += 1) > 3) return route.continue();
    return route.fulfill({ json: { jobs: [], next: asked.get('after'), total: 25_001 }, headers: { date: new Date().toUTCString() } });
  });
  /** @type {string[]} */
  const said = [];
  await page.exposeFunction('say', (/** @type {string} */ text) => said.push(text));
  await page.evaluate(() => {
    const seen = () => {
      // @ts-expect-error: exposed to the page above.
      if (!document.querySelector('[data-part="no-match"]')?.hidden) window.say('no match');
      // @ts-expect-error: as above.
      window.say(document.getElementById('announcements')?.textContent);
    };
    new MutationObserver(seen).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  });
  await page.getByRole('searchbox').fill('nothing');
  await until('a search', () => held.length === 1);
  // Another one begins while the first is under way.
  await page.getByRole('searchbox').fill('needle');
  await until('another', () => new URL(page.url()).searchParams.get('q') === 'needle');
  held[0]?.();
  await reads(page, row('needle'), '50 %');
  await until('the count said', () => said.includes('1 job'));
  assert.deepEqual(said.filter((text) => text && text !== '1 job'), []);
  assert.ok(pages > 3);
  noFaults();
});

test('rows are there before the jobs of each status are counted', async () => {
  await server.report('render', { progress: 0.25 });
  // These requests are never answered.
  const page = await open('/', {}, (opened) => void opened.route(/[?&]status=/, () => {}));
  await reads(page, row('render'), '25 %');
  await reads(page, '#connection-text', 'Live');
  noFaults();
});

test('search and filter, over what is loaded and beyond', async () => {
  await server.reportMany(many(3000));
  await server.report('job_00007', { message: 'number 7', tags: ['Nightly'] });
  const page = await open('/');
  await reads(page, row('job_02999'), 'number 2999');
  const search = page.getByRole('searchbox');
  // Part of an id that is loaded, and of one that is not.
  await search.fill('2998');
  await reads(page, row('job_02998'), 'number 2998');
  await until('that it alone is there', async () => (await page.locator('.jobs .job').count()) === 1);
  await search.fill('0001');
  await reads(page, row('job_00001'), 'number 1');
  await until('the counts of those', async () => /All 11\b/.test((await page.locator('.filter').innerText()).replace(/\s+/g, ' ')));
  await search.fill('nightly');
  await reads(page, row('job_00007'), 'number 7');
  await search.fill('no such job');
  await reads(page, '[data-part="no-match-text"]', 'No job has “no such job” in its id, name or tags');
  await search.fill('');
  // Of jobs that are not loaded, too, the dialog says how many there are of each kind.
  await reads(page, '[data-count="failed"]', '600');
  await until('a title', async () => (await page.title()) === '1,200 active – Milepost');
  await page.getByText('Failed', { exact: false }).first().click();
  await reads(page, row('job_02996'), /Failed/);
  assert.equal(await page.locator('.jobs .job:not([data-status="failed"])').count(), 0);
  await reads(page, '[data-count="failed"]', '600');
  assert.match(page.url(), /status=failed/);
  await page.reload();
  await reads(page, row('job_02996'), /Failed/);
  assert.equal(await page.getByRole('radio', { name: /Failed/ }).isChecked(), true);

  // A job that changes is where it belongs by what it is now.
  await page.getByText('Active', { exact: false }).first().click();
  await reads(page, row('job_02997'), 'number 2997');
  await server.report('job_02997', { status: 'completed' });
  await until('that it is gone', async () => (await page.locator(row('job_02997')).count()) === 0);
  noFaults();
});

test('a server that is not ready says why, at a glance', async () => {
  await server.reportMany(many(5));
  const page = await open('/');
  await reads(page, '.ready', /Ready\s+broker, hub, server answer/);
  const body = { status: 'not ready', checks: { broker: 'no answer', hub: 'ok', server: 'ok' } };
  await page.route('**/readyz', (route) => route.fulfill({ status: 503, json: body }));
  await reads(page, '.ready', /Not ready\s+broker: no answer/);
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await violations(page), []);
  }
});

test('a forgotten job leaves the dashboard', async () => {
  await server.reportMany(many(5));
  const page = await open('/');
  await reads(page, row('job_00003'), 'number 3');
  await fetch(`${server.url}/jobs/job_00003`, { method: 'DELETE' });
  await until('that it is gone', async () => (await page.locator(row('job_00003')).count()) === 0);
  await reads(page, 'h1', /Jobs\s*4/);
  noFaults();
});

test('with the keyboard alone', async () => {
  await server.reportMany(many(300));
  const page = await open('/');
  await reads(page, row('job_00299'), 'number 299');
  const focused = () => page.evaluate(() => document.activeElement?.textContent ?? '');
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('type')), 'search');
  await page.keyboard.type('job_001');
  await reads(page, row('job_00199'), 'number 199');
  await until('that only these are there', async () => (await page.locator(row('job_00299')).count()) === 0);
  await page.keyboard.press('ArrowDown');
  assert.equal(await focused(), 'job_00199');
  for (const [key, id] of [['ArrowDown', 'job_00198'], ['j', 'job_00197'], ['k', 'job_00198'], ['End', 'job_00100'], ['Home', 'job_00199'], ['ArrowUp', 'job_00199']]) {
    await page.keyboard.press(key);
    assert.equal(await focused(), id, key);
    assert.ok(await page.evaluate(() => document.activeElement?.matches(':focus-visible')));
  }
  for (let presses = 0; presses < 30; presses += 1) await page.keyboard.press('ArrowDown');
  const opened = await focused();
  assert.equal(opened, 'job_00169');
  await page.keyboard.press('Enter');
  await reads(page, '.job-large h1', opened);
  await page.keyboard.press('Escape');
  await reads(page, row(opened), opened);
  assert.equal(await focused(), opened);
  assert.match(page.url(), /q=job_001/);
  // Past the row's own checkbox.
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Shift+Tab');
  for (const status of ['attention', 'active']) {
    await page.keyboard.press('ArrowRight');
    await until('the filter', () => page.url().includes(`status=${status}`));
  }
  await page.keyboard.press('/');
  await page.keyboard.press('Escape');
  await until('no search', () => !/q=/.test(page.url()));
  noFaults();
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`axe-core has nothing against any page in ${colorScheme}`, async () => {
    const page = await open('/', { colorScheme });
    await reads(page, '.empty h2', 'No jobs yet');
    assert.deepEqual(await violations(page), [], 'no jobs');
    await server.reportMany(many(40));
    await server.report('unknown-total', { progress: null, message: 'so far' });
    await reads(page, row('unknown-total'), 'Total not known');
    for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 844 }]) {
      await page.setViewportSize(viewport);
      assert.deepEqual(await violations(page), [], `jobs, ${viewport.width}`);
    }
    await page.getByRole('searchbox').fill('nothing like it');
    await reads(page, '[data-part="no-match-text"]', 'nothing like it');
    assert.deepEqual(await violations(page), [], 'no match');

    await server.report('r1', { stage: 'rendering', progress: 0.4, metadata: { fps: 24 } });
    await server.report('r1', { stage: 'uploading', progress: 0.9 });
    await page.goto(`${server.url}/?job=r1`);
    await reads(page, '.figure', '90 %');
    assert.deepEqual(await violations(page), [], 'a running job');
    await server.report('r1', { status: 'failed', error: 'Out of memory', result: 'https://example.com/', metadata: { fps: 24 } });
    await reads(page, '.block-error', 'Out of memory');
    for (const summary of await page.locator('summary:visible').all()) await summary.click();
    assert.deepEqual(await violations(page), [], 'a failed job');
    await page.goto(`${server.url}/?job=r2`);
    await reads(page, '.empty', 'Nobody has reported');
    assert.deepEqual(await violations(page), [], 'an unknown job');

    await server.report('r3', { status: 'completed', result: { video: 'https://example.com/v.mp4', frames: 2400 } });
    await page.goto(`${server.url}/?job=r3`);
    await reads(page, '[data-part="result-section"]', '2,400');
    await page.setViewportSize({ width: 390, height: 844 });
    assert.deepEqual(await violations(page), [], 'a completed job, 390');
    await page.setViewportSize({ width: 1280, height: 800 });

    await page.route('**/jobs?*', () => {});
    await page.goto(server.url);
    await reads(page, '.skeleton', 'Looking for jobs');
    assert.deepEqual(await violations(page), [], 'the list is loading');
    await page.route('**/jobs?*', (route) => route.fulfill({ status: 503, json: { detail: 'the broker does not answer' } }));
    await page.goto(server.url);
    await reads(page, '[data-part="fault"]', 'the broker does not answer');
    assert.deepEqual(await violations(page), [], 'the list could not be loaded');
    await page.unroute('**/jobs?*');

    await page.goto(`${server.url}/try`);
    assert.deepEqual(await violations(page), [], 'try');
    await page.goto(`${server.url}/try?job=r1`);
    await reads(page, '#live', 'Out of memory');
    await page.getByRole('button', { name: 'Report failure' }).click();
    await reads(page, '#confirm', 'Another worker reported it');
    assert.deepEqual(await violations(page), [], 'try, with a question');
    await confirm(page, 'r1', 'Report failure');
    await reads(page, '#trouble', 'The attempt has ended');
    assert.deepEqual(await violations(page), [], 'try, with trouble');
  });
}

test('/try does a job of its own, which others see too', async () => {
  const page = await open('/try');
  await reads(page, '#connection-text', 'Not connected');
  await page.locator('#job').fill('mine');
  await page.locator('#size').selectOption('64');
  await page.getByRole('button', { name: 'Run a sample job' }).click();
  await reads(page, '#connection-text', 'Live');
  await until('that it is under way', async () => {
    const { progress } = await server.state('mine');
    return progress > 0 && progress <= 1;
  });
  await reads(page, '#live', /Completed/);
  await reads(page, '#live', /100 %[^]*gzip_bytes/);
  const { result } = await server.state('mine');
  assert.equal(result.hashed_bytes, 64 * 1024 * 1024);
  assert.match(result.sha256_chain, /^[0-9a-f]{64}$/);
  await reads(page, '#log', /Completed[^]*hashing and compressing[^]*connected/);
  await page.getByRole('button', { name: 'Clear' }).click();
  await reads(page, '#log-empty', 'Nothing has happened yet.');
  noFaults();
});

test('/try reports ends and attempts, and shows rejections', async () => {
  const page = await open('/try');
  await page.locator('#job').fill('mine');
  await page.locator('#size').selectOption('4096');
  const run = page.getByRole('button', { name: 'Run a sample job' });
  await run.click();
  await reads(page, '#live', /of 4096 MiB/);
  await page.getByRole('button', { name: 'Report failure' }).click();
  await reads(page, '#live', /Failed[^]*Why it failed[^]*Somebody pressed the button/);
  noFaults();
  await page.getByRole('button', { name: 'Report cancellation' }).click();
  await reads(page, '#trouble', 'The attempt has ended: attempt 1 is failed');
  await page.getByRole('button', { name: 'New attempt' }).click();
  await reads(page, '#live .badge', 'Running, attempt 2');
  await page.getByRole('button', { name: 'Report cancellation' }).click();
  await reads(page, '#live .badge', 'Cancelled, attempt 2');
  assert.equal((await server.state('mine')).attempt, 2);
  await page.getByRole('button', { name: 'Disconnect' }).click();
  await reads(page, '#connection-text', 'Not connected');
  await page.getByRole('button', { name: 'Connect' }).click();
  await reads(page, '#connection-text', 'Live');

  // The work goes with its page, and its watchers are notified.
  await run.click();
  await reads(page, '#live .badge', 'Running, attempt 3');
  await page.goto('about:blank');
  await until('its failure', async () => (await server.state('mine')).error === 'The page that did the job was closed');
});

test('/try ends a job of another worker only for who types its id', async () => {
  await server.report('prod-migration', { stage: 'copying', progress: 0.4 });
  const page = await open('/try?job=prod-migration');
  await reads(page, '#live', '40 %');
  for (const name of ['Report failure', 'Report cancellation', 'New attempt', 'Run a sample job']) {
    await page.getByRole('button', { name }).click();
    await reads(page, '#confirm', /did not start that job[^]*prod-migration/);
    assert.equal(await page.locator('#confirm').getByRole('button', { name }).isDisabled(), true);
    await page.locator('#confirm-id').fill('prod');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Escape');
    await until('the question is gone', async () => !(await page.locator('#confirm').isVisible()));
  }
  const { status, stage, attempt } = await server.state('prod-migration');
  assert.deepEqual([status, stage, attempt], ['processing', 'copying', 1]);
  await page.getByRole('button', { name: 'Report failure' }).click();
  await confirm(page, 'prod-migration', 'Report failure');
  await reads(page, '#live', /Failed[^]*Somebody pressed the button/);
  noFaults();
});

test('/try shows the component in every state, and its theme as CSS to copy', async () => {
  const page = await open('/try', { viewport: { width: 320, height: 800 } });
  const scene = (/** @type {string} */ name) => page.locator(`#scenes job-progress[label="${name}"]`);
  await until('the states', async () => (await page.locator('#scenes job-progress[status]').count()) === 16);
  assert.equal(await scene('Worker is silent').locator('[part="aside"]').innerText(), 'Silent for 12 min');
  assert.equal(await scene('Children').locator('[part="aside"]').innerText(), '7 of 12');
  assert.equal(await scene('Stages as steps').locator('[aria-current]').innerText(), '● Encode the film');
  assert.equal(await scene('No job yet').locator('[part="stage"]').innerText(), 'Waiting for the job');
  await page.locator('#theme').getByLabel('color', { exact: true }).fill('#ff0000');
  await reads(page, '#theme-css', /^job-progress \{\s+--job-progress-color: #ff0000;\s+\}$/);
  assert.equal(await scene('Running').locator('[part="fill"]').evaluate((fill) => getComputedStyle(fill).backgroundColor), 'rgb(255, 0, 0)');
  await page.getByRole('button', { name: 'Reset' }).click();
  assert.equal(await page.locator('#theme-css').isVisible(), false);
  await page.locator('#ways').selectOption('Vue');
  await reads(page, '#snippet', `useJob(() => props.id, { url: '${server.url}' })`);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'too wide');
  assert.deepEqual(await violations(page), []);
  noFaults();
});

test('/try keeps a bounded log', async () => {
  const page = await open('/try?job=chatty');
  await reads(page, '#connection-text', 'Live');
  for (let batch = 0; batch < 15; batch += 1) {
    for (let step = 0; step < 20; step += 1) await server.report('chatty', { message: `step ${batch * 20 + step}` });
    await reads(page, '#live .message', `step ${batch * 20 + 19}`);
  }
  assert.ok((await page.locator('#log li').count()) <= 200);
  noFaults();
});

test('/try watches a foreign server when asked to, and names what is missing', async () => {
  const other = new Server();
  leftovers.push(() => other.remove());
  await other.start();
  await other.report('far', { progress: 0.5 });
  const page = await open(`/try?job=far&server=${encodeURIComponent(other.url)}`);
  await reads(page, '#live .message', 'This link names another server. Connect to watch its job.');
  assert.doesNotMatch(await page.locator('#live').innerText(), /50 %/);
  await page.getByRole('button', { name: 'Connect' }).click();
  await reads(page, '#live', '50 %');
  noFaults();
  await page.getByRole('button', { name: 'Report failure' }).click();
  await confirm(page, 'far', 'Report failure');
  await reads(page, '#trouble', /(did not get through|may not do this)[^]*--set cors_origins=http:\/\/127\.0\.0\.1:\d+/);

  const friend = new Server(`cors_origins=${server.url}`);
  leftovers.push(() => friend.remove());
  await friend.start();
  await page.goto(`${server.url}/try?job=near&server=${encodeURIComponent(friend.url)}`);
  await page.getByRole('button', { name: 'Connect' }).click();
  await reads(page, '#connection-text', 'Live');
  await page.getByRole('button', { name: 'Report failure' }).click();
  await reads(page, '#live', /Failed/);
});

test('a job is paused, resumed and cancelled from its page', async () => {
  await server.report('job-plain', { progress: 0.5 });
  await server.report('job-c', { cancellable: true, progress: 0.5 });
  const plain = await open('/?job=job-plain');
  await reads(plain, '.figure', '50 %');
  assert.equal(await plain.locator('.actions').isVisible(), false);

  const page = await open('/?job=job-c');
  await page.getByRole('button', { name: 'Pause' }).click();
  await reads(page, '.pending', 'Pausing…');
  await server.report('job-c', { progress: 0.5, paused: true });
  await reads(page, '.pending', 'Paused');
  await page.getByRole('button', { name: 'Resume' }).click();
  await reads(page, '.pending', 'Resuming…');
  // One click more confirms it.
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.equal((await server.state('job-c')).requested.action, 'resume');
  await page.getByRole('button', { name: 'Really cancel?' }).click();
  await reads(page, '.pending', 'Cancelling…');
  assert.equal((await server.state('job-c')).requested.action, 'cancel');
  assert.equal(await page.locator('.actions button:visible').count(), 0);
  const list = await open('/');
  await reads(list, '.jobs .job:has-text("job-c") .left', 'Cancelling…');
  assert.deepEqual(await violations(page), []);
  await server.report('job-c', { status: 'cancelled' });
  await reads(page, '.headline', 'Cancelled');
  assert.equal(await page.locator('.actions').isVisible(), false);
  noFaults();
});

test('a log follows with colours, search, links and download', async () => {
  await server.report('r1', { progress: 0.5 });
  const page = await open('/?job=r1', { permissions: ['clipboard-read', 'clipboard-write'] });
  await reads(page, '.figure', '50 %');
  assert.equal(await page.locator('.output').isVisible(), false);
  await server.write('r1', '\x1b[1;31merror\x1b[0m: <b>disk</b>', { text: 'warned', stream: 'stderr' });
  await reads(page, '.output', /1\s+error: <b>disk<\/b>\s+2\s+warned/);
  assert.equal(await page.locator('.ansi-red.ansi-bold').innerText(), 'error');
  assert.deepEqual(await violations(page), []);
  await server.write('r1', ...Array.from({ length: 300 }, (_, index) => `frame ${index}`));
  await reads(page, '.output', 'frame 299');
  const distance = () => page.locator('.output').evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight);
  await until('the end in sight', async () => (await distance()) < 24);

  // A reader further up stays there, and sees that lines were added.
  await page.locator('.output').evaluate((log) => (log.scrollTop = 0));
  // The page hears of it with the next frame.
  await reads(page, '.output-follow', 'Follow ↓');
  await server.write('r1', 'later 1', 'later 2');
  await reads(page, '.output-follow', '2 new lines');
  assert.ok((await distance()) > 100);
  await page.locator('.output-follow').click();
  await until('the end in sight', async () => (await distance()) < 24);

  await page.getByLabel('Find in the log').fill('FRAME 29');
  await reads(page, '.found', '11 of 11 lines');
  await page.getByLabel('Next match').click();
  await reads(page, '.found', '1 of 11 lines');
  assert.match((await page.locator('.output [data-current]').textContent()) ?? '', /frame 29$/);
  await page.getByLabel('Find in the log').fill('');
  await until('no marks', async () => (await page.locator('.output [data-match]').count()) === 0);

  await page.locator('.output li:has-text("frame 100") .line-number').click();
  assert.match(page.url(), /\?job=r1#L103$/);
  const [file] = await Promise.all([page.waitForEvent('download'), page.locator('[data-part="output-download"]').click()]);
  assert.equal(file.suggestedFilename(), 'r1.log');
  const another = await open(new URL(page.url()).pathname + new URL(page.url()).search + '#L103');
  await reads(another, '.output [data-linked]', /103\s+frame 100/);
  await until('the line in sight', () => another.locator('.output [data-linked]').evaluate((line) => {
    const [line_, log] = [line.getBoundingClientRect(), /** @type {Element} */ (line.closest('.output')).getBoundingClientRect()];
    return line_.top >= log.top && line_.bottom <= log.bottom && line_.bottom < innerHeight;
  }));
  noFaults();
});

test('a log in a page is bounded, and says which lines are missing', async () => {
  await server.report('r1', { progress: 0.5 });
  const long = 'x'.repeat(1000);
  await server.write('r1', ...Array.from({ length: 100 }, (_, index) => `${index} ${long}`));
  await server.write('r1', ...Array.from({ length: 100 }, (_, index) => `${index} ${long}`));
  await server.write('r1', ...Array.from({ length: 100 }, (_, index) => `${index} ${long}`));
  const page = await open('/?job=r1#L5');
  // What is out of sight has no layout, and so no inner text.
  const gap = async () => (await page.locator('.output .gap').allTextContents()).join();
  await until('a gap', async () => /^Lines 1–\d+ are no longer kept$/.test(await gap()));
  await reads(page, '.output-note', 'Line 5 is not here');
  await reads(page, '[data-part="output-count"]', '300 lines');
  for (let times = 0; times < 6; times += 1) {
    await server.write('r1', ...Array.from({ length: 1000 }, (_, index) => `s ${times} ${index}`));
    await reads(page, '.output', `s ${times} 999`);
  }
  assert.equal(await page.locator('.output li[data-n]').count(), 5000);
  assert.match(await gap(), /^Lines 1–1,\d\d\d are no longer kept$/);
  noFaults();
});

test('a log of long lines follows to its end', async () => {
  await server.report('r1', { progress: 0.5 });
  const long = (/** @type {number} */ length) => Array.from({ length: 60 }, (_, index) => `${index} ${'x'.repeat(length)}`);
  await server.write('r1', ...long(2000));
  const page = await open('/?job=r1');
  const distance = () => page.locator('.output').evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight);
  await reads(page, '.output', '59 xxx');
  await until('the end in sight', async () => (await distance()) < 24);
  await server.write('r1', ...long(1500), 'the last one');
  await reads(page, '.output', 'the last one');
  await until('the end in sight', async () => (await distance()) < 24);
  // It comes in several parts. The line that the address names may be in a later one, and none of them is new.
  const linked = await open('/?job=r1#L110');
  await reads(linked, '.output [data-linked]', /110\s+49 xxx/);
  await until('all lines', async () => (await linked.locator('.output li[data-n]').count()) === 121);
  await reads(linked, '.output-follow', /^Follow/);
  assert.equal(await linked.locator('.output-note').innerText(), '');
  noFaults();
});

test('artifacts are links of the web only', async () => {
  const artifacts = [{ name: 'film.mp4', url: 'https://example.com/film.mp4', media_type: 'video/mp4', size: 1_250_000 }, { name: 'bad', url: 'javascript:alert(1)' }];
  await server.report('r1', { progress: 0.5, artifacts });
  const page = await open('/?job=r1');
  await reads(page, '[data-part="artifacts"]', /film.mp4\s*video\/mp4 · 1.3 MB\s*bad/);
  assert.deepEqual(await page.locator('[data-part="artifacts"] a').evaluateAll((all) => all.map((each) => each.getAttribute('href'))), ['https://example.com/film.mp4']);
  noFaults();
});

test('a row’s menu copies, cancels and deletes its job', async () => {
  await server.report('job-c', { cancellable: true, progress: 0.5 });
  await server.report('job-d', { progress: 0.5 });
  const page = await open('/', { permissions: ['clipboard-read', 'clipboard-write'] });
  const menu = page.locator('#row-menu');
  const openMenu = (/** @type {string} */ job) => page.getByRole('button', { name: `Actions for ${job}` }).click();
  const expanded = () => page.locator('.more-actions').evaluateAll((all) => all.map((each) => each.getAttribute('aria-expanded')));
  // The same button closes it, another one moves it.
  await openMenu('job-c');
  assert.deepEqual([await menu.isVisible(), await expanded()], [true, ['false', 'true']]);
  await openMenu('job-c');
  assert.deepEqual([await menu.isVisible(), await expanded()], [false, ['false', 'false']]);
  await openMenu('job-c');
  await openMenu('job-d');
  assert.deepEqual([await menu.isVisible(), await expanded()], [true, ['true', 'false']]);
  await page.keyboard.press('Escape');
  await openMenu('job-c');
  assert.deepEqual(await violations(page), []);
  await menu.getByRole('button', { name: 'Copy link' }).click();
  await reads(page, '#row-menu', 'Copied');
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${server.url}/?job=job-c`);
  await menu.getByRole('button', { name: 'Cancel', exact: true }).click();
  assert.equal((await server.state('job-c')).requested, undefined);
  await menu.getByRole('button', { name: 'Really cancel?' }).click();
  await reads(page, `${row('job-c')} .left`, 'Cancelling…');
  await until('a closed menu', async () => !(await menu.isVisible()));

  await openMenu('job-d');
  assert.equal(await menu.getByRole('button', { name: 'Cancel', exact: true }).isVisible(), false);
  // With the keyboard: down to the last one, and not by one press.
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await reads(page, '#row-menu', 'It still runs. Really delete?');
  await page.keyboard.press('Escape');
  assert.equal(await menu.isVisible(), false);
  assert.equal((await server.state('job-d')).status, 'processing');
  // Tab goes on from the button that opened the menu.
  await openMenu('job-d');
  await page.keyboard.press('Shift+Tab');
  assert.equal(await menu.isVisible(), false);
  assert.equal(await page.locator(row('job-d')).locator('.job-id').evaluate((link) => link === document.activeElement), true);
  await openMenu('job-d');
  await menu.getByRole('button', { name: 'Delete' }).click();
  await menu.getByRole('button', { name: 'Really delete?' }).click();
  await until('one row', async () => (await page.locator('.jobs .job').count()) === 1);
  assert.equal((await fetch(`${server.url}/jobs/job-d`)).status, 404);
  await until('the focus on the next row', () => page.locator(row('job-c')).locator('.job-id').evaluate((link) => link === document.activeElement));
  noFaults();
});

test('the list is sorted by the server, and says so in its address', async () => {
  const eta = (/** @type {number} */ minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
  await server.report('later', { name: 'b', progress: 0.5, eta: eta(9) });
  await server.report('ended', { name: 'c', status: 'completed' });
  await server.report('sooner', { name: 'a', progress: 0.2, eta: eta(3) });
  const page = await open('/');
  const ids = () => page.locator('.jobs .job-id').allInnerTexts();
  const inOrder = async (/** @type {string[]} */ ...wanted) => until(String(wanted), async () => String(await ids()) === String(wanted));
  await inOrder('sooner', 'ended', 'later');
  await page.getByLabel('Sort').selectOption('Time left');
  await inOrder('sooner', 'later', 'ended');
  await page.getByLabel('Sort').selectOption('Furthest');
  await inOrder('ended', 'later', 'sooner');
  await page.getByLabel('Sort').selectOption('Name');
  await inOrder('sooner', 'later', 'ended');
  assert.equal(new URL(page.url()).searchParams.get('sort'), 'name');
  await page.getByText('Active', { exact: false }).first().click();
  await inOrder('sooner', 'later');
  await page.reload();
  await inOrder('sooner', 'later');
  noFaults();
});

test('jobs are grouped by name or prefix, and a group closes', async () => {
  for (const [job, name] of [['render:1', 'video'], ['render:2', 'video'], ['export-7', ''], ['render:3', 'still']]) {
    await server.report(job ?? '', { name: name || null, progress: 0.5 });
  }
  await server.report('render:2', { name: 'video', status: 'failed', error: 'no' });
  const page = await open('/');
  await page.getByLabel('Group').selectOption('By name');
  await reads(page, '.jobs', /still\s+1[^]*render:3[^]*Without a name\s+1[^]*export-7[^]*video\s+2[^]*1 failed[^]*render:2[^]*render:1/);
  await page.getByLabel('Group').selectOption('By prefix');
  await reads(page, '.jobs', /render\s+3[^]*export\s+1/);
  const group = page.getByRole('button', { name: 'render 3' });
  await group.click();
  await until('one row', async () => (await page.locator('.jobs .job-id').count()) === 1);
  assert.equal(await group.getAttribute('aria-expanded'), 'false');
  // A status that changes is counted in the heading.
  await server.report('export-7', { status: 'completed' });
  await reads(page, '.jobs .group:has-text("export")', '1 completed');
  await group.focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await until('four rows', async () => (await page.locator('.jobs .job-id').count()) === 4);
  assert.deepEqual(await violations(page), []);
  noFaults();
});

test('several jobs are cancelled or deleted with one confirmation', async () => {
  for (let index = 0; index < 12; index += 1) await server.report(`job-${index}`, { progress: 0.5, cancellable: index < 3 });
  const page = await open('/');
  await reads(page, row('job-11'), '50 %');
  const select = (/** @type {string} */ job) => page.getByRole('checkbox', { name: `Select ${job}`, exact: true });
  await select('job-2').check();
  await select('job-5').click({ modifiers: ['Shift'] });
  await reads(page, '.bulk', /4 selected[^]*Select all 12[^]*Cancel 1/);
  assert.deepEqual(await violations(page), []);
  await page.getByRole('button', { name: 'Cancel 1' }).click();
  await page.getByRole('button', { name: 'Really cancel 1 job?' }).click();
  await until('the request', async () => (await server.state('job-2')).requested?.action === 'cancel');
  assert.equal((await server.state('job-1')).requested, undefined);
  await reads(page, '.bulk', /^3 selected/);
  await page.locator(row('job-9')).locator('.job-id').focus();
  await page.keyboard.press('x');
  await reads(page, '.bulk', /^4 selected/);
  await page.route('**/jobs/job-9', (route) => route.fulfill({ status: 403, json: { detail: 'no' } }));
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  assert.equal(await page.locator('.jobs .job').count(), 12);
  await page.getByRole('button', { name: 'Really delete 4 jobs? 4 have not ended.' }).click();
  await reads(page, '.bulk', /1 selected[^]*Deleted: 3\. 1 could not be deleted: You may not delete this job\./);
  await until('nine rows', async () => (await page.locator('.jobs .job').count()) === 9);
  await page.getByRole('button', { name: 'Select none' }).click();
  assert.equal(await page.locator('.bulk').isVisible(), false);
  await page.unroute('**/jobs/job-9');
  // A job that the list does not show any more is not acted on.
  await select('job-0').check();
  await page.getByRole('searchbox').fill('job-1');
  await until('it is not selected', async () => !(await page.locator('.bulk').isVisible()));
  forgive(/status of 403/);
  noFaults();
});

test('a row’s text can be selected, and a click opens the job', async () => {
  await server.report('r1', { progress: 0.5, message: 'copied from here' });
  const page = await open('/');
  await reads(page, row('r1'), 'copied from here');
  // What arrives later moves nothing.
  const height = await page.locator('.overview').evaluate((part) => part.clientHeight);
  await reads(page, '.figures', /Messages/);
  assert.equal(await page.locator('.overview').evaluate((part) => part.clientHeight), height);
  const box = await page.locator(`${row('r1')} .message`).boundingBox();
  if (!box) throw new Error('the message has no box');
  await page.mouse.move(box.x + 1, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 1, box.y + box.height / 2, { steps: 3 });
  await page.mouse.up();
  assert.match(await page.evaluate(() => String(getSelection())), /copied from here/);
  assert.doesNotMatch(page.url(), /job=/);
  await page.evaluate(() => getSelection()?.removeAllRanges());
  await page.locator(`${row('r1')} .bar`).click();
  await reads(page, '.figure', '50 %');
  noFaults();
});

test('a name and tags follow the message, and no tag is cut in two', async () => {
  await server.report('bare', { name: 'render', tags: ['gpu'], progress: 0.1 });
  await server.report('short', { name: 'render', tags: ['gpu', 'eu-west'], progress: 0.1, message: 'hello' });
  await server.report('long', { name: 'render', tags: ['gpu', 'team:video', 'customer:4711'], stage: 'rendering', message: 'word '.repeat(60) });
  for (const width of [1440, 768]) {
    const page = await open('/', { viewport: { width, height: 800 } });
    await reads(page, row('long'), 'rendering');
    const looks = await page.locator('.jobs .job').evaluateAll((rows) => rows.map((each) => {
      const box = (/** @type {Element | null} */ part) => /** @type {Element} */ (part).getBoundingClientRect();
      const doing = box(each.querySelector('.doing'));
      const shown = [...each.querySelectorAll('.doing > *')].filter((part) => box(part).width > 0);
      const gaps = shown.map((part, index) => box(part).left - (index ? box(shown[index - 1]).right : doing.left));
      const tags = box(each.querySelector('.tags'));
      const whole = [...each.querySelectorAll('.tag')].filter((tag) => box(tag).top < tags.bottom);
      return { gap: Math.max(...gaps), cut: whole.some((tag) => box(tag).right > tags.right + 1 || box(tag).bottom > tags.bottom + 1), tags: whole.length };
    }));
    assert.ok(looks.every(({ gap, cut, tags }) => gap < 12 && !cut && tags > 0), JSON.stringify(looks));
    assert.equal(looks[1]?.tags, 2);
    await page.close();
  }
  noFaults();
});

test('names and tags are shown, and a click on a tag filters', async () => {
  await server.report('job-1', { name: 'render', tags: ['gpu', 'a b&c'], progress: 0.1 });
  await server.report('job-2', { tags: ['gpu2'], progress: 0.2 });
  await server.report('job-3', { tags: ['a b&c'], progress: 0.3 });
  const page = await open('/');
  await reads(page, '.jobs .job:has-text("job-1") .name', 'render');
  await page.locator('.jobs .job:has-text("job-1")').getByRole('link', { name: 'a b&c' }).click();
  await until('two jobs', async () => (await page.locator('.jobs .job').count()) === 2);
  assert.equal(new URL(page.url()).searchParams.get('tag'), 'a b&c');
  assert.deepEqual(await page.locator('.jobs .job-id').allInnerTexts(), ['job-3', 'job-1']);
  await reads(page, '.filter', /All\s+2/);
  assert.deepEqual(await violations(page), []);
  await page.getByRole('button', { name: 'Show jobs with any tag' }).click();
  await until('all jobs', async () => (await page.locator('.jobs .job').count()) === 3);
  await page.goto(`${server.url}/?job=job-1`);
  await reads(page, '.kind', 'render');
  await page.getByRole('link', { name: 'gpu', exact: true }).click();
  await until('one job', async () => (await page.locator('.jobs .job').count()) === 1);
  noFaults();
});
