/** Posts updates, and reads what the server answers: the protocol's sections 10 and 11. */
import { type Request, readRequest } from './request.js';

/** What became of one update. Times are in milliseconds. */
export type Outcome =
  | { readonly is: 'accepted'; readonly requested?: Request }
  /** With less in it, it may be accepted. If it is no Milepost server that refuses it (`isForeign`), it is not given up with nothing left to leave out. */
  | { readonly is: 'unacceptable'; readonly reason: string; readonly isTooLarge: boolean; readonly isForeign: boolean }
  | { readonly is: 'rejected'; readonly reason: string }
  /** Not now, for this job only. A full server takes an end all the same. */
  | { readonly is: 'busy'; readonly reason: string; readonly retryAfter: number; readonly isFull: boolean }
  /** The attempt has ended, or a later one has begun. `ended` is the latest attempt, if that has ended. */
  | { readonly is: 'over'; readonly reason: string; readonly ended?: number };

/** Why it is not known what became of the updates. To send them again is safe. */
export type Failure =
  | { readonly is: 'unavailable'; readonly reason: string; readonly retryAfter: number }
  /** The server does not take a batch, or not such a large one. */
  | { readonly is: 'no batch' };

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: number;
}

interface Problem {
  readonly name: string;
  readonly status: number;
  readonly detail: string;
  readonly attempt: unknown;
}

/** Redirects that one request follows: those that keep its method and its body. */
const MAX_REDIRECTS = 5;
const PROBLEM = 'urn:milepost:problem:';

/** Sends the updates, at least one, to the server at `base`, until `stop`. Returns an outcome for each, in order. Never throws. */
export async function send(
  base: string,
  headers: Record<string, string>,
  jobs: readonly string[],
  lines: readonly string[],
  stop: AbortSignal,
): Promise<Outcome[] | Failure> {
  const [job = ''] = jobs;
  const isOne = jobs.length === 1;
  const path = isOne ? `/jobs/${encodeURIComponent(job)}` : '/updates';
  const type = isOne ? 'application/json' : 'application/x-ndjson';
  let reply: Reply;
  try {
    const response = await post(base + path, { ...headers, 'content-type': type }, lines.join('\n'), stop);
    const retryAfter = Number(response.headers.get('retry-after')) * 1000 || 0;
    reply = { status: response.status, text: await response.text(), retryAfter };
  } catch (error) {
    return { is: 'unavailable', reason: String((error as { cause?: unknown }).cause ?? error), retryAfter: 0 };
  }
  return isOne ? readOne(reply, job) : readBatch(reply, jobs);
}

function readOne(reply: Reply, job: string): Outcome[] | Failure {
  const { status } = reply;
  const accepted = status === 200 && readAccepted(reply.text, job);
  if (accepted) return [accepted];
  const problem = readProblem(reply.text);
  if (isCredentials(status)) return credentialRefused(reply, problem, 1);
  if (problem && isAboutTheJob(problem)) return [outcomeOf(problem, reply.retryAfter)];
  // A proxy's own bound on bodies, most often.
  if (status === 413) return [{ is: 'unacceptable', reason: sayForeign(status), isTooLarge: true, isForeign: true }];
  if (isAboutContent(status)) return [{ is: 'busy', reason: sayForeign(status), retryAfter: reply.retryAfter, isFull: false }];
  return failure(reply, problem);
}

/** The same for lines of a job's log. They are kept unless the server itself, or a proxy's bound on bodies, refuses them. */
export function readLog(status: number, text: string): 'accepted' | 'unknown job' | 'refused' | 'forbidden' | 'retry' {
  if (status === 200) return 'accepted';
  const problem = readProblem(text);
  if (problem?.name === 'unknown-job') return 'unknown job';
  // It concerns this job alone, and may be granted.
  if (status === 403) return 'forbidden';
  return (problem && isFinal(problem.status) && !isCredentials(status)) || status === 413 ? 'refused' : 'retry';
}

