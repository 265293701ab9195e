/**
 * Reports a job from Node: how far it is, and how it ended.
 *
 * It does the job no harm: no call throws on its own account or waits, memory is bounded, a server that is down costs
 * one warning. Without `MILEPOST_URL` it does nothing, quietly.
 */
import { type Artifact, type SentArtifact, artifactOf, withArtifact } from './artifacts.js';
import { Arguments, optionsOf, warnOf } from './argument.js';
import { type Attributes, attributesOf } from './attributes.js';
import { destinationOf } from './environment.js';
import { isStream, lengthOf, sizeOf } from './items.js';
import { makeJobId } from './job-id.js';
import { LogSender } from './log-sender.js';
import { type Running, describe, enter, leave } from './process.js';
import { checkRange, clamp } from './range.js';
import { type Action, CancelRequested, type Request, describeRequest } from './request.js';
import { type Stage, stagesOf } from './stages.js';
import { type Change, HEARTBEAT, Sender, type Source, type Update, warn as logWarning } from './sender.js';
import { type TokenOptions, watchToken } from './watch-token.js';

export type { Artifact } from './artifacts.js';
export { CancelRequested, type Action, type Request } from './request.js';
export { ProgressReporter, type ReporterOptions } from './progress-reporter.js';
export { flush } from './sender.js';
export type { Stage } from './stages.js';
export { type TokenOptions, watchToken } from './watch-token.js';

export interface JobOptions {
  /** Where the server is: `http(s)://…`. If absent, `MILEPOST_URL`; without either, nothing is reported. */
  url?: string;
  /** Sent as `Authorization: Bearer`. If absent, `MILEPOST_TOKEN`. */
  token?: string;
  /** The job's id; by default its name and a UUID. */
  id?: string;
  /** How much there is to do, in the units of `advance`. If absent, it is not known. */
  total?: number;
  stage?: string;
  /** The job's stages in their order: see `Job.stages`. */
  stages?: readonly (string | Stage)[];
  message?: string;
  metadata?: unknown;
  /** 1, 2, …: a retry is a new attempt. `next`: one after the latest, if that has ended. */
  attempt?: number | 'next';
  /** The seconds that the job is kept after each update, at most 2,592,000. */
  ttl?: number;
  /** Words to find the job by: at most 16, each cut at 64 bytes. */
  tags?: readonly string[];
  /** The id of the job that this one is a part of: see `child`. */
  parent?: string;
  /** How much of its parent the job is, above 0; by default 1. */
  weight?: number;
  /** How many children the job is going to have. Otherwise its progress goes back whenever another one begins. */
  childrenExpected?: number;
  /** What `advance` counts, for people: `frames`, `bytes`. At most 32 bytes. */
  unit?: string;
  /** Cancels the job. */
  signal?: AbortSignal;
  /**
   * Called with each request of watchers, `pause` and `resume` too. Call `job.acknowledge()` when you act on one. It makes the job
   * cancellable.
   */
  onRequest?: (request: Request, job: Job) => void;
  /** Where warnings go; by default `console.warn`. */
  warn?: (message: string) => void;
}

/** The longest that a job's end waits for its server, in milliseconds. */
const FLUSH = 2000;

const isAbsent = (given: unknown): given is null | undefined => given === undefined || given === null;

/** A running job. Its calls change memory, and updates are sent in the background. */
export class Job implements Running {
  readonly id: string;
  readonly #abort = new AbortController();
  readonly #sender: Sender | null;
  readonly #logs: LogSender | null;
  readonly #source: Source;
  readonly #given: Arguments;
  readonly #fixed: { readonly ttl?: number } & Attributes;
  #attempt: number | undefined;
  #status: 'processing' | 'completed' | 'failed' | 'cancelled' = 'processing';
  #stage: string | undefined;
  #message: string | undefined;
  #metadata: unknown;
  #result: unknown;
  #error: string | undefined;
  #total: number | undefined;
  #done = 0;
  #progress: number | null | undefined;
  #endedAt: string | undefined;
  #isCancellable = false;
  #requested: Request | undefined;
  #childrenExpected: number | undefined;
  #stages: readonly Stage[] | undefined;
  #artifacts: readonly SentArtifact[] = [];
  readonly #server: Pick<JobOptions, 'url' | 'token' | 'warn'>;
  #acknowledged: Action | undefined;
  #hasLogged = false;

