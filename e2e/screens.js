// @ts-check
/**
 * Takes pictures of every page in every state, for people to look at:
 *
 *     MILEPOST=target/debug/milepost node e2e/screens.js FOLDER [FILTER]
 *
 * Each picture is named `page-look-width.png`. FILTER: only those whose name contains it. Prints what axe-core finds in each.
 */

import { mkdirSync } from 'node:fs';
import { Server, changeStates, launch, serveFiles, violations } from './site.js';

const [folder = 'screens', filter = ''] = process.argv.slice(2);

/** @typedef {import('playwright-core').Page} Page */

/** What is different from a page in a light browser. @type {Record<string, import('playwright-core').BrowserContextOptions>} */
const LOOKS = {
  light: {},
  dark: { colorScheme: 'dark' },
  forced: { forcedColors: 'active' },
};
const WIDTHS = [320, 768, 1280, 1440, 2560];

const TRACEBACK = `Traceback (most recent call last):\n${'  File "render.py", line 7, in step\n    encode(frame)\n'.repeat(20)}EncoderError: no space left on device`;

/** What the server says of a worker that was last heard of, or advanced, twelve minutes ago. @type {Record<string, (state: any) => object>} */
const HEALTHS = {
  lost: ({ status }) => (status === 'processing' ? { health: 'lost', last_seen_at: ago(725), progressed_at: ago(725) } : {}),
  stalled: ({ status }) => (status === 'processing' ? { health: 'stalled', last_seen_at: ago(2), progressed_at: ago(725) } : {}),
};
const ago = (/** @type {number} */ seconds) => new Date(Date.now() - seconds * 1000).toISOString();

/**
 * Each page in a state: its path, what becomes of states on their way to it, and what is done there before the picture.
 * @type {Record<string, { path: string, change?: (state: any) => object, act?: (page: Page) => Promise<unknown> }>}
 */
const PAGES = {
  list: { path: '/' },
  'list-attention': { path: '/?status=attention' },
  'list-groups': { path: '/?group=prefix&sort=left' },
  'list-selected': {
    path: '/?status=active',
    act: async (page) => {
      for (const index of [0, 1, 2]) await page.locator('.jobs .select').nth(index).check();
      await page.getByRole('button', { name: 'Delete', exact: true }).click();
    },
  },
  'list-menu': { path: '/', act: (page) => page.locator('.more-actions').nth(1).click() },
  'list-loading': {
    path: '/',
    act: async (page) => {
      await page.route('**/jobs?*', () => {});
      await page.reload();
      await page.waitForTimeout(1200);
    },
  },
  'list-fault': {
    path: '/',
    act: async (page) => {
      await page.route('**/jobs?*', (route) => route.fulfill({ status: 503, json: { detail: 'the broker does not answer' } }));
      await page.reload();
      await page.waitForTimeout(1200);
    },
  },
  'list-nothing-found': { path: '/?q=nothing' },
  'list-lost': { path: '/?status=active', change: HEALTHS['lost'] },
  'job-lost': { path: '/?job=render:trailer-4k', change: HEALTHS['lost'] },
  'job-stalled': { path: '/?job=render:trailer-4k', change: HEALTHS['stalled'] },
  'job-loading': {
    path: '/?job=render:trailer-4k',
    act: async (page) => {
      await page.route('**/jobs/*', () => {});
      await page.routeWebSocket(/ws/, () => {});
      await page.reload();
      await page.waitForTimeout(1200);
    },
  },
  'job-running': { path: '/?job=render:trailer-4k' },
  'job-failed': { path: '/?job=train:resnet-18', act: (page) => page.locator('[data-part="trace"] summary').click() },
  'job-completed': { path: '/?job=export:customers-2026-11' },
  'job-cancelled': { path: '/?job=backup:eu-west' },
  'job-children': { path: '/?job=batch:nightly' },
  'list-parent': { path: '/?parent=batch:nightly' },
  'job-attempts': { path: '/?job=train:resnet-18' },
  'job-unknown': { path: '/?job=nobody' },
  'job-queued': { path: '/?job=export:1026' },
  'job-total-not-known': { path: '/?job=import:a-name-that-is-so-long-that-no-column-has-room-for-all-of-it~2026-11-29' },
  try: { path: '/try' },
  'try-gallery': { path: '/try', act: (page) => page.locator('#scenes').evaluate((scenes) => scenes.scrollIntoView()) },
  'try-ended': { path: '/try?job=train:resnet-18' },
  embed: { path: '/embed/render:trailer-4k' },
  'embed-compact': { path: '/embed/render:trailer-4k?compact' },
  'embed-lost': { path: '/embed/render:trailer-4k', change: HEALTHS['lost'] },
  'embed-failed': { path: '/embed/train:resnet-18' },
  'embed-completed': { path: '/embed/export:customers-2026-11' },
  'embed-children': { path: '/embed/batch:nightly' },
  'embed-stages': { path: '/embed/render:trailer-4k', act: (page) => page.locator('job-progress').evaluate((bar) => bar.setAttribute('stages', '')) },
};

