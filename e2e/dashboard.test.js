// @ts-check
/** The dashboard in Chromium: what is seen first, how bars move, and how times and numbers are written. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noFaults, open, reads, row, server } from './harness.js';
import { until, violations } from './site.js';

/** Of all that the list needs before its first rows, gzipped, in bytes: at 50 KB/s and 400 ms a round trip they are there after 2.5 s. */
const FIRST_SIGHT = 70_000;

test('the list’s first rows take two round trips and 70 kB', async () => {
  await server.reportMany(Array.from({ length: 300 }, (_, index) => ({
    job_id: `render:${index}`, name: 'render', stage: 'encoding', progress: index / 300, message: `Frame ${index} of 300`, tags: ['nightly', 'eu-west'], metadata: { fps: 24 },
  })));
  /** @type {import('playwright-core').Request[]} */
  const sent = [];
  const page = await open('/', {}, (page) => {
    page.on('request', (request) => sent.push(request));
    void page.route('**/index.js', async (route) => {
      // A page without its script shows that something comes, and has asked for the jobs.
      await page.locator('.skeleton').waitFor();
      await until('the request for the first jobs', () => sent.some((request) => request.url().includes('/jobs?')));
      await route.continue();
    });
  });
  await reads(page, row('render:299'), '99 %');
  const before = sent.slice(0, sent.findIndex((request) => request.url().includes('/readyz')));
  const paths = before.map((request) => new URL(request.url())).map(({ pathname, search }) => pathname + search);
  assert.deepEqual(paths.sort(), ['/', '/first.js', '/index.css', '/index.js', '/jobs?limit=30', '/look.css', '/milepost.js']);
  let bytes = 0;
  for (const request of before) bytes += (await request.sizes()).responseBodySize;
  assert.ok(bytes <= FIRST_SIGHT, `${bytes} bytes`);
  noFaults();
});

test('a job’s page shows its job before its watch comes about', async () => {
  await server.report('film', { stage: 'encoding', progress: 0.4, message: 'Frame 40 of 100', metadata: { fps: 24 } });
  /** @type {string[]} */
  const sent = [];
  const page = await open('/?job=film', {}, (page) => {
    page.on('request', (request) => sent.push(new URL(request.url()).pathname));
    // The clock of this device is an hour ahead, and a socket opens on which nothing comes.
    void page.addInitScript('const now = Date.now; Date.now = () => now() + 3_600_000');
    void page.routeWebSocket(/ws/, () => {});
    void page.route('**/index.js', async (route) => {
      await page.locator('.skeleton-job').waitFor();
      assert.equal(await page.locator('.skeleton').isVisible(), false);
      await until('the request for the job', () => sent.includes('/jobs/film'));
      await route.continue();
    });
  });
  await reads(page, '.figure', /40 %\s*encoding/);
  await reads(page, '.message', 'Frame 40 of 100');
  await reads(page, '[data-part="updated"]', /just now|^\d+ s ago/);
  assert.equal(await page.locator('.skeleton-job').isVisible(), false);
  assert.equal(await page.title(), '40\u202f% – film');
  noFaults();
});

test('a job’s page has each update that comes while it opens', async () => {
  await server.report('film', { stage: 'first', progress: 0.1 });
  const page = await open('/?job=film', {}, (page) => {
    void page.route('**/index.js', async (route) => {
      const answer = page.waitForResponse(/jobs\/film$/);
      await answer;
      for (const percent of [20, 30, 40]) await server.report('film', { stage: 'then', message: `at ${percent}`, progress: percent / 100 });
      await route.continue();
    });
  });
  await reads(page, '.figure', '40 %');
  await page.locator('[data-part="log-section"] summary').click();
  await reads(page, '[data-part="log"]', /at 40[^]*at 30[^]*at 20[^]*first/);
  assert.equal(await page.locator('[data-part="log"] li').count(), 4);
  noFaults();
});

