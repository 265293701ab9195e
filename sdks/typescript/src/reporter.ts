/**
 * Reports a job from Node: how far it is, and how it ended.
 *
 * It does the job no harm: no call throws on its own account or waits, memory is bounded, a server that is down costs
 * one warning. Without `MILEPOST_URL` it does nothing, quietly.
 */
import { Sender, type Update } from './sender.js';

export interface JobOptions {
  /** Where the server is: `http(s)://…`. If absent, `MILEPOST_URL`; without either, nothing is reported. */
  url?: string;
  /** Sent as `Authorization: Bearer`. */
  token?: string;
  /** The job's id; by default its name and a UUID. */
  id?: string;
  /** How much there is to do, in the units of `inc`. If absent, it is not known. */
  total?: number;
  stage?: string;
  message?: string;
  metadata?: unknown;
  /** 1, 2, …: a retry is a new attempt. */
  attempt?: number;
  /** The seconds that the job is kept after each update. */
  ttl?: number;
  /** Cancels the job. */
  signal?: AbortSignal;
  /** Where warnings go; by default `console.warn`. */
  warn?: (message: string) => void;
}

/** The longest that a job's end waits for its server, in milliseconds. */
const FLUSH = 2000;
const running = new Set<Job>();

/** A job that runs. Its calls change memory; what it says is sent beside it. */
export class Job {
  readonly id: string;
  readonly #abort = new AbortController();
  readonly #sender: Sender | null;
  readonly #fixed: { attempt?: number; ttl?: number };
  #status: 'processing' | 'completed' | 'failed' | 'cancelled' = 'processing';
  #stage: string | undefined;
  #message: string | undefined;
  #metadata: unknown;
  #result: unknown;
  #error: string | undefined;
  #total: number | undefined;
  #done = 0;
  #progress: number | null | undefined;

  /** Begins a job, whose end the caller tells by `complete`, `fail` or `cancel`. `job()` does that by itself. */
  constructor(name: string, options: JobOptions = {}) {
    const { url = env('MILEPOST_URL'), token, id, total, stage, message, metadata, attempt, ttl, signal } = options;
    this.id = id ?? `${name.replace(/[^\w.~:@-]/g, '-').slice(0, 80)}-${crypto.randomUUID()}`;
    this.#fixed = { ...(attempt !== undefined && { attempt }), ...(ttl !== undefined && { ttl }) };
    this.#stage = stage;
    this.#message = message;
    this.#metadata = metadata;
    this.#total = total;
    const warn = options.warn ?? ((text: string) => console.warn(text));
    this.#sender = /^https?:\/\//.test(url ?? '') ? new Sender(String(url), token, this.id, () => this.#update(), warn) : null;
    if (signal?.aborted) this.stop(signal.reason);
    else signal?.addEventListener('abort', () => this.stop(signal.reason), { once: true });
    running.add(this);
    listen();
    this.#sender?.changed(true);
  }

  /** Aborted when the job should stop: by the signal that it was given, by SIGTERM or SIGINT. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The stage that the job is in. */
  get stage(): string | undefined {
    return this.#stage;
  }

  /** A new stage, sent at once. Its progress goes on from where it is. */
  set stage(stage: string | undefined) {
    if (stage === this.#stage || this.hasEnded) return;
    this.#stage = stage;
    this.#sender?.changed(true);
  }

  /** 0…1; null: the total is not known. */
  get progress(): number | null {
    if (this.#progress !== undefined) return this.#progress;
    return this.#total && this.#total > 0 ? Math.min(1, this.#done / this.#total) : null;
  }

  set progress(progress: number | null) {
    if (this.hasEnded || Number.isNaN(progress)) return;
    this.#progress = progress === null ? null : Math.min(1, Math.max(0, progress));
    this.#sender?.changed();
  }

  get message(): string | undefined {
    return this.#message;
  }

  set message(message: string | undefined) {
    if (this.hasEnded) return;
    this.#message = message;
    this.#sender?.changed();
  }

  /** Anything that JSON can hold. It is read when it is sent. */
  get metadata(): unknown {
    return this.#metadata;
  }

  set metadata(metadata: unknown) {
    if (this.hasEnded) return;
    this.#metadata = metadata;
    this.#sender?.changed();
  }

  get hasEnded(): boolean {
    return this.#status !== 'processing';
  }

  /** So many more are done, of `total`. */
  inc(by = 1): void {
    this.#done += by;
    this.#progress = undefined;
    this.#sender?.changed();
  }

  /** How much there is to do, now that it is known. */
  set total(total: number) {
    this.#total = total;
    this.#progress = undefined;
    this.#sender?.changed();
  }

  /** What `items` has, each counted when the next one is asked for. Its length, if it has one, is the total. */
  track<T>(items: Iterable<T>, total?: number): IterableIterator<T>;
  track<T>(items: AsyncIterable<T>, total?: number): AsyncIterableIterator<T>;
  track<T>(items: Iterable<T> | AsyncIterable<T>, total?: number): IterableIterator<T> | AsyncIterableIterator<T> {
    const { length, size } = items as { length?: unknown; size?: unknown };
    const known = total ?? length ?? size;
    if (typeof known === 'number') {
      this.#done = 0;
      this.total = known;
    }
    return Symbol.asyncIterator in items ? this.#trackAsync(items) : this.#track(items);
  }

  *#track<T>(items: Iterable<T>): IterableIterator<T> {
    for (const item of items) {
      yield item;
      this.inc();
    }
  }

  async *#trackAsync<T>(items: AsyncIterable<T>): AsyncIterableIterator<T> {
    for await (const item of items) {
      yield item;
      this.inc();
    }
  }

