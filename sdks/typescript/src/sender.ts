/**
 * Sends the newest states of jobs, no more often than it should: the protocol's section 13. Jobs that report to one
 * server share a sender: one request at a time, for all that are due.
 */
import { MAX_UPDATE_BYTES, type Update, canReduce, encode } from './update.js';

export type { Update } from './update.js';

/** Between two updates of a job, in milliseconds. */
const PACE = 200;
const HEARTBEAT = 10_000;
/** A request that takes longer has failed, in milliseconds. */
const PATIENCE = 10_000;
const LONGEST_BACKOFF = 30_000;
/** A server that names a longer time is come back to all the same. */
const LONGEST_RETRY_AFTER = 600_000;
/** In one request: updates, and about so many bytes. */
const MOST_LINES = 500;
const MOST_BYTES = 1 << 20;
/** Redirects that one request follows: those that keep its method and its body. */
const MAX_REDIRECTS = 5;

/** A job as its sender sees it. What is not sent yet is not kept: it is asked for when it is. So memory is bounded. */
export interface Slot {
  readonly id: string;
  readonly update: () => Update;
  readonly warn: (message: string) => void;
  /** Whether to say every ten seconds that it is still there. */
  readonly hasHeartbeat: boolean;
}

interface Entry {
  readonly hasHeartbeat: boolean;
  isChanged: boolean;
  isUrgent: boolean;
  isUnderWay: boolean;
  hasRefusal: boolean;
  hasToldTruncated: boolean;
  /** How often the server has refused what an update contains: each is sent with so much less. */
  reductions: number;
  /** Why; said once the server has taken the rest. */
  refusedPart: string;
  /** What was sent last. */
  sent: Update | undefined;
  sentAt: number;
  /** Told when nothing is left to send. */
  settled: (() => void)[];
}

/** By server and token; only those that have jobs. */
const senders = new Map<string, Sender>();

export class Sender {
  readonly #key: string;
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #entries = new Map<Slot, Entry>();
  #mostLines = MOST_LINES;
  #isSending = false;
  #isFailing = false;
  #failures = 0;
  /** No request before this, on the clock of `performance.now()`. */
  #notBefore = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;

  private constructor(key: string, url: string, token: string | undefined) {
    this.#key = key;
    this.#url = url;
    this.#headers = { ...(token && { authorization: `Bearer ${token}` }) };
  }

  /** The one for this server; null: no server is named, or none that is spoken to by HTTP. */
  static to(url: string | undefined, token: string | undefined, warnBy: (message: string) => void): Sender | null {
    if (!url) return null;
    if (!/^https?:\/\//.test(url)) {
      warn(warnBy, `nothing is reported: the address begins with neither http:// nor https://: ${url.split('@').at(-1)}`);
      return null;
    }
    const base = url.replace(/\/+$/, '');
    const key = JSON.stringify([base, token]);
    return senders.get(key) ?? new Sender(key, base, token);
  }

  /** There is something new to say of a job; at once, if it is urgent. */
  changed(slot: Slot, isUrgent = false): void {
    const entry = this.#entries.get(slot) ?? this.#add(slot);
    if (entry.isChanged && !isUrgent) return;
    entry.isChanged = true;
    entry.isUrgent ||= isUrgent;
    this.#plan(due(entry));
  }

