/**
 * Sends the newest states of jobs, no more often than it should: the protocol's section 13. Jobs that report to one
 * server share a sender: one request at a time, for all that are due.
 */
import { type Failure, type Outcome, send } from './answer.js';
import type { Request } from './request.js';
import { type Encoded, MAX_UPDATE_BYTES, type Update, canReduce, encode } from './update.js';

export type { Update } from './update.js';

/** What is due within this time is sent together; a job whose stage changes all the time is sent no more often. All in milliseconds. */
const GAP = 20;
/** Between two routine updates of a job. */
const INTERVAL = 200;
/** Between two updates of a job that does not change. */
export const HEARTBEAT = 10_000;
const MAX_BACKOFF = 30_000;
const MAX_RETRY_AFTER = 300_000;
/** The longest wait between two tries during a flush. */
const MAX_FLUSH_RETRY = 250;
/** A request that takes longer has failed. */
const PATIENCE = 10_000;
/** The same once no job runs and nobody waits: the request is all that keeps the process alive. */
const LAST_PATIENCE = 2000;
/** How long a flush waits by default, and at most: what a timer takes. */
const FLUSH = 2000;
const MAX_FLUSH = 2 ** 31 - 1;
/** The most updates in one request, and about how many bytes. */
const MAX_BATCH = 1_000;
const MAX_BATCH_BYTES = 1 << 20;
/** Jobs of one server: those under way, and those whose end has not arrived. */
const MAX_JOBS = 10_000;

/** Where warnings go. */
export type Warn = (message: string) => void;

/** A job as its sender sees it. Pending updates are not kept, but read when they are sent. So memory is bounded. */
export interface Source {
  readonly id: string;
  readonly update: () => Update;
  readonly warn: Warn;
  /** Whether to send a heartbeat every ten seconds. */
  readonly hasHeartbeat: boolean;
  /** Whether the job is a part of another one. */
  readonly hasParent?: boolean;
  /** Called with what watchers request of the worker, after each answer that names it. */
  readonly onRequest?: (request: Request) => void;
  /** Called if that attempt has ended before any update was accepted. Whether the job goes on as the next one. */
  readonly reopen?: (ended: number) => boolean;
}

/** How soon a change is sent: routine updates are 200 ms apart; the others go at once. */
export type Change = 'routine' | 'at once' | 'end';

interface Flush {
  readonly deadline: number;
  readonly end: () => void;
}

interface Entry {
  readonly hasHeartbeat: boolean;
  /** Since when the job is known here. */
  readonly since: number;
  isChanged: boolean;
  isUrgent: boolean;
  isInFlight: boolean;
  hasEnded: boolean;
  /** The server answered that the attempt is over: nothing more is sent. */
  isOver: boolean;
  wasAccepted: boolean;
  sentAt: number;
  /** The job's own rejections and delays in a row. */
  failures: number;
  notBefore: number;
  /** The server does not accept updates of the job now, and why. An end that it accepts while full proves nothing. */
  waits: '' | 'for room' | 'for the server';
  hasNotifiedTruncated: boolean;
  hasNotifiedFault: boolean;
  /** By how many steps updates are reduced, because the server rejected larger ones. */
  reductions: number;
  /** Why a part was rejected. The warning follows once the server has accepted the rest. */
  refusedPart: string;
  /** What was sent last. */
  sent: Update | undefined;
  flushes: Flush[];
}

/** The worst warning of an outage so far: none, that some jobs wait, that nothing arrives. */
type Notified = 0 | 1 | 2;

/** By server and token; only those that have jobs. */
const senders = new Map<string, Sender>();

export class Sender {
  readonly #key: string;
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #entries = new Map<Source, Entry>();
  #maxBatch = MAX_BATCH;
  #isSending = false;
  /** The latest request failed. */
  #isFailing = false;
  #notified: Notified = 0;
  #hasNotifiedFull = false;
  #failures = 0;
  /** No request before this, on the clock of `performance.now()`. */
  #notBefore = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  /** What stops the request under way. */
  #request: AbortController | undefined;

