/** What reporters take from the environment. */
import { addressOf } from './address.js';
import { shown, warnOnce } from './argument.js';
import { type Warn, warn as logWarning } from './sender.js';

const VARIABLES = ['MILEPOST_URL', 'MILEPOST_TOKEN', 'MILEPOST_JOB', 'MILEPOST_ATTEMPT', 'MILEPOST_PARENT', 'MILEPOST_RUN', 'MILEPOST_AUTO'];

/** The most misspelt variables that are named. Most programs have none. */
const MAX_WARNED = 16;
const warned = new Set<string>();

/** What a header may have. */
const HEADER = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Where to report to: the server's address, without a slash at its end; if absent, nothing is reported. */
export interface Destination {
  readonly base?: string;
  readonly token?: string;
}

/** The options, else the environment. Warns once of what is no address, and of each misspelt variable. */
export function destinationOf(given: { readonly url?: unknown; readonly token?: unknown }, warn: Warn): Destination {
  warnOfMisspelt(warn);
  const url = urlOf(given.url, warn) ?? process.env['MILEPOST_URL'];
  if (!url) return {};
  const address = addressOf(url);
  if ('problem' in address) {
    warnOnce(warn, `url ${url}`, `nothing is reported: ${address.problem}`);
    return {};
  }
  const token = tokenOf(given.token ?? (process.env['MILEPOST_TOKEN'] || undefined), warn);
  return { base: address.base, ...(token && { token }) };
}

/** A text, or a `URL`. */
function urlOf(given: unknown, warn: Warn): string | undefined {
  if (given === undefined || given === null || typeof given === 'string') return given ?? undefined;
  try {
    if (given instanceof URL) return given.href;
  } catch {
    // Not even that can be asked of it.
  }
  warnOnce(warn, 'url', `url is ignored: it takes a text, not ${shown(given)}`);
  return undefined;
}

/** The token, which no warning shows. */
function tokenOf(given: unknown, warn: Warn): string | undefined {
  if (given === undefined) return undefined;
  // The line feed of a file is not part of it.
  const token = typeof given === 'string' ? given.trim() : null;
  if (token !== null && HEADER.test(token)) return token;
  warnOnce(warn, 'token', `token is ignored: it takes a text ${token === null ? '' : 'of characters that a header can have'}`.trimEnd());
  return undefined;
}

function warnOfMisspelt(warn: Warn): void {
  for (const name of Object.keys(process.env)) {
    const meant = meantBy(name);
    if (meant === undefined || warned.has(name) || warned.size >= MAX_WARNED) continue;
    warned.add(name);
    logWarning(warn, `the environment variable ${name} has no effect: did you mean ${meant}?`);
  }
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
