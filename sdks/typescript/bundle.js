// Bundles web/milepost/ into web/milepost.js, web/job-progress/ into web/job-progress.min.js, and what each page runs into one file.
// All are checked in: the server and its build need no Node. `node bundle.js` writes them. `docs/decisions` says why;
// `test/package.test.js` proves that they are what the sources give.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const web = fileURLToPath(new URL('../../web/', import.meta.url));

/** The bundles, and the folder of each one's sources. */
export const BUNDLES = { 'milepost.js': 'milepost', 'job-progress.min.js': 'job-progress' };

/** What the pages run, and the module of each that imports the rest. */
export const PAGES = { 'first.min.js': 'first.js', 'index.min.js': 'index.js', 'try.min.js': 'try.js' };

/** Modules that other pages import stay files of their own. @type {import('esbuild').Plugin} */
const beside = {
  name: 'beside',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\/(milepost|job-progress|languages|first)\.js$/ }, ({ path, kind }) => (kind === 'entry-point' ? null : { path: path.replace('../', './'), external: true }));
  },
};

/**
 * The text of a bundle, as its sources give it.
 * @param {string} folder below web/
 */
export async function bundle(folder) {
  const text = await minified(`${folder}/index.js`);
  const hash = createHash('sha256');
  for (const name of readdirSync(web + folder).sort()) hash.update(`${name}\n${readFileSync(`${web}${folder}/${name}`, 'utf8')}`);
  return header(`web/${folder}/`) + text.replace('__MILEPOST_VERSION__', `milepost-${hash.digest('hex').slice(0, 8)}`);
}

/**
 * The text of all that a page runs.
 * @param {string} file in web/
 */
export async function bundlePage(file) {
  return header(`web/${file} and what it imports`) + (await minified(file));
}

/** @param {string} source */
const header = (source) => `// Generated from ${source} by \`node sdks/typescript/bundle.js\`. Do not edit.\n`;

/** @param {string} entry in web/ */
async function minified(entry) {
  const { outputFiles } = await build({
    absWorkingDir: web,
    entryPoints: [entry],
    plugins: [beside],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    minify: true,
    // Each line break costs a byte or two once it is compressed.
    lineLimit: 1000,
    write: false,
  });
  return outputFiles[0].text;
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const [file, folder] of Object.entries(BUNDLES)) writeFileSync(web + file, await bundle(folder));
  for (const [file, entry] of Object.entries(PAGES)) writeFileSync(web + file, await bundlePage(entry));
}