  /** Resolves when all that is known of the job was sent, or after so many milliseconds. */
  flush(slot: Slot, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const entry = this.#entries.get(slot);
      if (!entry || !(entry.isChanged || entry.isUnderWay)) return resolve();
      const end = (): void => {
        clearTimeout(timer);
        resolve();
      };
      // This one keeps the process alive.
      const timer = setTimeout(end, ms);
      entry.settled.push(end);
      entry.isUrgent = entry.isChanged;
      // An end does not wait for a backoff to pass.
      if (this.#isFailing) [this.#failures, this.#notBefore] = [0, -Infinity];
      this.#plan(due(entry));
    });
  }

  /** Nothing is sent of it any more. */
  remove(slot: Slot): void {
    this.#entries.delete(slot);
    if (this.#entries.size) return;
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
    // One that is failing has told so, and does not tell it of each new job.
    if (!this.#isFailing) senders.delete(this.#key);
  }

  /** All that is known of every job. */
  async flushAll(ms: number): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((slot) => this.flush(slot, ms)));
  }

  /** Where and as what a process that must end now can send these; null if the server is not there anyway. */
  lastRequest(updates: readonly Update[]): { url: string; headers: Record<string, string>; body: string } | null {
    return this.#isFailing ? null : { url: `${this.#url}/updates`, headers: this.#headers, body: updates.map((update) => encode(update).json).join('\n') };
  }

  #add(slot: Slot): Entry {
    const { hasHeartbeat } = slot;
    const entry: Entry = {
      hasHeartbeat,
      isChanged: false,
      isUrgent: false,
      isUnderWay: false,
      hasRefusal: false,
      hasToldTruncated: false,
      reductions: 0,
      refusedPart: '',
      sent: undefined,
      sentAt: -Infinity,
      settled: [],
    };
    this.#entries.set(slot, entry);
    senders.set(this.#key, this);
    return entry;
  }

  /** Sends at that time, or before. */
  #plan(at: number): void {
    at = Math.max(at, this.#notBefore);
    if (this.#isSending || at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => void this.#send(), Math.max(0, at - performance.now()));
    // A job that has nothing to do any more does not keep its process alive.
    this.#timer.unref?.();
  }

  #planNext(): void {
    let next = Infinity;
    for (const entry of this.#entries.values()) next = Math.min(next, due(entry));
    if (next < Infinity) this.#plan(next);
  }

  async #send(): Promise<void> {
    this.#timerAt = Infinity;
    const [batch, lines] = this.#take();
    if (!batch.length) return this.#planNext();
    this.#isSending = true;
    const [only] = batch;
    const answer = batch.length === 1 && only
      ? await this.#post(`/jobs/${encodeURIComponent(only[0].id)}`, 'application/json', lines)
      : await this.#post('/updates', 'application/x-ndjson', lines);
    this.#isSending = false;
    for (const [, entry] of batch) entry.isUnderWay = false;
    if (answer.status === 413 && batch.length > 1) {
      // The server takes less at once.
      this.#mostLines = Math.ceil(batch.length / 2);
      for (const [, entry] of batch) entry.isChanged = true;
    } else if (answer.status >= 200 && answer.status < 300) {
      const outcomes = batch.length > 1 ? answer.text.split('\n').filter(Boolean) : [];
      const broken = batch.map(([slot, entry], n) => this.#onOutcome(slot, entry, outcomes[n] ?? '')).find(Boolean);
      if (broken) this.#fail(broken, 0);
      else this.#succeed();
    } else if (answer.status >= 400 && answer.status < 500 && answer.status !== 408 && answer.status !== 429) {
      this.#failures = 0;
      for (const [slot, entry] of batch) this.#refuse(slot, entry, answer.status, answer.text);
    } else {
      for (const [, entry] of batch) entry.isChanged = true;
      this.#fail(answer.text, answer.retryAfter);
    }
    for (const [, entry] of batch) {
      if (!entry.isChanged) for (const settle of entry.settled.splice(0)) settle();
    }
    this.#planNext();
  }

  /** What is due now, up to what fits in a request, and that request's lines. */
  #take(): [[Slot, Entry][], string] {
    const now = performance.now();
    const batch: [Slot, Entry][] = [];
    const lines: string[] = [];
    let bytes = 0;
    for (const [slot, entry] of this.#entries) {
      // A timer may be early by a part of a millisecond.
      if (due(entry) > now + 1) continue;
      const update = slot.update();
      const { json, size, truncated } = encode(update, entry.reductions);
      if (batch.length && bytes + size > MOST_BYTES) break;
      bytes += size;
      lines.push(json);
      if (truncated.length && !entry.hasToldTruncated && !entry.reductions) {
        entry.hasToldTruncated = true;
        warn(slot.warn, `not reported whole of ${slot.id}: ${truncated.join(', ')}; an update is JSON of at most ${MAX_UPDATE_BYTES} bytes`);
      }
      entry.sent = update;
      batch.push([slot, entry]);
      [entry.isChanged, entry.isUrgent, entry.isUnderWay, entry.sentAt] = [false, false, true, now];
      if (batch.length >= this.#mostLines) break;
    }
    return [batch, lines.join('\n')];
  }

  async #post(path: string, type: string, body: string): Promise<{ status: number; text: string; retryAfter: number }> {
    try {
      const response = await post(this.#url + path, { ...this.#headers, 'content-type': type }, body);
      const retryAfter = Number(response.headers.get('retry-after')) * 1000 || 0;
      return { status: response.status, text: await response.text(), retryAfter: Math.min(retryAfter, LONGEST_RETRY_AFTER) };
    } catch (error) {
      return { status: 0, text: String((error as { cause?: unknown }).cause ?? error), retryAfter: 0 };
    }
  }

  /** What a line of a batch was answered with; returned, if it has to be sent again. */
  #onOutcome(slot: Slot, entry: Entry, line: string): string {
    const { status = 200 } = parse(line) as { status?: number };
    entry.isChanged ||= status >= 500;
    if (status >= 400 && status < 500) this.#refuse(slot, entry, status, line);
    else this.#onAccepted(slot, entry);
    return status >= 500 ? line : '';
  }

  #onAccepted(slot: Slot, entry: Entry): void {
    if (entry.refusedPart && !entry.hasToldTruncated) {
      entry.hasToldTruncated = true;
      warn(slot.warn, `not reported whole of ${slot.id}: the server refuses a part of it: ${entry.refusedPart}`);
    }
    entry.refusedPart = '';
    entry.hasRefusal = false;
  }

  #succeed(): void {
    if (this.#isFailing) this.#say('reports progress again');
    this.#isFailing = false;
    this.#failures = 0;
  }

  /**
   * Sent again as it is, it would be refused again. What is too large is sent again with less, and so is an end that is
   * invalid: what an end carries is no reason to lose it. What is invalid while the job goes on is its worker's to mend.
   */
  #refuse(slot: Slot, entry: Entry, status: number, why: string): void {
    const { sent } = entry;
    const isEnd = sent !== undefined && !['queued', 'processing'].includes(sent.status);
    if (sent && (status === 413 || (isEnd && (status === 400 || status === 422))) && canReduce(sent, entry.reductions)) {
      entry.reductions += 1;
      entry.refusedPart = detail(why);
      [entry.isChanged, entry.isUrgent] = [true, true];
      return;
    }
    if (!entry.hasRefusal) warn(slot.warn, `the server refuses what is reported: ${detail(why)}`);
    entry.hasRefusal = true;
  }

  #fail(why: string, retryAfter: number): void {
    this.#failures += 1;
    const backoff = Math.random() * Math.min(LONGEST_BACKOFF, 1000 * 2 ** Math.min(this.#failures - 1, 10));
    // Those that were told the same time do not all come at once.
    this.#notBefore = performance.now() + Math.max(backoff, retryAfter * (1 + Math.random()));
    if (!this.#isFailing) this.#say(`progress cannot be reported, the job goes on: ${detail(why)}`);
    this.#isFailing = true;
  }

  #say(message: string): void {
    for (const each of new Set([...this.#entries.keys()].map((slot) => slot.warn))) warn(each, message);
  }
}

/**
 * Sends what waits now rather than when it is due: for a process that is about to call `process.exit()`, or to be frozen
 * as functions are. Resolves when all was sent, or after so many milliseconds.
 */
export async function flush(ms = 2000): Promise<void> {
  await Promise.all([...senders.values()].map((sender) => sender.flushAll(ms)));
}

/** When it is to be sent, on the clock of `performance.now()`. */
function due({ hasHeartbeat, isChanged, isUrgent, isUnderWay, sentAt }: Entry): number {
  if (isUnderWay || !(isChanged || hasHeartbeat)) return Infinity;
  return isUrgent ? -Infinity : sentAt + (isChanged ? PACE : HEARTBEAT);
}

/**
 * Posts, and follows the redirects that keep the method and the body (RFC 9110, section 15.4). Another redirect would
 * turn the report into a GET, whose answer looks like success.
 */
async function post(url: string, headers: Record<string, string>, body: string): Promise<Response> {
  const signal = AbortSignal.timeout(PATIENCE);
  for (let hops = 0; ; hops += 1) {
    const response = await fetch(url, { method: 'POST', headers, body, signal, redirect: 'manual' });
    const { status } = response;
    if (status < 300 || status >= 400) return response;
    const target = new URL(response.headers.get('location') ?? '', url);
    await response.body?.cancel();
    if (![307, 308].includes(status) || hops === MAX_REDIRECTS) throw new Error(`${url} redirects to ${target.href}: report to that address`);
    // Credentials stay with the host that they are for.
    if (target.host !== new URL(url).host || (url.startsWith('https:') && target.protocol === 'http:')) delete headers['authorization'];
    url = target.href;
  }
}

function warn(to: (message: string) => void, message: string): void {
  try {
    to(`milepost: ${message}`);
  } catch {
    // A logger that throws is no reason for a job to fail.
  }
}

function parse(text: string): object {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return {};
  }
}

function detail(text: string): string {
  return String((parse(text) as { detail?: unknown }).detail ?? text.slice(0, 200));
}
