// What npm gets: the browser's modules as the server serves them, with types generated from their comments, and the
// rest compiled. `bundle.js` makes web/milepost.js.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');

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

rmSync(`${here}dist`, { recursive: true, force: true });
mkdirSync(`${here}dist`);
writeFileSync(`${here}dist/job-progress.js`, withoutComments(readFileSync(`${here}../../web/job-progress.js`, 'utf8')));
for (const file of ['milepost.js', 'milepost.d.ts']) copyFileSync(`${here}../../web/${file}`, `${here}dist/${file}`);
for (const project of ['tsconfig.web.json', 'tsconfig.json']) {
  execFileSync(process.execPath, [tsc, '-p', here + project], { stdio: 'inherit' });
}