  private constructor(key: string, url: string, token: string | undefined) {
    this.#key = key;
    this.#url = url;
    this.#headers = { ...(token && { authorization: `Bearer ${token}` }) };
  }

  /** The sender for this server; null if no server is named. */
  static to({ base, token }: { readonly base?: string; readonly token?: string }): Sender | null {
    if (base === undefined) return null;
    const key = JSON.stringify([base, token]);
    return senders.get(key) ?? new Sender(key, base, token);
  }

  /** The job has changed. */
  changed(source: Source, change: Change = 'routine'): void {
    const entry = this.#entries.get(source) ?? this.#add(source);
    if (!entry || entry.hasEnded) return;
    entry.hasEnded = change === 'end';
    if (entry.isOver) return entry.hasEnded ? this.remove(source) : undefined;
    if (entry.isChanged && change === 'routine') return;
    entry.isChanged = true;
    entry.isUrgent ||= change !== 'routine';
    if (entry.hasEnded) entry.notBefore = -Infinity;
    this.#plan(due(entry));
  }

  /** Resolves when the job's latest update was sent, or after `ms` milliseconds. */
  flush(source: Source, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const entry = this.#entries.get(source);
      if (!entry || !(entry.isChanged || entry.isInFlight)) return resolve();
      const flush: Flush = {
        deadline: performance.now() + ms,
        end: () => {
          clearTimeout(timer);
          entry.flushes = entry.flushes.filter((each) => each !== flush);
          resolve();
        },
      };
      // This one keeps the process alive.
      const timer = setTimeout(() => {
        flush.end();
        if (!this.#isAwaited) this.#request?.abort(new Error('the server does not answer in time'));
      }, ms);
      entry.flushes.push(flush);
      // It waits for no backoff to pass.
      entry.notBefore = this.#notBefore = -Infinity;
      this.#plan(due(entry));
    });
  }

  /** Whether a job runs, or somebody waits for a flush. */
  get #isAwaited(): boolean {
    for (const { flushes, hasHeartbeat, hasEnded, isOver } of this.#entries.values()) {
      if (flushes.length || (hasHeartbeat && !hasEnded && !isOver)) return true;
    }
    return false;
  }

  /** Nothing is sent of it any more. */
  remove(source: Source): void {
    const entry = this.#entries.get(source);
    this.#entries.delete(source);
    for (const flush of entry?.flushes ?? []) flush.end();
    if (this.#entries.size) return;
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
    // A failing sender has warned already, and does not warn again for each new job.
    if (!this.#notified) senders.delete(this.#key);
  }

  /** All that is known of every job. */
  async flushAll(ms: number): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((source) => this.flush(source, ms)));
  }

  /** Where and as what a process that must end now can send these; null if the server is not there anyway. */
  lastRequest(updates: readonly Update[]): { url: string; headers: Record<string, string>; body: string } | null {
    return this.#isFailing ? null : { url: `${this.#url}/updates`, headers: this.#headers, body: updates.map((update) => encode(update).json).join('\n') };
  }

  #add(source: Source): Entry | undefined {
    if (this.#entries.size >= MAX_JOBS) {
      if (!this.#hasNotifiedFull) warn(source.warn, `further jobs are not reported: ${MAX_JOBS} are reported already, which is the limit`);
      this.#hasNotifiedFull = true;
      return undefined;
    }
    const entry: Entry = {
      hasHeartbeat: source.hasHeartbeat,
      since: performance.now(),
      isChanged: false,
      isUrgent: false,
      isInFlight: false,
      hasEnded: false,
      isOver: false,
      wasAccepted: false,
      sentAt: -Infinity,
      failures: 0,
      notBefore: -Infinity,
      waits: '',
      hasNotifiedTruncated: false,
      hasNotifiedFault: false,
      reductions: 0,
      refusedPart: '',
      sent: undefined,
      flushes: [],
    };
    this.#entries.set(source, entry);
    senders.set(this.#key, this);
    return entry;
  }

  /** Sends at that time, or before. */
  #plan(at: number): void {
    at = Math.max(at, this.#notBefore);
    if (this.#isSending || at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => void this.#turn(), Math.max(0, at - performance.now()));
    // A job that has nothing to do any more does not keep its process alive.
    this.#timer.unref?.();
  }

  #planNext(): void {
    let next = Infinity;
    for (const entry of this.#entries.values()) next = Math.min(next, due(entry));
    if (next < Infinity) this.#plan(next);
  }

  /** One request, if anything is due. A fault of this module is an outage like any other: what it concerns is sent again. */
  async #turn(): Promise<void> {
    this.#timerAt = Infinity;
    const batch: [Source, Entry][] = [];
    try {
      await this.#send(batch);
    } catch (error) {
      putBack(batch);
      this.#fail(sayFault(error), 0);
    }
    this.#isSending = false;
    for (const [source, entry] of batch) {
      entry.isInFlight = false;
      this.#settle(source, entry);
    }
    this.#planNext();
  }

  /** Fills the batch with what it sends. */
  async #send(batch: [Source, Entry][]): Promise<void> {
    const lines = this.#take(batch);
    if (!batch.length) return;
    this.#isSending = true;
    const answer = await this.#post(batch.map(([source]) => source.id), lines);
    for (const [, entry] of batch) entry.isInFlight = false;
    if (Array.isArray(answer)) return this.#onAnswer(batch, answer);
    putBack(batch);
    if (answer.is === 'no batch') this.#maxBatch = Math.max(1, Math.floor(batch.length / 2));
    else this.#fail(answer.reason, answer.retryAfter);
  }

  async #post(jobs: readonly string[], lines: readonly string[]): Promise<Outcome[] | Failure> {
    const request = (this.#request = new AbortController());
    const timer = setTimeout(() => request.abort(new Error('the server does not answer')), this.#isAwaited ? PATIENCE : LAST_PATIENCE);
    timer.unref?.();
    const answer = await send(this.#url, this.#headers, jobs, lines, request.signal);
    clearTimeout(timer);
    this.#request = undefined;
    return answer;
  }

  /** Ends the flushes of a job of which all was sent, or cannot be sent in time; an end that has arrived is forgotten. */
  #settle(source: Source, entry: Entry): void {
    if (!entry.isChanged && entry.hasEnded) return this.remove(source);
    const notBefore = Math.max(this.#notBefore, entry.notBefore);
    for (const flush of entry.flushes) if (!entry.isChanged || notBefore >= flush.deadline) flush.end();
  }

  /** Adds to the batch what is due now, up to what fits in a request. Returns that request's lines. */
  #take(batch: [Source, Entry][]): string[] {
    const now = performance.now();
    const lines: string[] = [];
    let bytes = 0;
    if (now + 1 < this.#notBefore) return lines;
    for (const [source, entry] of this.#childrenFirst()) {
      // A timer may be early by a part of a millisecond.
      if (due(entry) > now + 1) continue;
      const made = make(source, entry);
      if (!made) continue;
      const { update, json, size, truncated } = made;
      if (batch.length && bytes + size > MAX_BATCH_BYTES) break;
      bytes += size;
      lines.push(json);
      if (truncated.length && !entry.reductions) notifyTruncated(source, entry, `${truncated.join(', ')}; an update is JSON of at most ${MAX_UPDATE_BYTES} bytes`);
      entry.sent = update;
      batch.push([source, entry]);
      [entry.isChanged, entry.isUrgent, entry.isInFlight, entry.sentAt] = [false, false, true, now];
      if (batch.length >= this.#maxBatch) break;
    }
    return lines;
  }

  /** A parent begins before its children. So the end of a parent that is sent with theirs shows them, on every level. */
  #childrenFirst(): [Source, Entry][] {
    const entries = [...this.#entries];
    const children = entries.filter(([{ hasParent }]) => hasParent).reverse();
    return [...children, ...entries.filter(([{ hasParent }]) => !hasParent)];
  }

  #onAnswer(batch: readonly [Source, Entry][], outcomes: readonly Outcome[]): void {
    let isProven = this.#isFailing;
    [this.#isFailing, this.#failures, this.#notBefore] = [false, 0, -Infinity];
    this.#maxBatch = Math.min(MAX_BATCH, this.#maxBatch * 2);
    for (const [n, [source, entry]] of batch.entries()) {
      const outcome = outcomes[n];
      try {
        if (outcome) isProven = this.#onOutcome(source, entry, outcome) || isProven;
      } catch (error) {
        notifyFault(source, entry, error);
        this.#delay(entry, 0);
      }
    }
    if (!isProven || !this.#notified || [...this.#entries.values()].some(({ waits }) => waits)) return;
    this.#notified = 0;
    this.#warnAll('reporting works again');
  }

  /** Returns whether it proves that the server takes updates. */
  #onOutcome(source: Source, entry: Entry, outcome: Outcome): boolean {
    const isUnacceptable = outcome.is === 'unacceptable';
    if (isUnacceptable && reduce(entry, outcome.reason, outcome.isTooLarge)) {
      entry.waits = '';
      return false;
    }
    if (outcome.is === 'busy' || (isUnacceptable && outcome.isForeign)) {
      const { retryAfter, isFull } = outcome.is === 'busy' ? outcome : { retryAfter: 0, isFull: false };
      this.#delay(entry, retryAfter);
      entry.waits = isFull && !isEnd(entry.sent) ? 'for room' : 'for the server';
      this.#notify(1, `the server cannot accept an update of ${source.id} now; retrying: ${outcome.reason}`);
      return false;
    }
    const { waits } = entry;
    entry.waits = '';
    switch (outcome.is) {
      case 'accepted':
        if (entry.refusedPart) notifyTruncated(source, entry, `the server refuses a part of it: ${entry.refusedPart}`);
        [entry.refusedPart, entry.failures, entry.notBefore, entry.wasAccepted] = ['', 0, -Infinity, true];
        if (outcome.requested) source.onRequest?.(outcome.requested);
        // A full server takes an end all the same.
        return !isEnd(entry.sent) || waits === 'for the server';
      case 'over':
        if (outcome.ended !== undefined && !entry.wasAccepted && source.reopen?.(outcome.ended)) {
          [entry.isChanged, entry.isUrgent, entry.sentAt] = [true, true, -Infinity];
          return false;
        }
        entry.isOver = true;
        entry.isChanged = false;
        warn(source.warn, `${source.id} is no longer reported: ${outcome.reason}`);
        return false;
      default:
        if (!entry.failures) warn(source.warn, `an update of ${source.id} was rejected: ${outcome.reason}`);
        entry.notBefore = performance.now() + backoff(entry.failures);
        entry.failures += 1;
        return false;
    }
  }

  #delay(entry: Entry, retryAfter: number): void {
    const wait = entry.flushes.length && !retryAfter ? Math.random() * MAX_FLUSH_RETRY : Math.max(backoff(entry.failures), retryAfter);
    entry.failures += 1;
    entry.notBefore = performance.now() + Math.min(wait, MAX_RETRY_AFTER);
    [entry.isChanged, entry.sentAt] = [true, -Infinity];
  }

  #fail(reason: string, retryAfter: number): void {
    const isFlushing = [...this.#entries.values()].some(({ flushes }) => flushes.length);
    const wait = retryAfter
      // Spread, so that clients with the same retry time do not all retry at once.
      ? Math.min(retryAfter, MAX_RETRY_AFTER) * (1 + Math.random() / 4)
      : isFlushing ? Math.random() * MAX_FLUSH_RETRY : backoff(this.#failures);
    this.#failures += 1;
    this.#notBefore = performance.now() + wait;
    this.#isFailing = true;
    this.#notify(2, `cannot report; the job continues: ${reason}`);
  }

  /** Warns of an outage, if no warning as bad came before. */
  #notify(what: Notified, message: string): void {
    if (what <= this.#notified) return;
    this.#notified = what;
    this.#warnAll(message);
  }

  #warnAll(message: string): void {
    for (const each of new Set([...this.#entries.keys()].map((source) => source.warn))) warn(each, message);
  }
}

/**
 * Sends pending updates at once: for a process that is about to call `process.exit()`, or to be frozen, as serverless
 * functions are. Resolves when all were sent, or after `ms` milliseconds.
 */
export async function flush(ms = FLUSH): Promise<void> {
  const patience = typeof ms === 'number' && ms >= 0 ? Math.min(ms, MAX_FLUSH) : FLUSH;
  await Promise.all([...senders.values()].map((sender) => sender.flushAll(patience)));
}

/** When it is to be sent, on the clock of `performance.now()`. */
function due(entry: Entry): number {
  const { isChanged, sentAt, notBefore } = entry;
  if (entry.isInFlight || entry.isOver) return Infinity;
  if (!isChanged) return entry.hasHeartbeat && !entry.hasEnded ? Math.max(sentAt + HEARTBEAT, notBefore) : Infinity;
  if (entry.hasEnded || entry.flushes.length) return notBefore;
  if (entry.isUrgent) return Math.max(sentAt + GAP, notBefore);
  // Calls in the job's first moment are part of the first state.
  return Math.max(entry.since + GAP, sentAt + INTERVAL, notBefore);
}

/** Drawn from 0 to a window that starts at 1 s and doubles with each failure in a row, up to 30 s. */
function backoff(failures: number): number {
  return Math.random() * Math.min(MAX_BACKOFF, 1000 * 2 ** Math.min(failures, 5));
}

function isEnd(update: Update | undefined): boolean {
  return update !== undefined && update.status !== 'queued' && update.status !== 'processing';
}

/**
 * Sent again as it is, it would be rejected again. What is too large is sent again with less, and so is an end that is
 * invalid: an end is not lost because of its content. Other invalid updates are for the worker to correct.
 */
function reduce(entry: Entry, reason: string, isTooLarge: boolean): boolean {
  const { sent } = entry;
  if (!sent || !(isTooLarge || isEnd(sent)) || !canReduce(sent, entry.reductions)) return false;
  entry.reductions += 1;
  entry.refusedPart = reason;
  [entry.isChanged, entry.isUrgent, entry.sentAt] = [true, true, -Infinity];
  return true;
}

/** What was not sent, or not with success, is sent again. */
function putBack(batch: readonly [Source, Entry][]): void {
  for (const [, entry] of batch) [entry.isChanged, entry.isInFlight, entry.sentAt] = [true, false, -Infinity];
}

/** The update of a job, and its JSON; null: there is none now. A fault in one job costs no other one. */
function make(source: Source, entry: Entry): ({ readonly update: Update } & Encoded) | null {
  let update: Update | undefined;
  try {
    update = source.update();
    return { update, ...encode(update, entry.reductions) };
  } catch (error) {
    notifyFault(source, entry, error);
    if (!update) {
      entry.notBefore = performance.now() + backoff(entry.failures);
      entry.failures += 1;
      return null;
    }
    // What nobody has thought of is left out.
    const { job_id, status, attempt, timestamp } = update;
    const least = { job_id, status, ...(attempt !== undefined && { attempt }), timestamp };
    const truncated = Object.keys(update).filter((name) => !(name in least));
    return { update: least, ...encode({ ...least, truncated }) };
  }
}

function notifyFault(source: Source, entry: Entry, error: unknown): void {
  if (!entry.hasNotifiedFault) warn(source.warn, `part of ${source.id} is not reported: ${sayFault(error)}`);
  entry.hasNotifiedFault = true;
}

function sayFault(error: unknown): string {
  return `an internal error: ${String((error as Error | null)?.stack ?? error).slice(0, 300)}`;
}

/** Once for each job. */
function notifyTruncated(source: Source, entry: Entry, what: string): void {
  if (!entry.hasNotifiedTruncated) warn(source.warn, `part of ${source.id} is not reported: ${what}`);
  entry.hasNotifiedTruncated = true;
}

/** A warning, under the name of the package. */
export function warn(to: Warn, message: string): void {
  try {
    to(`milepost: ${message}`);
  } catch {
    // A logger that throws must not fail the job.
  }
}
