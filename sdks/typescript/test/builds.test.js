// The package as npm packs it, built into programs by the tools that people use: Vite, and Next.js with the settings that it writes itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { here, packInto } from './packed.js';

// Below the package, so that React and the tools are found, and no link leads out of the folder.
const folder = mkdtempSync(join(here, '.build-'));
before(() => {
  packInto(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
});
after(() => rmSync(folder, { recursive: true }));

/** Runs a tool of the package's own, without telemetry. */
function run(name, bin, args) {
  const env = { ...process.env, NODE_ENV: 'production', NEXT_TELEMETRY_DISABLED: '1' };
  delete env.NODE_TEST_CONTEXT;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(here, 'node_modules', name, bin), ...args], { cwd: folder, encoding: 'utf8', env });
  assert.equal(status, 0, stdout + stderr);
  return stdout + stderr;
}

test('Vite builds a page of the element, the module and the hooks', () => {
  writeFileSync(join(folder, 'index.html'), '<!doctype html><div id="root"></div><script type="module" src="/main.tsx"></script>');
  writeFileSync(join(folder, 'main.tsx'), `
    import { createElement } from 'react';
    import { createRoot } from 'react-dom/client';
    import { Export } from './app/export';
    createRoot(document.getElementById('root')!).render(createElement(Export, { id: 'export-7', initial: null as never }));`);
  cpSync(join(here, 'test/next/app'), join(folder, 'app'), { recursive: true });
  const said = run('vite', 'bin/vite.js', ['build', '--outDir', 'built', '--logLevel', 'warn']);
  assert.doesNotMatch(said, /warn/i);
  const scripts = readdirSync(join(folder, 'built/assets')).filter((name) => name.endsWith('.js'));
  const text = scripts.map((name) => readFileSync(join(folder, 'built/assets', name), 'utf8')).join('\n');
  for (const part of ['job-progress', 'Reconnecting…']) assert.ok(text.includes(part), part);
  // Languages are loaded when a page asks for one.
  assert.ok(scripts.some((name) => name.startsWith('languages')), scripts.join(' '));
});

test('Next.js builds and renders it, with its own settings', () => {
  cpSync(join(here, 'test/next/app'), join(folder, 'app'), { recursive: true });
  run('next', 'dist/bin/next', ['build']);
  const page = readFileSync(join(folder, '.next/server/app/index.html'), 'utf8').replaceAll('<!-- -->', '');
  assert.match(page, /writing at 62 \(connecting\)/);
  assert.match(page, /<job-progress job="export-7" errors="full">/);
});