test('a bar takes as long for a step as its job did, at most 2 s', async () => {
  await server.report('film', { progress: 0.1 });
  const page = await open('/', {}, (page) => void page.clock.install());
  const glide = () => page.locator(`${row('film')} .bar-fill`).evaluate((fill) => fill instanceof HTMLElement && fill.style.getPropertyValue('--glide'));
  /** @param {RegExp} percent */
  const shows = (percent) => until(String(percent), async () => {
    await page.clock.runFor(16);
    return percent.test(await page.locator(row('film')).innerText().catch(() => ''));
  });
  await shows(/10.%/);
  // It is drawn where it is.
  assert.equal(await glide(), '0ms');
  await until('that the row is watched', async () => {
    await page.clock.runFor(200);
    return (await server.stats()).active_jobs > 0;
  });
  await server.report('film', { progress: 0.2 });
  await shows(/20.%/);
  await page.clock.runFor(1000);
  await server.report('film', { progress: 0.3 });
  await shows(/30.%/);
  const takes = parseInt((await glide()) || '0');
  assert.ok(takes >= 1000 && takes <= 2000, `${takes} ms`);
  await page.clock.runFor(10_000);
  await server.report('film', { progress: 0.4 });
  await shows(/40.%/);
  assert.equal(await glide(), '2000ms');
  await server.report('film', { progress: 0.2 });
  await shows(/20.%/);
  assert.equal(await glide(), '0ms');
  await page.clock.runFor(10_000);
  await server.report('film', { status: 'completed' });
  await shows(/100.%/);
  assert.equal(await glide(), '300ms');
  noFaults();
});

test('the chart names its stages, and what is pointed at', async () => {
  const stages = [{ id: 'fetch', label: 'Download' }, { id: 'encode', label: 'Encode the film' }];
  await server.report('film', { stages, stage: 'fetch', progress: 0.1 });
  const page = await open('/?job=film');
  await reads(page, '.figure', '10 %');
  await server.report('film', { stage: 'fetch', progress: 0.3 });
  await reads(page, '.figure', '30 %');
  await server.report('film', { stage: 'encode', progress: 0.5 });
  await server.report('film', { stage: 'encode', progress: 0.8 });
  await reads(page, '.figure', '80 %');
  await until('labels', async () => (await page.locator('.chart .stage-label title').allTextContents()).includes('Download'));
  const box = await page.locator('.chart').boundingBox();
  assert.ok(box);
  // At the edges, the first and the last point are nearest, however close to them others are.
  await page.mouse.move(box.x + 1, box.y + 80);
  await reads(page, '.chart p.pointer', /^10 % · Download · /);
  await page.mouse.move(box.x + box.width - 1, box.y + 80);
  await reads(page, '.chart p.pointer', /^80 % · Encode the film · /);
  // It stays where it is while the chart is drawn again.
  await server.report('film', { progress: 0.9, stage: 'encode' });
  await reads(page, '.figure', '90 %');
  await reads(page, '.chart p.pointer', /^90 % · /);
  await page.mouse.move(0, 0);
  await until('no hint', async () => (await page.locator('.chart .pointer').count()) === 0);
  noFaults();
});

test('each attempt that ended has its course', async () => {
  await server.report('film', { progress: 0.2 });
  await server.report('film', { progress: 0.6 });
  await server.report('film', { status: 'failed', error: 'no space left on device' });
  await server.report('film', { attempt: 2, progress: 0.1 });
  const page = await open('/?job=film');
  await reads(page, '[data-part="attempts"]', /Attempt 2[^]*Attempt 1[^]*no space left/);
  const labels = await page.locator('[data-part="attempts"] li').evaluateAll((items) => items.map((item) => item.querySelector('.sparkline')?.getAttribute('aria-label') ?? ''));
  assert.equal(labels[0], '');
  assert.match(labels[1] ?? '', /from 20 % to 60 %/);
  noFaults();
});

