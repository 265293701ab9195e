// What npm gets: the browser's modules as the server serves them, with types generated from their comments, the rest
// compiled, and all of it once more for `require` in dist/cjs. `bundle.js` makes the bundles in web/.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { BUNDLES } from './bundle.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const dist = `${here}dist/`;
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
/** What a program imports, by file. */
const entries = ['milepost', 'job-progress', 'languages', 'notify', 'react', 'vue', 'svelte', 'solid', 'reporter', 'pino', 'testing'];

/**
 * As `without_comments` in `crates/server/build.rs`, which says what it relies on.
 * @param {string} script
 */
function withoutComments(script) {
  let inside = false;
  const lines = script.split('\n').map((line) => line.trim()).filter((line) => {
    inside ||= line.startsWith('/*') && !line.replace(/(\*\/)+$/, '').includes('*/');
    if (!inside) return line && !line.startsWith('//');
    inside = !line.endsWith('*/');
    return false;
  });
  return `${lines.join('\n')}\n`;
}

for (const file of ['LICENSE-MIT', 'LICENSE-APACHE']) copyFileSync(`${here}../../${file}`, here + file);
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
for (const file of ['languages.js', 'notify.js', 'dark-page.js']) writeFileSync(dist + file, withoutComments(readFileSync(`${here}../../web/${file}`, 'utf8')));
for (const [file, folder] of Object.entries(BUNDLES)) {
  copyFileSync(`${here}../../web/${file}`, `${dist}${folder}.js`);
  copyFileSync(`${here}../../web/${folder}.d.ts`, `${dist}${folder}.d.ts`);
}
for (const project of ['tsconfig.web.json', 'tsconfig.json']) {
  execFileSync(process.execPath, [tsc, '-p', here + project], { stdio: 'inherit' });
  if (project === 'tsconfig.json') continue;
  writeFileSync(`${dist}job-progress/index.d.ts`, readFileSync(`${here}types/job-progress.d.ts`), { flag: 'a' });
}
// What bundlers load in development in place of the component.
writeFileSync(`${dist}job-progress.development.js`, "export * from './job-progress.js';\nimport './dark-page.js';\n");
buildForRequire();

/** The entries as CommonJS, with types: a folder with a package.json of its own says what its files are. */
function buildForRequire() {
  for (const folder of Object.values(BUNDLES)) mkdirSync(`${dist}cjs/${folder}`, { recursive: true });
  const types = ['', ...Object.values(BUNDLES).map((folder) => `${folder}/`)].flatMap((folder) => readdirSync(dist + folder).map((file) => folder + file)).filter((file) => file.endsWith('.d.ts'));
  for (const file of types) writeFileSync(`${dist}cjs/${file}`, readFileSync(dist + file, 'utf8').replaceAll("'milepost'", "'./milepost.js'"));
  buildSync({
    absWorkingDir: dist,
    entryPoints: entries.map((entry) => `${entry}.js`),
    outdir: 'cjs',
    bundle: true,
    // One copy of the module below all entries.
    external: ['./milepost.js', './languages.js', 'react', 'vue', 'svelte', 'svelte/*', 'solid-js'],
    alias: { milepost: './milepost.js' },
    format: 'cjs',
    platform: 'node',
    target: 'es2022',
    // Tabs share a worker only where the module is a file of a page's origin; required, it is not.
    logOverride: { 'empty-import-meta': 'silent' },
  });
  writeFileSync(`${dist}cjs/package.json`, '{ "type": "commonjs" }\n');
}
