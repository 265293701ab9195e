/** What reporters take from the environment. */
import { warn as logWarning } from './sender.js';

const VARIABLES = ['MILEPOST_URL', 'MILEPOST_TOKEN', 'MILEPOST_JOB', 'MILEPOST_ATTEMPT', 'MILEPOST_PARENT', 'MILEPOST_RUN', 'MILEPOST_AUTO'];

/** The most misspelt variables that are named. Most programs have none. */
const MAX_WARNED = 16;
const warned = new Set<string>();

/** Where to report to, and the key or token: the options, else the environment. Warns once of each misspelt variable. */
export function fromEnvironment(given: { url?: string; token?: string }, warn: (message: string) => void): { url?: string; token?: string } {
  for (const name of Object.keys(process.env)) {
    const meant = meantBy(name);
    if (meant === undefined || warned.has(name) || warned.size >= MAX_WARNED) continue;
    warned.add(name);
    logWarning(warn, `the environment variable ${name} has no effect: did you mean ${meant}?`);
  }
  const url = given.url ?? process.env['MILEPOST_URL'];
  const token = given.token ?? (process.env['MILEPOST_TOKEN'] || undefined);
  return { ...(url !== undefined && { url }), ...(token !== undefined && { token }) };
}

/** The variable that a name differs from by its case, or by one letter. */
function meantBy(name: string): string | undefined {
  if (VARIABLES.includes(name)) return undefined;
  const upper = name.toUpperCase();
  return VARIABLES.find((variable) => isOneEditAway(upper, variable));
}

/** Whether at most one letter was added, dropped or replaced, or two neighbours changed places. */
function isOneEditAway(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end += 1;
  const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  return Math.max(x.length, y.length) <= 1 || (x.length === 2 && y.length === 2 && x[0] === y[1] && x[1] === y[0]);
}