test('times and numbers are in the person’s locale and time zone', async () => {
  await server.report('film', { progress: 0.5 });
  await server.report('film', { status: 'completed', result: { rows: 1_234_567 } });
  const { started_at: started } = await server.state('film');
  const options = /** @type {const} */ ({ locale: 'de-DE', timezoneId: 'Asia/Kolkata' });
  const page = await open('/?job=film', options);
  await reads(page, '[data-part="result"]', '1.234.567');
  const shown = await page.evaluate((at) => new Intl.DateTimeFormat('de-DE', { hour: '2-digit', minute: '2-digit', timeZone: 'Asia/Kolkata' }).format(new Date(at)), started);
  assert.ok((await page.locator('[data-part="begun"]').innerText()).endsWith(shown), shown);
  const american = await open('/?job=film', { locale: 'en-US' });
  await reads(american, '[data-part="begun"]', /\d:\d\d (AM|PM)$/);
  noFaults();
});

test('tenths are written as in the person’s locale', async () => {
  const at = (/** @type {number} */ ms) => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
  const took = { status: 'completed', started_at: at(0), ended_at: at(4200) };
  const page = await open('/?job=film', { locale: 'de-DE' }, async (page) => {
    await page.route('**/jobs/film', (route) => route.fulfill({ json: { job_id: 'film', attempt: 1, timestamp: at(4200), position: 'e-1', ...took } }));
    await page.routeWebSocket(/ws/, () => {});
  });
  await reads(page, '.headline', 'Completed in 4,2 s');
  noFaults();
});

test('a job of two days ago has its dates', async () => {
  await server.report('film', { progress: 0.5, stage: 'encode' });
  const { started_at: started } = await server.state('film');
  const page = await open('/?job=film', {}, (page) => void page.clock.setFixedTime(Date.parse(started) + 2 * 86_400_000));
  const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' }).format(new Date(started));
  await reads(page, '[data-part="begun"]', new RegExp(`^${day}.* \\d\\d:\\d\\d$`));
  await reads(page, '.timeline', new RegExp(`${day}.* \\d\\d:\\d\\d:\\d\\d`));
  noFaults();
});

test('a click shows when something was instead of how long ago', async () => {
  await server.report('film', { progress: 0.5 });
  const page = await open('/?job=film');
  const updated = page.locator('[data-part="updated"]');
  await reads(page, '[data-part="updated"]', /just now|ago/);
  await updated.click();
  await reads(page, '[data-part="updated"]', /^\d\d:\d\d$/);
  assert.match((await updated.getAttribute('title')) ?? '', /just now|ago/);
  // The list, and the next visit, show it as well.
  await page.goto(server.url);
  await reads(page, `${row('film')} .age`, /^\d\d:\d\d$/);
  await page.locator(`${row('film')} .age`).click();
  await reads(page, `${row('film')} .age`, /just now|ago/);
  assert.equal(new URL(page.url()).search, '');
  noFaults();
});

test('a completed job’s headline has its result as a button', async () => {
  await server.report('film', { status: 'completed', result: { frames: 7, film: 'https://cdn.example.com/out/film%207.mp4' } });
  const page = await open('/?job=film');
  await reads(page, '.figure', /Completed\s*Open film 7\.mp4/);
  const link = page.locator('[data-part="result-link"]');
  assert.equal(await link.getAttribute('href'), 'https://cdn.example.com/out/film%207.mp4');
  assert.match((await link.getAttribute('rel')) ?? '', /noopener noreferrer/);
  await server.report('other', { status: 'completed', result: { film: 'javascript:alert(1)' } });
  await page.goto(`${server.url}/?job=other`);
  await reads(page, '.headline', 'Completed');
  assert.equal(await link.isVisible(), false);
  noFaults();
});

