// Bundles web/milepost/ into web/milepost.js, which is checked in: the server and its build need no Node.
// `node bundle.js` writes it. `docs/decisions` says why; `test/package.test.js` proves that it is what the sources give.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const web = fileURLToPath(new URL('../../web/', import.meta.url));

/** The text of web/milepost.js, as the sources give it. */
export async function bundle() {
  const { outputFiles } = await build({
    absWorkingDir: web,
    entryPoints: ['milepost/index.js'],
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
  for (const name of readdirSync(`${web}milepost`).sort()) hash.update(`${name}\n${readFileSync(`${web}milepost/${name}`, 'utf8')}`);
  const version = `milepost-${hash.digest('hex').slice(0, 8)}`;
  const header = '// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.\n';
  return header + outputFiles[0].text.replace('__MILEPOST_VERSION__', version);
}

if (argv[1] === fileURLToPath(import.meta.url)) writeFileSync(`${web}milepost.js`, await bundle());