/** @param {Server} server @param {number} count */
async function fill(server, count) {
  const kinds = ['render', 'export', 'import', 'train', 'backup'];
  const statuses = ['completed', 'completed', 'completed', 'processing', 'failed', 'queued', 'cancelled'];
  await server.reportMany(Array.from({ length: count }, (_, index) => {
    const [kind = '', status = ''] = [kinds[index % kinds.length], statuses[index % statuses.length]];
    return {
      job_id: `${kind}:${1000 + index}`, name: kind, status, stage: status === 'processing' ? 'copying' : undefined,
      ...(status === 'processing' && { progress: (index % 97) / 97, cancellable: true }),
      message: status === 'failed' ? undefined : `${index} of ${count} files`, error: status === 'failed' ? 'connection reset by peer' : undefined,
      tags: index % 3 ? [] : ['nightly', 'eu-west'],
    };
  }));
}

/** Jobs as people have them. @param {Server} server */
async function fillNamed(server) {
  const eta = new Date(Date.now() + 260_000).toISOString();
  const attributes = { name: 'render', tags: ['gpu', 'trailer'], cancellable: true, eta };
  const stages = ['fetch', { id: 'rendering', label: 'Render', weight: 3 }, 'captioning', 'uploading'];
  await server.report('render:trailer-4k', { ...attributes, stages, stage: 'fetch', progress: 0.05 });
  for (let frame = 100; frame <= 1500; frame += 100) {
    await server.report('render:trailer-4k', {
      ...attributes, stage: 'rendering', progress: 0.05 + (frame / 2000) * 0.7, message: `Frame ${frame} of 2000`,
      metadata: { frame, total: 2000, fps: 24.5, encoder: { name: 'libx264', preset: 'slow', threads: 16 }, preview: 'https://example.com/preview.png' },
      artifacts: [{ name: 'preview.mp4', url: 'https://example.com/p.mp4', media_type: 'video/mp4', size: 12_400_000 }],
    });
  }
  await server.write('render:trailer-4k', 'frame=  100 fps= 24 q=28.0 size=    2048KiB', '\u001b[33mwarning:\u001b[0m deprecated pixel format used', ...Array.from({ length: 30 }, (_, n) => `frame=${1000 + n} fps= 24 speed=1.02x`));
  await server.report('train:resnet-18', { name: 'train', stage: 'epoch 3', progress: 0.4, message: 'loss 0.82' });
  await server.report('train:resnet-18', { status: 'failed', error: 'CUDA out of memory', progress: 0.4 });
  await server.report('train:resnet-18', { attempt: 2, stage: 'epoch 1', progress: 0.1 });
  await server.report('train:resnet-18', { stage: 'epoch 5', progress: 0.62 });
  await server.report('train:resnet-18', { status: 'failed', error: TRACEBACK });
  await server.report('export:customers-2026-11', { name: 'export', stage: 'writing', progress: 0.5 });
  await server.report('export:customers-2026-11', { status: 'completed', result: { url: 'https://example.com/customers.csv', rows: 1_234_567, columns: ['id', 'name', 'email'], warnings: [] } });
  await server.report('backup:eu-west', { name: 'backup', progress: 0.3, stage: 'copying' });
  await server.report('backup:eu-west', { status: 'cancelled' });
  await server.report('batch:nightly', { name: 'batch', children_expected: 12, stage: 'rendering' });
  for (let part = 1; part <= 9; part += 1) {
    const id = `batch:nightly:${part}`;
    await server.report(id, { parent_id: 'batch:nightly', stage: 'frames', progress: part / 10 });
    if (part <= 7) await server.report(id, part === 3 ? { status: 'failed', error: 'no space left on device' } : { status: 'completed' });
  }
  await server.report('import:a-name-that-is-so-long-that-no-column-has-room-for-all-of-it~2026-11-29', { progress: null, stage: 'استيراد', message: 'استيراد 40 من 100' });
}