test('from right to left, bars fill from the right', async () => {
  await server.report('film', { progress: 0.25 });
  const page = await open('/?job=film');
  await reads(page, '.figure', '25 %');
  await page.evaluate(() => (document.documentElement.dir = 'rtl'));
  const [bar, fill] = [await page.locator('.job-large .bar').first().boundingBox(), await page.locator('.job-large .bar-fill').first().boundingBox()];
  assert.ok(bar && fill);
  assert.ok(Math.abs(fill.x - (bar.x + bar.width * 0.75)) < 1, `${fill.x} of ${bar.x} to ${bar.x + bar.width}`);
  await reads(page, '.figure', '25 %');
  noFaults();
});

test('from right to left, a page is mirrored', async () => {
  await server.report('film', { stage: 'encoding', progress: 0.25 });
  const page = await open('/');
  await reads(page, row('film'), '25 %');
  await page.evaluate(() => (document.documentElement.dir = 'rtl'));
  const middle = async (/** @type {string} */ selector) => {
    const box = await page.locator(selector).first().boundingBox();
    assert.ok(box, selector);
    return box.x + box.width / 2;
  };
  // What begins a line is right of what ends it.
  for (const [first, last] of /** @type {const} */ ([
    ['.pages', '#connection'], ['.search svg', '.search kbd'], [`${row('film')} .job-id`, `${row('film')} .age`],
  ])) assert.ok(await middle(first) > await middle(last), `${first} and ${last}`);
  const align = (/** @type {string} */ part) => page.locator(`${row('film')} ${part}`).evaluate((each) => getComputedStyle(each).textAlign);
  assert.deepEqual([await align('.job-id'), await align('.left'), await align('.age')], ['right', 'right', 'left']);
  assert.equal(await middle('#connection') < 640, true);
  assert.deepEqual(await violations(page), []);
  noFaults();
});

test('on a phone, a stage and the names of children are whole', async () => {
  await server.report('import', { progress: null, stage: 'copying', message: 'file 290 of 300 of the customers' });
  await server.report('batch:nightly', { children_expected: 2, stage: 'rendering' });
  await server.report('batch:nightly:12', { parent_id: 'batch:nightly', stage: 'frames', progress: 0.5 });
  await server.report('batch:nightly:12', { status: 'completed' });
  const page = await open('/', { viewport: { width: 320, height: 700 } });
  await reads(page, `${row('import')} .left`, 'Total not known');
  // A hundredth of a pixel is enough for an ellipsis.
  const isWhole = await page.locator(`${row('import')} .stage`).evaluate((stage) => {
    const text = document.createRange();
    text.selectNodeContents(stage);
    return stage.getBoundingClientRect().width >= text.getBoundingClientRect().width;
  });
  assert.equal(isWhole, true);
  await page.goto(`${server.url}/?job=batch:nightly`);
  await reads(page, '.children .child-aside', /Completed/);
  const lines = await page.locator('.children .job-id').evaluate((id) => id.getBoundingClientRect().height / parseFloat(getComputedStyle(id).lineHeight));
  assert.equal(Math.round(lines), 1);
  noFaults();
});

test('on paper, a job’s page has all of its log and no fields', async () => {
  await server.report('film', { progress: 0.25 });
  await server.write('film', ...Array.from({ length: 100 }, (_, n) => `frame ${n}`));
  const page = await open('/?job=film');
  await reads(page, '.output', 'frame 99');
  await page.emulateMedia({ media: 'print' });
  assert.deepEqual(await page.locator('input, button').evaluateAll((fields) => fields.filter((field) => field.checkVisibility()).map(({ outerHTML }) => outerHTML)), []);
  assert.ok(await page.locator('.output').evaluate((output) => output.scrollHeight <= output.clientHeight));
  assert.equal(await page.locator('.halves').evaluate((halves) => getComputedStyle(halves).display), 'block');
  noFaults();
});

