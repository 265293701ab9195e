/** What becomes of the jobs of a process that ends: by a signal, by itself, by `process.exit()` or an uncaught error. */
import { spawnSync } from 'node:child_process';
import type { Sender, Update } from './sender.js';

/** A job, as far as the end of its process is concerned. */
export interface Running {
  readonly hasEnded: boolean;
  stop(reason: unknown): void;
  cancel(): Promise<void>;
  fail(error: unknown): Promise<void>;
  lastWord(why: string): { sender: Sender; update: Update } | null;
}

/** The longest that the end of a process waits, in milliseconds. */
const PATIENCE = 2000;
/** So many jobs get a last word when there is no time for more. */
const MOST_LAST_WORDS = 500;
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
const LOST = 'the process ended without telling an outcome';

const running = new Set<Running>();
let isListening = false;
/** What nobody caught. */
let fault: unknown;

/** From now on it is looked after. */
export function enter(job: Running): void {
  running.add(job);
  if (isListening) return;
  isListening = true;
  process.on('beforeExit', onIdle).on('exit', onExit).on('uncaughtExceptionMonitor', onFault);
  for (const signal of SIGNALS) process.on(signal, onSignal);
}

/** Its end was told, or that was tried. */
export function leave(job: Running): void {
  running.delete(job);
  if (running.size || !isListening) return;
  isListening = false;
  process.off('beforeExit', onIdle).off('exit', onExit).off('uncaughtExceptionMonitor', onFault);
  letSignalsBe();
}

/** A first signal asks the jobs to stop; a second one, or one that nobody acts on in two seconds, ends the process. */
function onSignal(signal: NodeJS.Signals): void {
  letSignalsBe();
  for (const each of running) each.stop(new Error(`stopped by ${signal}`));
  // While others listen, what follows is theirs to say.
  if (process.listenerCount(signal) > 0) return;
  const deadline = Date.now() + PATIENCE;
  const wait = (): void => {
    if (Date.now() < deadline && running.size) return void setTimeout(wait, 20);
    void Promise.all([...running].map((each) => each.cancel())).then(() => void process.kill(process.pid, signal));
  };
  wait();
}

function letSignalsBe(): void {
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
 * There is no time for promises any more: another process says what is left to say, and this one waits for it. It is
 * not begun for jobs that were told of, nor for a server that is not there anyway.
 */
function onExit(): void {
  try {
    const bySender = new Map<Sender, Update[]>();
    for (const each of [...running].slice(0, MOST_LAST_WORDS)) {
      const word = each.lastWord(fault === undefined ? LOST : describe(fault));
      if (word) bySender.set(word.sender, [...(bySender.get(word.sender) ?? []), word.update]);
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

/** An error in words. */
export function describe(error: unknown): string {
  try {
    return error instanceof Error ? error.message || error.name : String(error);
  } catch {
    return 'unknown';
  }
}