/**
 * @param {import('playwright-core').Browser} browser
 * @param {string} url
 * @param {string} name
 * @param {import('playwright-core').BrowserContextOptions} options
 * @param {(page: Page) => Promise<unknown>} [act]
 * @param {(state: any) => object} [change]
 */
async function take(browser, url, name, options, act = async () => {}, change) {
  if (!name.includes(filter)) return;
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  await serveFiles(context);
  if (change) await changeStates(context, change);
  const page = await context.newPage();
  page.setDefaultTimeout(5000);
  await page.goto(url);
  await page.waitForTimeout(1200);
  await act(page).catch((error) => console.log(`${name}: ${error}`));
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${folder}/${name}.png` });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (wide > 0) console.log(`${name}: ${wide} px too wide`);
  for (const violation of await violations(page)) console.log(`${name}: ${violation}`);
  await context.close();
}

/**
 * A list as it is now, in each look and width.
 * @param {import('playwright-core').Browser} browser
 * @param {string} url
 * @param {string} page
 */
async function takeList(browser, url, page) {
  for (const [look, options] of Object.entries(LOOKS)) {
    for (const width of WIDTHS) await take(browser, url, `${page}-${look}-${width}`, { viewport: { width, height: 900 }, ...options });
  }
}

const server = new Server('linger=0');
const browser = await launch();
try {
  mkdirSync(folder, { recursive: true });
  await server.start();
  for (const count of [0, 1, 20]) {
    if (count) await fill(server, count);
    await takeList(browser, server.url, `list-of-${count}`);
  }
  await fill(server, 300);
  await fillNamed(server);
  for (const [page, { path, act, change }] of Object.entries(PAGES)) {
    for (const [look, options] of Object.entries(LOOKS)) {
      for (const width of look === 'light' ? WIDTHS : [320, 1440]) {
        await take(browser, server.url + path, `${page}-${look}-${width}`, { viewport: { width, height: 900 }, ...options }, act, change);
      }
    }
    // As a browser zooms: half the width, with twice the pixels.
    await take(browser, server.url + path, `${page}-zoomed-720`, { viewport: { width: 720, height: 450 }, deviceScaleFactor: 2 }, act, change);
    const turn = (/** @type {Page} */ opened) => opened.evaluate(() => (document.documentElement.dir = 'rtl'));
    await take(browser, server.url + path, `${page}-rtl-1440`, { viewport: { width: 1440, height: 900 } }, turn, change);
    const print = (/** @type {Page} */ opened) => opened.emulateMedia({ media: 'print' });
    await take(browser, server.url + path, `${page}-print-768`, { viewport: { width: 768, height: 1000 } }, print, change);
  }
  await fill(server, 5000);
  await takeList(browser, server.url, 'list-of-5000');
} finally {
  await browser.close();
  await server.remove();
}