for (const width of [768, 1024]) {
  test(`at ${width} px a row says whole how it ended`, async () => {
    const at = (/** @type {number} */ seconds) => new Date(Date.now() - seconds * 1000).toISOString();
    const film = { job_id: 'film', status: 'completed', attempt: 1, timestamp: at(8), position: 'e-1', started_at: at(4710), ended_at: at(8) };
    const page = await open('/', { viewport: { width, height: 700 } }, async (page) => {
      await page.route('**/jobs?*', (route) => route.fulfill({ json: { jobs: [film], total: 1, next: null } }));
      await page.routeWebSocket(/ws/, () => {});
    });
    await reads(page, `${row('film')} .left`, 'Completed in 1:18:22');
    assert.equal(await page.locator(`${row('film')} .left`).evaluate((left) => left.scrollWidth > left.clientWidth), false);
    noFaults();
  });
}

test('what a row has no room for does not cover its bar', async () => {
  await server.report('long', {
    name: 'a-name-that-is-long', tags: ['a-tag-that-is-long', 'another-one'], stage: 'a stage that is long', message: 'A message that is long', progress: 0.5,
    metadata: { large: 1e308 },
  });
  for (const width of [1000, 1200, 1600]) {
    const page = await open('/', { viewport: { width, height: 600 } });
    await reads(page, row('long'), '50 %');
    const covered = await page.locator(`${row('long')} .bar`).evaluate((bar) => {
      const { left, top, height } = bar.getBoundingClientRect();
      return document.elementFromPoint(left + 12, top + height / 2)?.closest('.doing') !== null;
    });
    assert.equal(covered, false, `${width}`);
    await page.close();
  }
  const page = await open('/?job=long');
  await reads(page, '[data-part="metadata-section"]', /1e\+308/);
  noFaults();
});

test('a page says that its job was forgotten, until it is reported again', async () => {
  const bySocket = await open('/?job=forgotten');
  const byStream = await open('/?job=forgotten', {}, (page) => {
    void page.routeWebSocket(/ws/, (socket) => void socket.close());
  });
  await server.report('forgotten', { stage: 'encoding', progress: 0.5 });
  for (const page of [bySocket, byStream]) await reads(page, '.badge', 'Running');
  await fetch(`${server.url}/jobs/forgotten`, { method: 'DELETE' });
  for (const page of [bySocket, byStream]) {
    await reads(page, '.badge', 'Forgotten');
    await reads(page, '[data-part="aside"]', 'the server does not know it any more');
  }
  await server.report('forgotten', { stage: 'encoding', progress: 0.6 });
  for (const page of [bySocket, byStream]) await reads(page, '.badge', 'Running');
});

test('a filtered list has each job once, also after new ones came', async () => {
  await server.reportMany(Array.from({ length: 300 }, (_, index) => ({ job_id: `film:${index}`, status: index % 3 ? 'completed' : 'processing' })));
  const page = await open('/?status=active');
  await reads(page, row('film:297'), 'film:297');
  const size = () => page.locator('.jobs .job').first().getAttribute('aria-setsize');
  await until('all that run', async () => (await size()) === '100');
  // From the second look on, the page asks for more jobs than it showed at first.
  await page.waitForResponse((response) => /limit=100$/.test(response.url()));
  await server.report('film:new', { progress: 0.5 });
  await reads(page, row('film:new'), '50 %');
  assert.equal(await size(), '101');
  await page.locator(`${row('film:new')} .select`).check();
  await reads(page, '.bulk', 'Select all 101');
  noFaults();
});

for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
  test(`axe-core has nothing against a frame in ${colorScheme}`, async () => {
    await server.report('film', { progress: 0.5, stages: ['fetch', 'encode'], stage: 'encode', message: 'Frame 7' });
    for (const query of ['', '?stages', '?compact', '?label=The+film&theme=dark']) {
      const page = await open(`/embed/film${query}`, { colorScheme });
      await until('the bar', async () => (await page.locator('job-progress .percent').innerText()) === '50%');
      assert.deepEqual(await violations(page), [], query);
      await page.context().close();
    }
    noFaults();
  });
}