function readBatch(reply: Reply, jobs: readonly string[]): Outcome[] | Failure {
  if (isCredentials(reply.status)) return credentialRefused(reply, readProblem(reply.text), jobs.length);
  if (reply.status !== 200) {
    const problem = readProblem(reply.text);
    const isTheBatch = (problem && isAboutTheJob(problem)) || reply.status === 413 || isAboutContent(reply.status);
    return isTheBatch ? { is: 'no batch' } : failure(reply, problem);
  }
  const lines = reply.text.split('\n').filter((line) => line.trim());
  const outcomes = lines.map((line, n): Outcome | null => {
    const accepted = readAccepted(line, jobs[n]);
    if (accepted) return accepted;
    const problem = readProblem(line);
    return problem && outcomeOf(problem, reply.retryAfter);
  });
  const known = outcomes.filter((outcome) => outcome !== null);
  return known.length === jobs.length ? known : failure(reply, null);
}

function readAccepted(text: string, job: string | undefined): Outcome | null {
  const { job_id, position, requested } = parse(text) as Record<string, unknown>;
  if (job_id !== job || typeof position !== 'string') return null;
  const request = readRequest(requested);
  return { is: 'accepted', ...(request && { requested: request }) };
}

function readProblem(text: string): Problem | null {
  const { type, status, detail, title, attempt } = parse(text) as Record<string, unknown>;
  // Another program's problem says nothing about the update.
  if (typeof type !== 'string' || typeof status !== 'number' || !type.startsWith(PROBLEM)) return null;
  return { name: type.slice(PROBLEM.length), status, detail: String(detail || title || type).slice(0, 300), attempt };
}

/** The others are the server's own, and a whole request's. */
function isAboutTheJob({ name, status }: Problem): boolean {
  return name === 'broker-full' || isFinal(status);
}

/**
 * Whether a 4xx of another program than Milepost, as a proxy, may be about what was sent: then it concerns this job alone. After any
 * other one, the server is not there, as while it is replaced.
 */
function isAboutContent(status: number): boolean {
  return [400, 406, 422].includes(status);
}

/** 4xx, except for timeout and too many requests, which do not concern the update. */
function isFinal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

function outcomeOf({ name, status, detail: reason, attempt }: Problem, retryAfter: number): Outcome {
  if (name === 'attempt-ended' && Number.isInteger(attempt)) return { is: 'over', reason, ended: attempt as number };
  if (name === 'attempt-ended' || name === 'attempt-superseded') return { is: 'over', reason };
  if (isCredentials(status)) return { is: 'busy', reason: sayRefused(status, reason), retryAfter, isFull: false };
  if (!isFinal(status)) return { is: 'busy', reason, retryAfter, isFull: name === 'broker-full' };
  if ([400, 413, 422].includes(status)) return { is: 'unacceptable', reason, isTooLarge: status === 413, isForeign: false };
  return { is: 'rejected', reason };
}

/** Unauthenticated and forbidden. */
function isCredentials(status: number): boolean {
  return status === 401 || status === 403;
}

/**
 * The credential is refused, not the job: it may be renewed, or be granted more. So updates are kept, as during an outage:
 * of every job, if the credential is not valid (401), or of the jobs for which it does not suffice (403).
 */
function credentialRefused({ status, retryAfter }: Reply, problem: Problem | null, updates: number): Outcome[] | Failure {
  const reason = sayRefused(status, problem?.detail ?? 'no reason is given');
  if (status === 401) return { is: 'unavailable', reason, retryAfter };
  return Array.from({ length: updates }, () => ({ is: 'busy', reason, retryAfter, isFull: false }));
}

function sayRefused(status: number, detail: string): string {
  return `the server refuses the credential (${status}): ${detail}`;
}

function failure({ status, retryAfter }: Reply, problem: Problem | null): Failure {
  const isServers = status >= 500 || status === 408 || status === 429;
  const reason = isServers
    ? `the server answered ${status}${problem ? `: ${problem.detail}` : ''}`
    : sayForeign(status);
  return { is: 'unavailable', reason, retryAfter };
}

function sayForeign(status: number): string {
  return `what answers (${status}) is not a Milepost server`;
}

/**
 * Posts, and follows the redirects that keep the method and the body (RFC 9110, section 15.4). Another redirect would
 * turn the report into a GET, whose answer looks like success.
 */
async function post(url: string, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<Response> {
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

function parse(text: string): object {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return {};
  }
}
