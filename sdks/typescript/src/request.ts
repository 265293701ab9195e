/** What a watcher requests of a job's worker: the protocol's section 16. */

export type Action = 'cancel' | 'pause' | 'resume';

/** What is requested of a job. The worker decides what becomes of it. */
export interface Request {
  readonly action: Action;
  /** Since when, by the server's clock: RFC 3339 in UTC. */
  readonly at: string;
  /** Who requested it, for people. */
  readonly by?: string;
  /** Why, for people. */
  readonly reason?: string;
}

/** Why a job's signal was aborted: watchers requested that the job be cancelled. */
export class CancelRequested extends Error {
  override readonly name = 'CancelRequested';

  constructor(
    jobId: string,
    /** Who requested it, and why. */
    readonly request: Request,
  ) {
    super(`${jobId}: ${describeRequest(request)}`);
  }
}

/** The request in words. */
export function describeRequest({ action, by, reason }: Request): string {
  return `${action} requested${by === undefined ? '' : ` by ${by}`}${reason === undefined ? '' : `: ${reason}`}`;
}

/** A response's `requested`; undefined if there is none, or an unknown one. */
export function readRequest(found: unknown): Request | undefined {
  if (typeof found !== 'object' || found === null) return undefined;
  const { action, at, by, reason } = found as Record<string, unknown>;
  if ((action !== 'cancel' && action !== 'pause' && action !== 'resume') || typeof at !== 'string') return undefined;
  return { action, at, ...(typeof by === 'string' && { by }), ...(typeof reason === 'string' && { reason }) };
}
