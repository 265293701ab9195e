// What npm gets: the browser's modules as they are, with types generated from their comments, and the rest compiled.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');

rmSync(`${here}dist`, { recursive: true, force: true });
mkdirSync(`${here}dist`);
for (const file of ['milepost.js', 'job-progress.js']) copyFileSync(`${here}../../web/${file}`, `${here}dist/${file}`);
for (const project of ['tsconfig.web.json', 'tsconfig.json']) {
  execFileSync(process.execPath, [tsc, '-p', here + project], { stdio: 'inherit' });
}
