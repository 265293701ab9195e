/**
 * What programs pass, whatever its type: understood where it is clear what they mean, otherwise ignored with one warning that names it.
 * Nothing that is given here throws.
 */
import { isJobId, whyNoJobId } from './job-id.js';
import type { Action } from './request.js';
import { type Warn, warn as logWarning } from './sender.js';

/** The most different warnings to one place that are remembered. Others are dropped. */
const MAX_WARNED = 256;
/** The longest text that a warning shows. */
const MAX_SHOWN = 40;
const MAX_ATTEMPT = 2 ** 32 - 1;
const MAX_TTL = 2_592_000;
/** Of a list of texts, no more are read: it may have no end. */
const MAX_TEXTS = 64;
const ACTIONS: readonly unknown[] = ['cancel', 'pause', 'resume'] satisfies Action[];

/** One function for all, so that what is warned of once is warned of once. */
const toConsole: Warn = (text) => console.warn(text);

/** What has been warned of, by where warnings go. */
const warned = new WeakMap<Warn, Set<string>>();

/** Warns, unless there has been a warning about the same to the same place. */
export function warnOnce(to: Warn, about: string, text: string): void {
  const known = warned.get(to) ?? new Set();
  warned.set(to, known);
  if (known.has(about) || known.size >= MAX_WARNED) return;
  known.add(about);
  logWarning(to, text);
}

/** The options, read once; none if it is no object. */
export function optionsOf<T extends object>(given: unknown): Partial<T> {
  if (given === undefined || given === null) return {};
  try {
    if (typeof given === 'object' && !Array.isArray(given)) return { ...(given as T) };
  } catch {
    // Reading it throws.
  }
  warnOnce(toConsole, 'options', `the options are ignored: they are an object, not ${shown(given)}`);
  return {};
}

/** Where warnings go; by default, and if it is no function, to the console. */
export function warnOf(given: unknown): Warn {
  if (typeof given === 'function') return given as Warn;
  if (given !== undefined && given !== null) warnOnce(toConsole, 'warn', `warn is ignored: it takes a function, not ${shown(given)}`);
  return toConsole;
}

/** The arguments of one job's or reporter's calls. */
export class Arguments {
  readonly #warn: Warn | null;

  /** @param warn null: nothing is reported, so that nothing is lost either */
  constructor(warn: Warn | null) {
    this.#warn = warn;
  }

  /** A text; numbers count as theirs. */
  text(value: unknown, name: string): string | undefined {
    return this.#read(value, name, 'a text', textOf);
  }

