// Bundles web/milepost/ into web/milepost.js and web/job-progress/ into web/job-progress.min.js. Both are checked in: the server and
// its build need no Node. `node bundle.js` writes them. `docs/decisions` says why; `test/package.test.js` proves that they are what
// the sources give.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const web = fileURLToPath(new URL('../../web/', import.meta.url));

/** The bundles, and the folder of each one's sources. */
export const BUNDLES = { 'milepost.js': 'milepost', 'job-progress.min.js': 'job-progress' };

/** Modules that are files of their own stay outside. @type {import('esbuild').Plugin} */
const beside = {
  name: 'beside',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.\/[\w-]+\.js$/ }, ({ path }) => ({ path: path.slice(1), external: true }));
  },
};

/**
 * The text of a bundle, as its sources give it.
 * @param {string} folder below web/
 */
export async function bundle(folder) {
  const { outputFiles } = await build({
    absWorkingDir: web,
    entryPoints: [`${folder}/index.js`],
    plugins: [beside],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    minify: true,
    lineLimit: 120,
    write: false,
  });
  const hash = createHash('sha256');
  for (const name of readdirSync(web + folder).sort()) hash.update(`${name}\n${readFileSync(`${web}${folder}/${name}`, 'utf8')}`);
  const version = `milepost-${hash.digest('hex').slice(0, 8)}`;
  const header = `// Generated from web/${folder}/ by \`node sdks/typescript/bundle.js\`. Do not edit.\n`;
  return header + outputFiles[0].text.replace('__MILEPOST_VERSION__', version);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const [file, folder] of Object.entries(BUNDLES)) writeFileSync(web + file, await bundle(folder));
}
