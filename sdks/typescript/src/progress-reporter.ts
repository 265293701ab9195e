/** The Python service's way to report, job by job, under the names that legacy workers know. */
import type { State } from 'milepost';
import { Arguments, optionsOf, warnOf } from './argument.js';
import { destinationOf } from './environment.js';
import { describe } from './process.js';
import { checkRange, clamp } from './range.js';
import { type Change, Sender, type Source, type Update, type Warn } from './sender.js';

export interface ReporterOptions {
  /** Where the server is: `http(s)://…`. If absent, `MILEPOST_URL`; without either, nothing is reported. */
  url?: string;
  /** Sent as `Authorization: Bearer`. If absent, `MILEPOST_TOKEN`. */
  token?: string;
  /** Where warnings go; by default `console.warn`. */
  warn?: (message: string) => void;
}

/** The most jobs that are remembered. Beyond it, the one reported longest ago is dropped. */
const MAX_JOBS = 10_000;
/** The longest that an end, or a query, waits for the server, in milliseconds. */
const PATIENCE = 2000;

/**
 * Reports any number of jobs, which other processes may report too. It sends nothing by itself: no heartbeat, and no
 * failure at the end of the process. `job()` does both, for a job that one process does from beginning to end.
 */
export class ProgressReporter {
  readonly #base: string | undefined;
  readonly #token: string | undefined;
  readonly #warn: Warn;
  readonly #given: Arguments;
  readonly #sender: Sender | null;
  /** The latest reported last. */
  readonly #jobs = new Map<string, { source: Source; update: Update }>();

  /** @param options or, as in Python, the address alone */
  constructor(options: ReporterOptions | string = {}) {
    const given = typeof options === 'string' ? { url: options } : optionsOf<ReporterOptions>(options);
    this.#warn = warnOf(given.warn);
    const destination = destinationOf(given, this.#warn);
    [this.#base, this.#token] = [destination.base, destination.token];
    this.#sender = Sender.to(destination);
    this.#given = new Arguments(this.#sender && this.#warn);
  }

  /** Does nothing; kept for compatibility. */
  async initialize(): Promise<void> {}

  /** How far it is, 0…1 (clamped with a warning); null: the total is not known. Sent a moment later; of several, the latest. */
  async report(jobId: string, stage: string, progress: number | null, message = '', metadata?: unknown): Promise<void> {
    const id = this.#given.id(jobId);
    if (id === null) return;
    const known = this.#jobs.get(id)?.update;
    const given = this.#given.progress(progress) ?? NaN;
    const isKnown = !Number.isNaN(given);
    const stageGiven = this.#given.text(stage, 'stage');
    const source = this.#record(id, {
      job_id: id,
      status: 'processing',
      ...(stageGiven !== undefined && { stage: stageGiven }),
      ...((isKnown || progress === null) && { progress: isKnown ? clamp(given) : null }),
      message: this.#given.text(message, 'message') ?? '',
      ...(metadata !== undefined && { metadata }),
    }, known?.['stage'] !== stageGiven ? 'at once' : 'routine');
    if (isKnown && this.#sender) checkRange(source, given);
  }

  /** The job has failed. Resolves when that was sent, or after two seconds. */
  async reportError(jobId: string, error: unknown, stage = 'error'): Promise<void> {
    const [id, text] = [this.#given.id(jobId), describe(error)];
    if (id === null) return;
    const known = this.#given.text(stage, 'stage') ?? 'error';
    await this.#end(id, { job_id: id, status: 'failed', stage: known, message: `Error: ${text}`, error: text });
  }

  /** The job is done. Resolves when that was sent, or after two seconds. */
  async reportComplete(jobId: string, result: unknown, message = 'Job completed'): Promise<void> {
    const id = this.#given.id(jobId);
    if (id === null) return;
    const done = { job_id: id, status: 'completed', stage: 'complete', progress: 1, message: this.#given.text(message, 'message') ?? '' } as const;
    await this.#end(id, { ...done, ...(result !== undefined && { result }) });
  }

  /** The job's present state; null: it is not known, or the server does not answer. */
  async getStatus(jobId: string): Promise<State | null> {
    if (!this.#sender) return null;
    try {
      const response = await fetch(`${this.#base}/jobs/${encodeURIComponent(jobId)}`, {
        headers: { ...(this.#token && { authorization: `Bearer ${this.#token}` }) },
        signal: AbortSignal.timeout(PATIENCE),
      });
      return response.ok ? ((await response.json()) as State) : null;
    } catch {
      return null;
    }
  }

  /** Sends what waits, for two seconds at most. It may be used again afterwards. */
  async close(): Promise<void> {
    const jobs = [...this.#jobs.values()];
    await Promise.all(jobs.map(({ source }) => this.#sender?.flush(source, PATIENCE)));
    for (const { source } of jobs) this.#forget(source);
  }

  async #end(jobId: string, end: Update): Promise<void> {
    const source = this.#record(jobId, end, 'end');
    // A later report begins the job again. The sender keeps the end until it has arrived.
    this.#jobs.delete(jobId);
    await this.#sender?.flush(source, PATIENCE);
  }

  #record(jobId: string, update: Update, change: Change): Source {
    const timed = { ...update, timestamp: new Date().toISOString() };
    const job = this.#jobs.get(jobId) ?? this.#begin(jobId, timed);
    job.update = timed;
    this.#jobs.delete(jobId);
    this.#jobs.set(jobId, job);
    const [oldest] = this.#jobs.values();
    if (oldest && this.#jobs.size > MAX_JOBS) this.#forget(oldest.source);
    this.#sender?.changed(job.source, change);
    return job.source;
  }

  #forget(source: Source): void {
    this.#jobs.delete(source.id);
    this.#sender?.remove(source);
  }

  #begin(id: string, update: Update): { source: Source; update: Update } {
    const job: { source: Source; update: Update } = {
      source: { id, update: () => job.update, warn: this.#warn, hasHeartbeat: false },
      update,
    };
    return job;
  }
}
