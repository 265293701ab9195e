/**
 * Scripted jobs, for tests and Storybook: a server that exists only in this page. What watches it (hooks, composables,
 * `<job-progress>`) is the real thing, and so is everything between that and the socket.
 */
import type { State } from 'milepost';

/** One step of a script: first the pause, then what happens to the job. */
export interface Step {
  /** How long to wait before this step, in milliseconds. */
  after?: number;
  /** Fields that the worker reports, as in `POST /jobs/{id}`. */
  report?: Record<string, unknown>;
  /** `lost`: the worker is silent. `stalled`: it reports, but the job does not advance. Until the next report. */
  stall?: 'lost' | 'stalled';
  /** For how long it has been so already, in milliseconds; a minute by default. */
  since?: number;
  /** The job fails with this error. */
  fail?: string;
  /** The job completes with this result. */
  complete?: unknown;
  /** How long the connection is lost, in milliseconds. */
  disconnect?: number;
}

const MINUTE = 60_000;
const FINAL: readonly unknown[] = ['completed', 'failed', 'cancelled'];
const stamp = (ago = 0): string => new Date(Date.now() - ago).toISOString();

let count = 0;

export class TestServer {
  /** To be passed as `url`. No request leaves the page. Each server has an address of its own, so tabs do not share it. */
  readonly url = `http://${Date.now().toString(36)}-${++count}.milepost.test`;
  #states = new Map<string, State>();
  #sockets = new Set<TestSocket>();
  #isUp = true;
  #isClosed = false;
  #waits = new Set<() => void>();

  /** Takes the place of `WebSocket` for its own address, until `close`. */
  constructor() {
    servers.set(new URL(this.url).host, this);
    install();
  }

  /** The newest state of a job. */
  state(id: string): State | undefined {
    return this.#states.get(id);
  }

  /**
   * What a worker reports. As on a server, fields that are not given stay, and a report after an end begins the next attempt
   * if it names one, and is rejected otherwise.
   */
  report(id: string, fields: Record<string, unknown> = {}): State {
    const before = this.#states.get(id);
    const attempt = Number(fields['attempt'] ?? before?.attempt ?? 1);
    const isNew = !before || attempt > before.attempt;
    if (!isNew && FINAL.includes(before.status)) throw new Error(`attempt ${before.attempt} of ${id} has ended`);
    const kept = isNew ? {} : { ...before, message: undefined };
    const status = String(fields['status'] ?? 'processing');
    const now = stamp();
    return this.#set(id, {
      stage: status, ...kept, progress: status === 'completed' ? 1 : before?.progress ?? null, timestamp: now,
      started_at: isNew ? now : before.started_at, progressed_at: now, ...fields, status, attempt,
      ...(FINAL.includes(status) ? { ended_at: now, last_seen_at: undefined, health: undefined } : { last_seen_at: now, health: 'ok' }),
    });
  }

  /** For how many milliseconds the worker of a running job has been silent, or the job has not advanced. */
  stall(id: string, health: 'lost' | 'stalled' = 'lost', since = MINUTE): State {
    const before = this.#states.get(id) ?? this.report(id);
    return this.#set(id, { ...before, health, progressed_at: stamp(since), last_seen_at: health === 'lost' ? stamp(since) : stamp() });
  }

  fail(id: string, error: string): State {
    return this.report(id, { status: 'failed', error });
  }

  complete(id: string, result?: unknown): State {
    return this.report(id, { status: 'completed', result });
  }

  /** Every connection is lost, and none can be made until `reconnect`. */
  disconnect(): void {
    this.#isUp = false;
    for (const socket of this.#sockets) socket.lose();
  }

  reconnect(): void {
    this.#isUp = true;
    // Watches reconnect when the page's network is back.
    globalThis.dispatchEvent?.(new Event('online'));
  }

  /** Plays a script; done after its last step, or as soon as the server is closed. */
  async play(id: string, steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      await this.#wait(step.after ?? 0);
      if (this.#isClosed) return;
      if (step.report) this.report(id, step.report);
      if (step.stall) this.stall(id, step.stall, step.since);
      if (step.fail !== undefined) this.fail(id, step.fail);
      if ('complete' in step) this.complete(id, step.complete);
      if (step.disconnect === undefined) continue;
      this.disconnect();
      await this.#wait(step.disconnect);
      this.reconnect();
    }
  }

  /** Ends scripts and connections, and gives the page its own `WebSocket` back if no other server is left. */
  close(): void {
    this.#isClosed = true;
    this.disconnect();
    for (const end of this.#waits) end();
    servers.delete(new URL(this.url).host);
    if (!servers.size) uninstall();
  }

  /** @internal */
  accept(socket: TestSocket): boolean {
    if (!this.#isUp) return false;
    this.#sockets.add(socket);
    return true;
  }

  /** @internal */
  leave(socket: TestSocket): void {
    this.#sockets.delete(socket);
  }

  #set(id: string, fields: object): State {
    const number = Number(this.#states.get(id)?.position.split('-')[1] ?? 0) + 1;
    const state = { ...fields, job_id: id, position: `test-${number}` } as unknown as State;
    this.#states.set(id, state);
    for (const socket of this.#sockets) if (socket.jobs.has(id)) socket.say(state);
    return state;
  }

  async #wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waits.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#waits.add(end);
    });
  }
}

const servers = new Map<string, TestServer>();
let original: typeof WebSocket | undefined;
let isInstalled = false;

/** The page's end of a connection to a test server. */
class TestSocket {
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly jobs = new Set<string>();
  #server: TestServer;
  #isOpen = false;

  constructor(server: TestServer) {
    this.#server = server;
    queueMicrotask(() => {
      this.#isOpen = server.accept(this);
      if (this.#isOpen) this.say({ type: 'connected', timestamp: stamp() });
      else this.onclose?.({ code: 1006, reason: '' });
    });
  }

  send(text: string): void {
    const { type, job_id: id } = JSON.parse(text) as { type: string; job_id: string };
    if (type === 'ping') this.say({ type: 'pong', timestamp: stamp() });
    if (type === 'unsubscribe') this.jobs.delete(id);
    if (type !== 'subscribe') return;
    this.jobs.add(id);
    const state = this.#server.state(id);
    this.say({ type: 'subscribed', job_id: id, known: !!state });
    if (state) this.say(state);
  }

  say(message: object): void {
    // As on a network, later.
    queueMicrotask(() => this.#isOpen && this.onmessage?.({ data: JSON.stringify(message) }));
  }

  close(): void {
    this.#isOpen = false;
    this.#server.leave(this);
  }

  lose(): void {
    this.close();
    this.onclose?.({ code: 1006, reason: '' });
  }
}

function install(): void {
  if (isInstalled) return;
  isInstalled = true;
  original = globalThis.WebSocket;
  const other = original;
  globalThis.WebSocket = new Proxy(other ?? class {}, {
    construct(target, parameters: [string | URL]) {
      const server = servers.get(new URL(parameters[0]).host);
      return server ? new TestSocket(server) : Reflect.construct(target, parameters);
    },
  }) as typeof WebSocket;
}

function uninstall(): void {
  if (original) globalThis.WebSocket = original;
  else delete (globalThis as { WebSocket?: unknown }).WebSocket;
  isInstalled = false;
}
