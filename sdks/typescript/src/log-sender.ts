/** The lines of jobs' logs on their way to the server: the protocol's section 17. */
import { readLog } from './answer.js';
import { type Warn, warn } from './sender.js';

/** The most lines of a job that wait to be sent. Older ones are dropped. */
const MAX_LINES = 512;
/** The most jobs with lines that wait. Lines of further jobs are dropped. */
const MAX_JOBS = 1000;
/** The most characters of lines that wait, of all jobs. */
const MAX_WAITING = 4 << 20;
/** The most characters of a line; the server cuts it at as many bytes. */
const MAX_TEXT = 4096;
/** The most bytes of one request; the server takes 256 KiB. */
const BATCH_BYTES = 192 << 10;
/** The milliseconds between a line and the request that sends it with those that have come meanwhile. */
const INTERVAL = 200;
/** The longest that a request may take, in milliseconds. */
const PATIENCE = 10_000;
/** The longest backoff, in milliseconds. */
const LONGEST = 30_000;
/** A job that the server does not know has not been reported yet. After so many requests, it is not going to be. */
const MAX_UNKNOWN = 60;

export interface LogLine {
  text: string;
  /** Milliseconds since 1970. */
  at: number;
  stream?: 'stdout' | 'stderr';
}

interface Waiting {
  /** Encoded, each with its line feed. */
  lines: string[];
  /** How many were dropped before the first of them. */
  dropped: number;
  /** How often the server did not know the job. */
  unknown: number;
}

/** By server and token. */
const senders = new Map<string, LogSender>();

/** Sends lines in order, each job's apart. A request that had no answer is repeated: a line comes twice rather than not at all. */
export class LogSender {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #warn: Warn;
  readonly #jobs = new Map<string, Waiting>();
  #waiting = 0;
  #failures = 0;
  #hasWarned = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sending: Promise<void> | undefined;
  /** The latest request had no answer at all. */
  #isSilent = false;
  /** Those that have written, and may write more. */
  readonly #writers = new Set<object>();
  /** What stops the request under way. */
  #request: AbortController | undefined;

  /** The sender for this server; null if no server is named. */
  static to({ base, token }: { readonly base?: string; readonly token?: string }, warnBy: Warn): LogSender | null {
    if (base === undefined) return null;
    const key = JSON.stringify([base, token]);
    const sender = senders.get(key) ?? new LogSender(base, token, warnBy);
    senders.set(key, sender);
    return sender;
  }

  private constructor(url: string, token: string | undefined, warnBy: Warn) {
    this.#url = url;
    this.#headers = { 'content-type': 'application/x-ndjson', ...(token && { authorization: `Bearer ${token}` }) };
    this.#warn = warnBy;
  }

  /** Adds the lines of a text to a job's log. `writer`: who is going to call `flush`. */
  write(writer: object, job: string, { text, at, stream }: LogLine): void {
    this.#writers.add(writer);
    for (const line of text.split(/\r\n|[\n\r]/)) this.#push(job, encode(line, at, stream));
    this.#plan(INTERVAL);
  }

