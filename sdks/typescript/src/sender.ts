/** Sends a job's newest state, no more often than it should: the protocol's section 13. */

export interface Update {
  job_id: string;
  status: 'processing' | 'completed' | 'failed' | 'cancelled';
  stage?: string;
  [field: string]: unknown;
}

/** Between two updates of a job, in milliseconds. */
const PACE = 200;
const HEARTBEAT = 10_000;
/** A request that takes longer has failed, in milliseconds. */
const PATIENCE = 10_000;
const LONGEST_BACKOFF = 30_000;

export class Sender {
  readonly #address: string;
  readonly #headers: Record<string, string>;
  readonly #update: () => Update;
  readonly #warn: (message: string) => void;
  /** What is not sent yet is not kept: it is asked for when it is. So memory is bounded. */
  #isChanged = false;
  #isUrgent = false;
  #isSending = false;
  #isOver = false;
  #isFailing = false;
  #hasWarned = false;
  #failures = 0;
  #sentAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #settled: (() => void)[] = [];

  constructor(url: string, token: string | undefined, id: string, update: () => Update, warn: (message: string) => void) {
    this.#address = `${url.replace(/\/+$/, '')}/jobs/${encodeURIComponent(id)}`;
    this.#headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
    this.#update = update;
    this.#warn = warn;
  }

  /** There is something new to say; at once, if it is urgent. */
  changed(isUrgent = false): void {
    if (this.#isOver || (this.#isChanged && !isUrgent)) return;
    this.#isChanged = true;
    this.#isUrgent ||= isUrgent;
    this.#plan();
  }

  /** Resolves when everything was sent, or after so many milliseconds; then nothing is sent any more. */
  flush(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#isOver = true;
        clearTimeout(this.#timer);
        resolve();
      };
      const timer = setTimeout(end, ms);
      if (this.#isOver || !(this.#isChanged || this.#isSending)) return end();
      this.#settled.push(end);
      // The end does not wait for a backoff to pass.
      if (this.#isFailing) {
        this.#failures = 0;
        this.#plan();
      }
    });
  }

  #plan(): void {
    if (this.#isSending || this.#isOver) return;
    clearTimeout(this.#timer);
    const sinceLast = performance.now() - this.#sentAt;
    const span = Math.min(LONGEST_BACKOFF, 1000 * 2 ** Math.min(this.#failures - 1, 10));
    const wait = this.#failures ? Math.random() * span
      : this.#isUrgent ? 0
      : (this.#isChanged ? PACE : HEARTBEAT) - sinceLast;
    this.#timer = setTimeout(() => void this.#send(), Math.max(0, wait));
    // A job that has nothing to do any more does not keep its process alive; an end does, until it was flushed.
    if (!this.#settled.length) this.#timer.unref?.();
  }

  async #send(): Promise<void> {
    this.#isSending = true;
    this.#isChanged = this.#isUrgent = false;
    this.#sentAt = performance.now();
    let status = 0;
    let why = '';
    try {
      const response = await fetch(this.#address, {
        method: 'POST',
        headers: this.#headers,
        body: encode(this.#update()),
        signal: AbortSignal.timeout(PATIENCE),
      });
      status = response.status;
      why = await response.text();
    } catch (error) {
      why = String((error as { cause?: unknown }).cause ?? error);
    }
    this.#isSending = false;
    if (status >= 200 && status < 300) this.#succeed();
    else if (status >= 400 && status < 500 && status !== 408 && status !== 429) this.#refuse(`${detail(why)}`);
    else this.#fail(why);
    if (!this.#isChanged) for (const settle of this.#settled.splice(0)) settle();
    this.#plan();
  }

  #succeed(): void {
    if (this.#hasWarned && this.#isFailing) this.#say('reports progress again');
    this.#isFailing = this.#hasWarned = false;
    this.#failures = 0;
  }

  /** Sent again, it would be refused again. */
  #refuse(why: string): void {
    this.#failures = 0;
    if (!this.#hasWarned) this.#say(`the server refuses what is reported: ${why}`);
    this.#hasWarned = true;
  }

  #fail(why: string): void {
    this.#isChanged = true;
    this.#failures += 1;
    if (!this.#hasWarned) this.#say(`progress cannot be reported, the job goes on: ${detail(why)}`);
    this.#isFailing = this.#hasWarned = true;
  }

  #say(message: string): void {
    try {
      this.#warn(`milepost: ${message}`);
    } catch {
      // A logger that throws is no reason for a job to fail.
    }
  }
}

/** JSON; without what a worker gave that JSON cannot hold. */
function encode(update: Update): string {
  try {
    return JSON.stringify(update);
  } catch {
    const { metadata: _, result: __, ...rest } = update;
    return JSON.stringify(rest);
  }
}

function detail(text: string): string {
  try {
    return String((JSON.parse(text) as { detail?: unknown }).detail ?? text);
  } catch {
    return text.slice(0, 200);
  }
}
