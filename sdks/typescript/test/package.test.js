// What npm gets is what the server serves; and the core works in Node against a real server, if there is one.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

import { watch } from 'milepost';
import { job } from 'milepost/reporter';

import { BUNDLES, PAGES, bundle, bundlePage } from '../bundle.js';
import { skip, withServer } from './server.js';

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');

for (const [file, folder] of Object.entries(BUNDLES)) {
  test(`web/${file} is what web/${folder}/ bundles to`, async () => {
    assert.equal(read(`../../../web/${file}`), await bundle(folder), 'run `node sdks/typescript/bundle.js`');
  });
}

for (const [file, entry] of Object.entries(PAGES)) {
  test(`web/${file} is what web/${entry} bundles to`, async () => {
    assert.equal(read(`../../../web/${file}`), await bundlePage(entry), 'run `node sdks/typescript/bundle.js`');
  });
}

test('core and component keep their sizes, and have types', () => {
  const size = (name) => gzipSync(read(`../dist/${name}.js`), { level: 9 }).length;
  assert.ok(size('milepost') <= 8 * 1024, `${size('milepost')} bytes`);
  assert.ok(size('job-progress') <= 6 * 1024, `${size('job-progress')} bytes`);
  assert.match(read('../dist/milepost/index.d.ts'), /export function watch<.*>\(jobId: string, options\?: WatchOptions\): Watch/);
});

test('in development, bundlers load the component with warnings', () => {
  const resolved = (...flags) => execFileSync(process.execPath, [...flags, '--input-type=module', '-e', "console.log(import.meta.resolve('milepost/job-progress'))"], { cwd: new URL('..', import.meta.url), encoding: 'utf8' }).trim();
  assert.match(resolved(), /\/dist\/job-progress\.js$/);
  const development = resolved('--conditions=development');
  assert.match(development, /\/dist\/job-progress\.development\.js$/);
  assert.equal(read(development), "export * from './job-progress.js';\nimport './dark-page.js';\n");
  assert.match(read('../dist/dark-page.js'), /console\.warn/);
});

test('what a worker reports, a watcher in Node is shown', { skip }, () => withServer(async (url) => {
  for (const name of ['milepost', 'job-progress']) {
    assert.equal(await (await fetch(`${url}/${name}.js`)).text(), read(`../dist/${name}.js`), 'npm has what the server serves');
  }
  const seen = [];
  const watching = watch('j', { url, onConnection: (connection) => seen.push(connection) });
  const worker = job('export', { url, id: 'j' }, async (j) => {
    j.stage = 'writing';
    j.progress = 0.5;
    while (watching.state?.progress !== 0.5) await pause(10);
    return { rows: 3 };
  });
  let last;
  for await (const state of watching) last = state;
  await worker;
  assert.deepEqual([last.status, last.progress, last.result], ['completed', 1, { rows: 3 }]);
  assert.deepEqual(seen, ['open', 'closed']);
  // The README's first ten lines.
  const [, lines] = /```js\n([^]*?)```/.exec(read('../README.md'));
  const readme = spawn(process.execPath, ['--input-type=module', '-e', lines.replace('http://localhost:8084', url)], {
    cwd: new URL('..', import.meta.url), stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  readme.stdout.on('data', (chunk) => (said += chunk));
  assert.equal(await new Promise((resolve) => readme.once('close', resolve)), 0);
  assert.match(said, /processing 0\.\d+ undefined\n[^]*completed 1 \{ file: 'export.csv' \}\n$/);

  await assert.rejects(job('export', { url, id: 'k' }, () => Promise.reject(new Error('no'))), /no/);
  for await (const state of watch('k', { url })) last = state;
  assert.deepEqual([last.status, last.error], ['failed', 'no']);
}));