  /**
   * Begins a job of the kind `name` (watchers find and group jobs by it; cut at 64 bytes), which the caller ends with
   * `complete`, `fail` or `cancel`. `job()` does that by itself. An option that is not valid is ignored, with a warning.
   */
  constructor(name: string, options: JobOptions = {}) {
    const given = optionsOf<JobOptions>(options);
    const warn = warnOf(given.warn);
    const { url, token } = given;
    this.#server = { ...(url !== undefined && { url }), ...(token !== undefined && { token }), warn };
    const destination = destinationOf(given, warn);
    const check = (this.#given = new Arguments(destination.base === undefined ? null : warn));
    const kind = check.text(name, 'name') ?? '';
    const id = isAbsent(given.id) ? makeJobId(kind) : check.id(given.id);
    this.id = id ?? describe(given.id).slice(0, 128);
    // A job without an id that a server takes is not reported.
    this.#sender = id === null ? null : Sender.to(destination);
    this.#logs = id === null ? null : LogSender.to(destination, warn);
    this.#fixed = this.#fixedOf(kind, given);
    const attempt = check.attempt(given.attempt);
    this.#attempt = attempt === 'next' ? undefined : attempt;
    this.#stage = check.text(given.stage, 'stage');
    this.#message = check.text(given.message, 'message');
    this.#metadata = given.metadata;
    this.#total = check.number(given.total, 'total');
    this.#childrenExpected = check.count(given.childrenExpected, 'childrenExpected');
    const onRequest = check.function(given.onRequest, 'onRequest');
    this.#isCancellable = onRequest !== undefined;
    this.#source = {
      id: this.id,
      update: () => this.#update(),
      warn,
      hasHeartbeat: true,
      hasParent: this.#fixed.parent_id !== undefined,
      onRequest: (request) => this.#take(request, onRequest),
      ...(attempt === 'next' && { reopen: (ended: number) => this.#reopen(ended) }),
    };
    this.#stopBy(check.signal(given.signal));
    if (!isAbsent(given.stages)) this.stages(given.stages);
    enter(this);
    this.#changed();
  }

  #fixedOf(kind: string, { ttl, tags, unit, parent, weight }: JobOptions): { readonly ttl?: number } & Attributes {
    const check = this.#given;
    const [seconds, parentId, share] = [check.ttl(ttl), check.parent(parent), check.weight(weight)];
    return {
      ...(seconds !== undefined && { ttl: seconds }),
      ...attributesOf(kind, check.texts(tags, 'tags'), check.text(unit, 'unit'), HEARTBEAT / 1000),
      ...(parentId !== undefined && { parent_id: parentId, ...(share !== undefined && { weight: share }) }),
    };
  }

  #stopBy(signal: AbortSignal | undefined): void {
    if (signal?.aborted) this.stop(signal.reason);
    else signal?.addEventListener('abort', () => this.stop(signal.reason), { once: true });
  }

  #reopen(ended: number): boolean {
    if (this.#attempt !== undefined) return false;
    this.#attempt = ended + 1;
    return true;
  }

  /**
   * Aborted when the job should stop: by the signal that it was given, by SIGTERM or SIGINT, and by watchers that request it
   * (its reason is a `CancelRequested`). The first access makes the job cancellable: before, the server refuses such
   * requests. The response to each update has it, so a job that moves learns of it within about 0.2 seconds, and one that
   * does not with its next heartbeat.
   */
  get signal(): AbortSignal {
    this.#listen();
    return this.#abort.signal;
  }

