// The package as npm packs it, in the node_modules of a program's folder.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's own folder. */
export const here = fileURLToPath(new URL('..', import.meta.url));

/**
 * @param {string} folder of the program
 * @returns {string} the file that npm would publish
 */
export function packInto(folder) {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: here, encoding: 'utf8' }));
  const tarball = join(folder, packed.filename);
  const place = join(folder, 'node_modules/milepost');
  mkdirSync(place, { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '--strip-components=1', '-C', place]);
  return tarball;
}