  /** Sends what waits, for at most `ms` milliseconds, now that this writer writes no more. */
  async flush(writer: object, ms: number): Promise<void> {
    const deadline = performance.now() + ms;
    this.#writers.delete(writer);
    // A request that nobody waits for any more would keep the process alive. But it may have lines of writers that go on.
    const abort = () => !this.#writers.size && this.#request?.abort();
    for (;;) {
      const left = deadline - performance.now();
      if (left <= 0) abort();
      if (!this.#jobs.size || left <= 0) return;
      clearTimeout(this.#timer);
      this.#timer = undefined;
      const timer = setTimeout(abort, left);
      await (this.#sending ?? this.#send(left));
      clearTimeout(timer);
      // A server that does not answer is not asked again: its end must not be waited for.
      if (this.#isSilent) return;
      if (this.#jobs.size) await new Promise((resolve) => setTimeout(resolve, Math.min(INTERVAL, left)));
    }
  }

  #push(job: string, line: string): void {
    let waiting = this.#jobs.get(job);
    if (!waiting) {
      if (this.#jobs.size >= MAX_JOBS) return;
      this.#jobs.set(job, (waiting = { lines: [], dropped: 0, unknown: 0 }));
    }
    waiting.lines.push(line);
    this.#waiting += line.length;
    this.#bound(waiting);
  }

  #bound(waiting: Waiting): void {
    while (waiting.lines.length > MAX_LINES || (this.#waiting > MAX_WAITING && waiting.lines.length)) {
      this.#waiting -= waiting.lines.shift()?.length ?? 0;
      waiting.dropped += 1;
    }
  }

  #plan(ms: number): void {
    if (this.#timer || this.#sending) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#send(PATIENCE);
    }, ms);
    // A program that has nothing to do any more does not wait for it.
    this.#timer.unref?.();
  }

  #send(ms: number): Promise<void> {
    this.#sending = this.#sendAll(ms)
      .catch(() => 'retry' as const)
      .then((outcome) => {
        this.#sending = undefined;
        this.#isSilent = outcome === 'no answer';
        if (outcome !== 'done') this.#failures += 1;
        else this.#failures = 0;
        if (!this.#jobs.size) return;
        const backoff = Math.min(LONGEST, 1000 * 2 ** Math.min(this.#failures - 1, 5)) * Math.random();
        this.#plan(outcome === 'done' ? INTERVAL : Math.max(backoff, INTERVAL));
      });
    return this.#sending;
  }

  async #sendAll(ms: number): Promise<'done' | 'retry' | 'no answer'> {
    const deadline = performance.now() + ms;
    let isForbidden = false;
    let isAccepted = false;
    for (const [job, waiting] of [...this.#jobs]) {
      while (waiting.lines.length || waiting.dropped) {
        const left = deadline - performance.now();
        if (left <= 0) return 'done';
        const [lines, dropped] = this.#take(waiting);
        const gap = dropped ? encode(`(milepost: ${dropped} lines are left out here)`, Date.now()) : '';
        const outcome = await this.#post(job, gap + lines.join(''), left);
        // Lines that are refused are counted, and that is not repeated.
        if (outcome === 'refused') waiting.dropped += lines.length && dropped + lines.length;
        else if (outcome !== 'accepted') this.#putBack(waiting, lines, dropped);
        if (outcome === 'retry' || outcome === 'no answer') return outcome;
        waiting.unknown = outcome === 'unknown job' ? waiting.unknown + 1 : 0;
        if (waiting.unknown >= MAX_UNKNOWN) this.#forget(job, waiting);
        isForbidden ||= outcome === 'forbidden';
        isAccepted ||= outcome === 'accepted';
        if (waiting.unknown || outcome === 'forbidden') break;
      }
      if (!waiting.lines.length && !waiting.dropped) this.#jobs.delete(job);
    }
    // What one job may not say delays no other job.
    return isForbidden && !isAccepted ? 'retry' : 'done';
  }

  #take(waiting: Waiting): [string[], number] {
    let size = 0;
    let count = 0;
    for (const line of waiting.lines) {
      size += Buffer.byteLength(line);
      if (size > BATCH_BYTES && count) break;
      count += 1;
    }
    const lines = waiting.lines.splice(0, count);
    for (const line of lines) this.#waiting -= line.length;
    const { dropped } = waiting;
    waiting.dropped = 0;
    return [lines, dropped];
  }

  #putBack(waiting: Waiting, lines: string[], dropped: number): void {
    waiting.lines.unshift(...lines);
    waiting.dropped += dropped;
    for (const line of lines) this.#waiting += line.length;
    this.#bound(waiting);
  }

  #forget(job: string, waiting: Waiting): void {
    for (const line of waiting.lines) this.#waiting -= line.length;
    this.#jobs.delete(job);
  }

  async #post(job: string, body: string, ms: number): Promise<ReturnType<typeof readLog> | 'no answer'> {
    let status: number;
    let text: string;
    const request = (this.#request = new AbortController());
    const timer = setTimeout(() => request.abort(), Math.min(ms, PATIENCE));
    timer.unref?.();
    try {
      const url = `${this.#url}/jobs/${encodeURIComponent(job)}/log`;
      const response = await fetch(url, { method: 'POST', headers: this.#headers, body, signal: request.signal });
      ({ status } = response);
      text = await response.text();
    } catch {
      return 'no answer';
    } finally {
      clearTimeout(timer);
      this.#request = undefined;
    }
    const outcome = readLog(status, text);
    if (outcome !== 'refused') return outcome;
    if (!this.#hasWarned) warn(this.#warn, `lines of the log of ${job} are left out: the server answered ${status}`);
    this.#hasWarned = true;
    return 'refused';
  }
}

function encode(text: string, at: number, stream?: 'stdout' | 'stderr'): string {
  const date = new Date(at);
  const time = Number.isNaN(date.getTime()) ? undefined : date.toISOString();
  return `${JSON.stringify({ at: time, stream, text: text.slice(0, MAX_TEXT).toWellFormed?.() ?? text.slice(0, MAX_TEXT) })}\n`;
}