  /** What watchers request of the job; undefined: nothing. The first access makes the job cancellable. */
  get requested(): Request | undefined {
    this.#listen();
    return this.#requested;
  }

  /** Acknowledges a request. Watchers see that at once. After `pause`, the job is shown as paused until `resume`. */
  acknowledge(action: Action): void {
    const known = this.#given.action(action);
    if (known === undefined || this.hasEnded || this.#acknowledged === known) return;
    this.#acknowledged = known;
    this.#changed('at once');
  }

  #listen(): void {
    if (this.#isCancellable || this.hasEnded) return;
    this.#isCancellable = true;
    this.#changed('at once');
  }

  #take(request: Request, onRequest: JobOptions['onRequest']): void {
    const { action, at } = request;
    if (this.hasEnded || (this.#requested?.at === at && this.#requested.action === action)) return;
    this.#requested = request;
    try {
      onRequest?.(request, this);
    } catch (error) {
      logWarning(this.#source.warn, `onRequest of ${this.id} threw: ${describe(error)}`);
    }
    if (action !== 'cancel') return;
    this.acknowledge('cancel');
    this.stop(new CancelRequested(this.id, request));
  }

  /** The stage that the job is in. */
  get stage(): string | undefined {
    return this.#stage;
  }

  /**
   * A new stage, sent at once. The count continues, but in a declared stage it starts at 0 without a total,
   * because it is what is done in that stage.
   */
  set stage(stage: string | undefined) {
    if (stage === this.#stage || this.hasEnded) return;
    const known = this.#given.text(stage, 'stage');
    if (known === this.#stage || (known === undefined && !isAbsent(stage))) return;
    this.#stage = known;
    if (this.#isDeclared) [this.#done, this.#total, this.#progress] = [0, undefined, undefined];
    this.#changed('at once');
  }

  /**
   * Declares the job's stages in their order: names, or objects with an `id` and, as needed, a `label`, a `weight` and `skipped`.
   * They replace the ones before.
   *
   * The server then works out the job's progress: the weights of the stages before the present one, and that of the present one as
   * far as it has counted. At most 64 stages, with at most 8,192 bytes of JSON; more, or invalid ones, are ignored with a warning.
   */
  stages(stages: readonly (string | Stage)[]): void {
    if (this.hasEnded) return;
    const declared = stagesOf(stages);
    if (!declared) {
      if (this.#sender) logWarning(this.#source.warn, `the stages of ${this.id} are ignored: at most 64, each with an id, and a weight above 0 if any`);
      return;
    }
    this.#stages = declared;
    this.#changed('at once');
  }

  /** Whether the present stage is a declared one. */
  get #isDeclared(): boolean {
    return this.#stages?.some(({ id }) => id === this.#stage) ?? false;
  }

  /** 0…1, in a declared stage that of the stage; null: the total is not known. Values outside are clamped with a warning. */
  get progress(): number | null {
    if (this.#progress !== undefined) return this.#progress;
    return this.#total && this.#total > 0 ? Math.min(1, this.#done / this.#total) : null;
  }

  set progress(progress: number | null) {
    if (this.hasEnded) return;
    const known = progress === null ? null : this.#given.progress(progress);
    if (known === undefined || Number.isNaN(known)) return;
    this.#progress = known === null ? null : clamp(known);
    if (known !== null && this.#sender) checkRange(this.#source, known);
    this.#changed();
  }

  get message(): string | undefined {
    return this.#message;
  }

  set message(message: string | undefined) {
    if (this.hasEnded) return;
    const known = this.#given.text(message, 'message');
    if (known === undefined && !isAbsent(message)) return;
    this.#message = known;
    this.#changed();
  }

  /** Anything that JSON can hold. It is read when it is sent. */
  get metadata(): unknown {
    return this.#metadata;
  }

  set metadata(metadata: unknown) {
    if (this.hasEnded) return;
    this.#metadata = metadata;
    this.#changed();
  }

  get hasEnded(): boolean {
    return this.#status !== 'processing';
  }

  /** So many more are done, of `total`. */
  advance(by = 1): void {
    const known = this.#given.number(by, 'advance');
    if (known === undefined || this.hasEnded) return;
    this.#done = Math.min(Number.MAX_VALUE, Math.max(-Number.MAX_VALUE, this.#done + known));
    this.#progress = undefined;
    this.#changed();
  }

  /** The same as `advance`. */
  inc(by = 1): void {
    this.advance(by);
  }

  /** How much there is to do, now that it is known. */
  set total(total: number | undefined) {
    const known = this.#given.number(total, 'total');
    if (this.hasEnded || (known === undefined && !isAbsent(total))) return;
    this.#total = known;
    this.#progress = undefined;
    this.#changed();
  }

  /**
   * The items, each counted when the next one is requested. Their length, if they have one, is the total. Of the chunks of a stream,
   * that is an async iterable of `Uint8Array` or `Buffer`, the bytes are counted, and `total` is theirs.
   */
  track<T>(items: Iterable<T>, total?: number): IterableIterator<T>;
  track<T>(items: AsyncIterable<T>, total?: number): AsyncIterableIterator<T>;
  track<T>(items: Iterable<T> | AsyncIterable<T>, total?: number): IterableIterator<T> | AsyncIterableIterator<T> {
    const known = this.#given.number(total, 'total') ?? lengthOf(items);
    if (known !== undefined && !this.hasEnded) {
      this.#done = 0;
      this.total = known;
    }
    return isStream(items) ? this.#trackStream(items) : this.#track(items);
  }

  *#track<T>(items: Iterable<T>): IterableIterator<T> {
    for (const item of items) {
      yield item;
      this.advance();
    }
  }

  async *#trackStream<T>(items: AsyncIterable<T>): AsyncIterableIterator<T> {
    for await (const item of items) {
      yield item;
      this.advance(sizeOf(item));
    }
  }

  /**
   * Begins a job that is a part of this one. This job shows how many children it has and, unless it reports its own progress, how
   * far they are. In another process: `new Job(name, { parent: id })`.
   */
  child(name: string, options: Omit<JobOptions, 'parent'> = {}): Job {
    return new Job(name, { ...this.#server, ...optionsOf<JobOptions>(options), parent: this.id });
  }

  /** A token with which a page may watch this job: as `watchToken`. Unlike the other calls, it rejects, if there is no secret. */
  watchToken(options?: TokenOptions): Promise<string> {
    return watchToken(this.id, options);
  }

  /** How many children the job is going to have. Other values are ignored. */
  set childrenExpected(count: number) {
    const known = this.#given.count(count, 'childrenExpected');
    if (this.hasEnded || known === undefined) return;
    this.#childrenExpected = known;
    this.#changed('at once');
  }

  get childrenExpected(): number | undefined {
    return this.#childrenExpected;
  }

  /** The job is done. Resolves when that was sent, or after two seconds. The first end wins. */
  complete(result?: unknown): Promise<void> {
    if (!this.hasEnded) this.#result = result;
    return this.#end('completed');
  }

  fail(error: unknown): Promise<void> {
    if (!this.hasEnded) this.#error = describe(error);
    return this.#end('failed');
  }

  /**
   * Writes to the job's log, which watchers read beside its state. Lines are sent every 200 ms; at most 512 of a job wait, and of more,
   * the oldest are dropped, which the log says. Everybody who may watch the job can read its log.
   */
  log(text: string): void {
    this.#hasLogged = true;
    this.#logs?.write(this, this.id, { text: describe(text), at: Date.now() });
  }

  /**
   * Links what the job made. Watchers see it under its name; an artifact of the same name is replaced. A job has at most 64 artifacts,
   * with at most 8,192 bytes of JSON; others, and those without a name or URL, are ignored with a warning.
   */
  artifact(artifact: Artifact): void {
    if (this.hasEnded) return;
    const given = artifactOf(artifact);
    const known = given && withArtifact(this.#artifacts, given);
    if (!known) {
      const why = given ? 'there is room for 64, and for 8,192 bytes of JSON' : 'it takes a name and a URL';
      if (this.#sender) logWarning(this.#source.warn, `an artifact of ${this.id} is ignored: ${why}`);
      return;
    }
    this.#artifacts = known;
    this.#changed();
  }

  /** Somebody called the job off; `reason` is for people. */
  cancel(reason?: unknown): Promise<void> {
    if (!this.hasEnded && reason !== undefined) this.#message = describe(reason);
    return this.#end('cancelled');
  }

  async #end(status: 'completed' | 'failed' | 'cancelled'): Promise<void> {
    if (!this.hasEnded) {
      this.#status = status;
      // Sent again, it is the very same end.
      this.#endedAt = new Date().toISOString();
      this.#changed('end');
    }
    const deadline = performance.now() + FLUSH;
    await this.#sender?.flush(this.#source, FLUSH);
    leave(this);
    if (this.#hasLogged) await this.#logs?.flush(this, deadline - performance.now());
  }

  #changed(change?: Change): void {
    this.#sender?.changed(this.#source, change);
  }

  /** Whether the job was asked to stop. @internal */
  get isStopped(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Why watchers request that the job be cancelled, if they do. @internal */
  get stopReason(): string | undefined {
    const reason: unknown = this.#abort.signal.reason;
    return reason instanceof CancelRequested ? describeRequest(reason.request) : undefined;
  }

  /** Asks the job to stop. @internal */
  stop(reason: unknown): void {
    this.#abort.abort(reason);
  }

  /** The last update, and the sender for it. A job without an outcome has failed. @internal */
  lastUpdate(why: string): { sender: Sender; update: Update } | null {
    if (!this.hasEnded) [this.#status, this.#error, this.#endedAt] = ['failed', why, new Date().toISOString()];
    return this.#sender && { sender: this.#sender, update: this.#update() };
  }

  #update(): Update {
    const { progress } = this;
    const hasFailed = this.#status === 'failed';
    // The progress of declared stages is the server's to work out.
    const ofStage = this.#isDeclared && this.#status !== 'completed';
    const given = this.#progress ?? undefined;
    return {
      job_id: this.id,
      status: this.#status,
      ...(this.#stage !== undefined && { stage: this.#stage }),
      // The end of a job has its progress only if that is known.
      ...(ofStage ? given !== undefined && { stage_progress: given } : this.#status === 'completed' ? { progress: 1 } : (progress !== null || !this.hasEnded) && { progress }),
      ...(hasFailed ? { message: `Error: ${this.#error}` } : this.#message !== undefined && { message: this.#message }),
      timestamp: this.#endedAt ?? new Date().toISOString(),
      ...(this.#attempt !== undefined && { attempt: this.#attempt }),
      ...(this.#metadata !== undefined && { metadata: this.#metadata }),
      ...(this.#status === 'completed' && this.#result !== undefined && { result: this.#result }),
      ...(hasFailed && { error: this.#error ?? '' }),
      ...((this.#done > 0 || this.#total !== undefined) && { current: this.#done, ...(this.#total !== undefined && { total: this.#total }) }),
      ...(this.#stages && { stages: this.#stages }),
      ...(this.#artifacts.length > 0 && { artifacts: this.#artifacts }),
      ...(this.#childrenExpected !== undefined && { children_expected: this.#childrenExpected }),
      ...(this.#isCancellable && { cancellable: true }),
      ...(this.#acknowledged !== undefined && { acknowledged: this.#acknowledged }),
      ...(this.#acknowledged === 'pause' && !this.hasEnded && { paused: true }),
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
  if (typeof work !== 'function') throw new TypeError('job(name, options, work): there is no work');
  const running = new Job(name, options);
  try {
    const result = await work(running);
    await running.complete(result);
    return result;
  } catch (error) {
    await (running.isStopped ? running.cancel(running.stopReason) : running.fail(error));
    throw error;
  }
}