  /** The job is done. Resolves when that was told, or after two seconds. The first end wins. */
  complete(result?: unknown): Promise<void> {
    this.#result = result;
    return this.#end('completed');
  }

  fail(error: unknown): Promise<void> {
    if (!this.hasEnded) this.#error = describe(error);
    return this.#end('failed');
  }

  cancel(): Promise<void> {
    return this.#end('cancelled');
  }

  async #end(status: 'completed' | 'failed' | 'cancelled'): Promise<void> {
    if (!this.hasEnded) {
      this.#status = status;
      this.#sender?.changed(true);
    }
    await this.#sender?.flush(FLUSH);
    running.delete(this);
    unlisten();
  }

  /** Asks the job to stop. @internal */
  stop(reason: unknown): void {
    this.#abort.abort(reason);
  }

  #update(): Update {
    const { progress } = this;
    const hasFailed = this.#status === 'failed';
    return {
      job_id: this.id,
      status: this.#status,
      ...(this.#stage !== undefined && { stage: this.#stage }),
      // The end of a job says how far it came only if that is known.
      ...(this.#status === 'completed' ? { progress: 1 } : (progress !== null || !this.hasEnded) && { progress }),
      ...(hasFailed ? { message: `Error: ${this.#error}` } : this.#message !== undefined && { message: this.#message }),
      timestamp: new Date().toISOString(),
      ...(this.#metadata !== undefined && { metadata: this.#metadata }),
      ...(this.#status === 'completed' && this.#result !== undefined && { result: this.#result }),
      ...(hasFailed && { error: this.#error ?? '' }),
      ...this.#fixed,
    };
  }
}

/**
 * Runs `work` as a job. What it returns is the result; what it throws is why the job failed, and is thrown on; a job
 * whose signal was aborted is cancelled.
 */
export async function job<T>(name: string, work: (job: Job) => T | Promise<T>): Promise<T>;
export async function job<T>(name: string, options: JobOptions, work: (job: Job) => T | Promise<T>): Promise<T>;
export async function job<T>(
  name: string,
  given: JobOptions | ((job: Job) => T | Promise<T>),
  then?: (job: Job) => T | Promise<T>,
): Promise<T> {
  const [options, work] = typeof given === 'function' ? [{}, given] : [given, then];
  if (!work) throw new TypeError('job(name, options, work): there is no work');
  const running = new Job(name, options);
  try {
    const result = await work(running);
    await running.complete(result);
    return result;
  } catch (error) {
    await (running.signal.aborted ? running.cancel() : running.fail(error));
    throw error;
  }
}

function describe(error: unknown): string {
  try {
    return error instanceof Error ? error.message || error.name : String(error);
  } catch {
    return 'unknown';
  }
}

function env(name: string): string | undefined {
  return process.env[name] || undefined;
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
let isListening = false;

/** A first signal asks the jobs to stop; a second one, or one that nobody acts on in two seconds, ends the process. */
function onSignal(signal: NodeJS.Signals): void {
  const jobs = [...running];
  unlisten(true);
  for (const each of jobs) each.stop(new Error(`stopped by ${signal}`));
  const die = (): void => void process.kill(process.pid, signal);
  const deadline = Date.now() + FLUSH;
  // While others listen, what follows is theirs to say.
  if (process.listenerCount(signal) > 0) return;
  const wait = (): void => {
    const isOver = Date.now() >= deadline;
    if (!isOver && running.size) return void setTimeout(wait, 20);
    void Promise.all([...running].map((each) => each.cancel())).then(die);
  };
  wait();
}

/** Nothing is left to do, and a job has no outcome: it has failed. */
function onExit(): void {
  for (const each of running) void each.fail('the process ended without telling an outcome');
}

function listen(): void {
  if (isListening) return;
  isListening = true;
  process.on('beforeExit', onExit);
  for (const signal of SIGNALS) process.on(signal, onSignal);
}

function unlisten(now = false): void {
  if (!isListening || (running.size && !now)) return;
  isListening = false;
  process.off('beforeExit', onExit);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}