  /** Several texts; one counts as a list of one. */
  texts(value: unknown, name: string): string[] | undefined {
    return this.#read(value, name, 'a list of texts', (given) => {
      if (typeof given === 'string') return [given];
      const found: string[] = [];
      for (const each of given as Iterable<unknown>) {
        const text = each === null ? undefined : textOf(each);
        if (text === undefined) this.#ignore(`one of ${name}`, 'a text', each);
        else found.push(text);
        if (found.length >= MAX_TEXTS) break;
      }
      return found;
    });
  }

  number(value: unknown, name: string): number | undefined {
    return this.#read(value, name, 'a finite number', numberOf);
  }

  /** Also an infinite one: it is clamped. */
  progress(value: unknown): number | undefined {
    return this.#read(value, 'progress', 'a number between 0 and 1, or null', (given) => (typeof given === 'number' ? given : undefined));
  }

  weight(value: unknown): number | undefined {
    return this.#read(value, 'weight', 'a number above 0', (given) => {
      const weight = numberOf(given);
      return weight !== undefined && weight > 0 ? weight : undefined;
    });
  }

  count(value: unknown, name: string): number | undefined {
    return this.#read(value, name, `a whole number from 0 to ${MAX_ATTEMPT}`, (given) => wholeOf(given, 0));
  }

  attempt(value: unknown): number | 'next' | undefined {
    return this.#read(value, 'attempt', `a whole number from 1 to ${MAX_ATTEMPT}, or "next"`, (given) => (given === 'next' ? given : wholeOf(given, 1)));
  }

  /** Whole seconds. */
  ttl(value: unknown): number | undefined {
    return this.#read(value, 'ttl', `1 to ${MAX_TTL} seconds`, (given) => {
      const seconds = numberOf(given);
      if (seconds === undefined || seconds <= 0) return undefined;
      if (seconds > MAX_TTL && this.#warn) warnOnce(this.#warn, 'ttl', `ttl is ${MAX_TTL} seconds at most, so ${seconds} counts as that`);
      return Math.min(MAX_TTL, Math.ceil(seconds));
    });
  }

  /** A job's id; numbers count as theirs. Null: it is none, so that the job cannot be reported. */
  id(value: unknown): string | null {
    const found = idOf(value);
    if (found === null && this.#warn) {
      const why = typeof value === 'string' ? whyNoJobId(value) : `its id is a text, not ${shown(value)}`;
      warnOnce(this.#warn, `id: ${why}`, `a job is not reported: ${why}`);
    }
    return found;
  }

  /** The id of another job. */
  parent(value: unknown): string | undefined {
    return this.#read(value, 'parent', "a job's id", (given) => idOf(given) ?? undefined);
  }

  action(value: unknown): Action | undefined {
    return this.#read(value, 'acknowledge', '"cancel", "pause" or "resume"', (given) => (ACTIONS.includes(given) ? (given as Action) : undefined));
  }

  function<T>(value: T, name: string): T | undefined {
    return this.#read(value, name, 'a function', (given) => (typeof given === 'function' ? (given as T) : undefined));
  }

  signal(value: unknown): AbortSignal | undefined {
    return this.#read(value, 'signal', 'an AbortSignal', (given) => {
      const { aborted, addEventListener } = given as AbortSignal;
      return typeof aborted === 'boolean' && typeof addEventListener === 'function' ? (given as AbortSignal) : undefined;
    });
  }

  /** What `read` makes of it. Undefined for what is not given, and for what is ignored. */
  #read<T>(value: unknown, name: string, expected: string, read: (value: unknown) => T | undefined): T | undefined {
    if (value === undefined || value === null) return undefined;
    let found: T | undefined;
    try {
      found = read(value);
    } catch {
      // Reading it throws.
    }
    if (found === undefined) this.#ignore(name, expected, value);
    return found;
  }

  #ignore(name: string, expected: string, value: unknown): void {
    if (this.#warn) warnOnce(this.#warn, name, `${name} is ignored: it takes ${expected}, not ${shown(value)}`);
  }
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (value instanceof String) return String(value);
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean' ? String(value) : undefined;
}

function numberOf(value: unknown): number | undefined {
  const found = typeof value === 'bigint' ? Number(value) : value;
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}

function wholeOf(value: unknown, least: number): number | undefined {
  const found = numberOf(value);
  return found !== undefined && Number.isInteger(found) && found >= least && found <= MAX_ATTEMPT ? found : undefined;
}

function idOf(value: unknown): string | null {
  try {
    const text = typeof value === 'boolean' ? undefined : textOf(value);
    return text !== undefined && isJobId(text) ? text : null;
  } catch {
    return null;
  }
}

/** A value for people to read, in a few words. */
export function shown(value: unknown): string {
  try {
    if (typeof value === 'string') return value.length <= MAX_SHOWN ? JSON.stringify(value.toWellFormed()) : `a text of ${value.length} characters`;
    if (typeof value === 'symbol' || typeof value === 'function') return `a ${typeof value}`;
    if (Array.isArray(value)) return 'a list';
    if (typeof value === 'object' && value !== null) return `a value of the type ${String(value.constructor?.name ?? 'Object').slice(0, MAX_SHOWN)}`;
    return String(value).slice(0, MAX_SHOWN);
  } catch {
    return 'a value that cannot be read';
  }
}
