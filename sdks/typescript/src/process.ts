/** What becomes of the jobs of a process that ends: by a signal, by itself, by `process.exit()` or an uncaught error. */
import { spawnSync } from 'node:child_process';
import type { Sender, Update } from './sender.js';

/** A job, as far as the end of its process is concerned. */
export interface Running {
  readonly hasEnded: boolean;
  stop(reason: unknown): void;
  cancel(): Promise<void>;
  fail(error: unknown): Promise<void>;
  lastUpdate(why: string): { sender: Sender; update: Update } | null;
}

/** The longest that the end of a process waits, in milliseconds. */
const PATIENCE = 2000;
/** The most jobs whose last update is sent when there is no time for more. */
const MAX_LAST_UPDATES = 500;
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
const LOST = 'the process ended without an outcome';

const running = new Set<Running>();
let isListening = false;
/** The error that was not caught. */
let fault: unknown;

/** Ends the job with the process from now on. */
export function enter(job: Running): void {
  running.add(job);
  if (isListening) return;
  isListening = true;
  process.on('beforeExit', onIdle).on('exit', onExit).on('uncaughtExceptionMonitor', onFault);
  for (const signal of SIGNALS) process.on(signal, onSignal);
}

/** The job's end was sent, or that was tried. */
export function leave(job: Running): void {
  running.delete(job);
  if (running.size || !isListening) return;
  isListening = false;
  process.off('beforeExit', onIdle).off('exit', onExit).off('uncaughtExceptionMonitor', onFault);
  unlisten();
}

/** A first signal asks the jobs to stop. A second one, or two seconds without effect, ends the process. */
function onSignal(signal: NodeJS.Signals): void {
  unlisten();
  for (const each of running) each.stop(new Error(`stopped by ${signal}`));
  // If the program listens too, it decides what follows.
  if (process.listenerCount(signal) > 0) return;
  const deadline = Date.now() + PATIENCE;
  const wait = (): void => {
    if (Date.now() < deadline && running.size) return void setTimeout(wait, 20);
    void Promise.all([...running].map((each) => each.cancel())).then(() => void process.kill(process.pid, signal));
  };
  wait();
}

function unlisten(): void {
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

/** Nothing is left to do, and a job has no outcome: it has failed. */
function onIdle(): void {
  for (const each of running) void each.fail(LOST);
}

function onFault(error: unknown): void {
  fault = error;
}

/**
 * There is no time for promises any more: another process sends the last updates, and this one waits for it. It is
 * not started for jobs whose end was sent, nor if the server is known to be unreachable.
 */
function onExit(): void {
  try {
    const bySender = new Map<Sender, Update[]>();
    // A parent began before its children, and its end has to show theirs.
    for (const each of [...running].slice(0, MAX_LAST_UPDATES).reverse()) {
      const last = each.lastUpdate(fault === undefined ? LOST : describe(fault));
      if (last) bySender.set(last.sender, [...(bySender.get(last.sender) ?? []), last.update]);
    }
    const requests = [...bySender].flatMap(([sender, updates]) => sender.lastRequest(updates) ?? []);
    if (!requests.length) return;
    spawnSync(process.execPath, ['-e', LAST_WORDS], {
      input: JSON.stringify(requests),
      timeout: PATIENCE,
      stdio: ['pipe', 'ignore', 'ignore'],
      // Nothing that this one was started with: no inspector, no loader.
      env: { ...process.env, NODE_OPTIONS: '' },
      windowsHide: true,
    });
  } catch {
    // Reporting never hurts the job.
  }
}

const LAST_WORDS = `
  let text = '';
  process.stdin.on('data', (chunk) => (text += chunk)).on('end', () => {
    for (const { url, headers, body } of JSON.parse(text)) fetch(url, { method: 'POST', headers, body }).catch(() => {});
  });`;

/** An error in words. Whatever it is, nothing is thrown, and it is a text. */
export function describe(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message || error.name : error);
  } catch {
    return 'unknown';
  }
}
