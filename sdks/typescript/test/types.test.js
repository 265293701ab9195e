// The package as npm packs it, in programs of every kind that TypeScript knows.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { here, packInto } from './packed.js';

const folder = mkdtempSync(join(tmpdir(), 'milepost-types-'));
let tarball;

before(() => {
  tarball = packInto(folder);
  for (const name of readdirSync(join(here, 'node_modules')).filter((name) => !/^\.|^milepost$/.test(name))) symlinkSync(join(here, 'node_modules', name), join(folder, 'node_modules', name));
  cpSync(new URL('./program.tsx', import.meta.url), join(folder, 'program.tsx'));
});
after(() => rmSync(folder, { recursive: true }));

/** Runs a tool of the package's own. What it says, if it complains. */
function run(name, bin, args) {
  const file = join(here, 'node_modules', name, bin);
  const { status, stdout, stderr } = spawnSync(process.execPath, [file, ...args], { cwd: folder, encoding: 'utf8' });
  return status === 0 ? '' : stdout + stderr;
}

test('the package has its metadata, and entry points pass linters', async () => {
  const manifest = JSON.parse(readFileSync(join(folder, 'node_modules/milepost/package.json'), 'utf8'));
  for (const field of ['license', 'repository', 'keywords', 'homepage', 'bugs']) assert.ok(manifest[field], field);
  assert.match(readFileSync(join(folder, 'node_modules/milepost/LICENSE-MIT'), 'utf8'), /MIT License/);
  const { publint } = await import('publint');
  const { messages } = await publint({ pkgDir: join(folder, 'node_modules/milepost'), pack: false, strict: true });
  assert.deepEqual(messages, []);
  assert.equal(run('@arethetypeswrong/cli', 'dist/index.js', ['--no-color', '--no-emoji', tarball]), '');
});

/** Next.js' own settings are those of `bundler`, and of `node` before it. */
const kinds = {
  nodenext: { module: 'nodenext' },
  'node16, of CommonJS': { module: 'node16', moduleResolution: 'node16' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
  commonjs: { module: 'commonjs' },
  'node, with ES modules': { module: 'esnext', moduleResolution: 'node' },
};
for (const [name, options] of Object.entries(kinds)) {
  test(`a program compiles: ${name}`, () => {
    writeFileSync(join(folder, 'package.json'), name === 'nodenext' ? '{ "type": "module" }' : '{}');
    const compilerOptions = { strict: true, noEmit: true, target: 'es2022', lib: ['es2022', 'dom', 'dom.iterable'], jsx: 'react-jsx', isolatedModules: true, esModuleInterop: true, types: ['node', 'react'],
      // Of those that find the types of `import`, one checks them; of those of `require`, another one does.
      skipLibCheck: !/^node/.test(options.module), ...options };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.tsx'] }));
    assert.equal(run('typescript', 'bin/tsc', ['-p', '.']), '');
  });
}

test('a program requires it, and React’s hooks are for the client', () => {
  const out = execFileSync(process.execPath, ['-e', `
    const { watch, isEnd } = require('milepost');
    const { Job } = require('milepost/reporter');
    const { useJob } = require('milepost/react');
    require('milepost/job-progress');
    const { notifyOnEnd } = require('milepost/notify');
    console.log(typeof watch, isEnd({ status: 'failed' }), typeof Job, typeof useJob, typeof notifyOnEnd);`], { cwd: folder, encoding: 'utf8' });
  assert.equal(out, 'function true function function function\n');
  for (const path of ['dist/react.js', 'dist/cjs/react.js']) {
    assert.match(readFileSync(join(folder, 'node_modules/milepost', path), 'utf8'), /^("use strict";\n)?['"]use client['"];/, path);
  }
});
