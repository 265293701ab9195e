'use client';
/** React's hooks, over the page's one socket: `useJob` and `useJobs`. */
import { type DetailedHTMLProps, type HTMLAttributes, useEffect, useMemo, useState, useSyncExternalStore } from 'react';
import { type Connection, type Health, type State, type Token, type WatchError, type WatchOptions, watch } from 'milepost';
import type { JobProgress, JobProgressAttributes } from 'milepost/job-progress';

/** What a component is shown of a job. The same object as long as nothing of it changes. */
export interface Job<Metadata = unknown, Result = unknown> {
  /** The newest state; null: none is known yet. */
  readonly state: State<Metadata, Result> | null;
  /** Whether news can arrive. It says nothing about the job. */
  readonly connection: Connection;
  /** Whether the server has a state of the job; null: it has not said. */
  readonly known: boolean | null;
  /** Why the job may not be watched; its `code` is 4401 if the user has to sign in. */
  readonly error: WatchError | null;
  /** Whether the worker of a job that has not ended is heard of (`lost`: it is not) and advances (`stalled`: it does not). */
  readonly health: Health;
}

export interface JobOptions<Metadata = unknown, Result = unknown> extends Pick<WatchOptions, 'url' | 'mode' | 'maxRate'> {
  /**
   * A credential, or what returns one. It may be another function at each render; components whose first render had the same
   * function share a connection, so one of a module is better than one made in place.
   */
  token?: Token | undefined;
  /** Called once for each end, also for one that is found at first. It may be another function at each render. */
  onEnd?: ((state: State<Metadata, Result>) => void) | undefined;
}

declare module 'react' {
  namespace JSX {
    interface IntrinsicElements {
      'job-progress': DetailedHTMLProps<HTMLAttributes<JobProgress>, JobProgress> & JobProgressAttributes;
    }
  }
}

const NOTHING: Job<never, never> = Object.freeze({ state: null, connection: 'connecting', known: null, error: null, health: 'ok' });
/** A page without frames, as a hidden one, renders this often, in milliseconds. */
const FRAMELESS = 1000;
/** What time alone changes is looked at this often, in milliseconds. */
const TICK = 5000;

/**
 * A job, live, and its later attempts. Without an id it watches nothing. On a server it renders as not known yet.
 * However often a job is reported, a component renders at most once a frame.
 */
export function useJob<Metadata = unknown, Result = unknown>(id: string | null | undefined, options?: JobOptions<Metadata, Result>): Job<Metadata, Result> {
  const jobs = useJobs(id ? [id] : [], options);
  return (id && jobs.get(id)) || NOTHING;
}

/**
 * Several jobs by their ids, live. The array may be another one at each render: jobs that stay are watched on.
 * The map is the same one as long as nothing changes.
 */
export function useJobs<Metadata = unknown, Result = unknown>(
  ids: readonly string[],
  options: JobOptions<Metadata, Result> = {},
): ReadonlyMap<string, Job<Metadata, Result>> {
  const { url, mode, maxRate, onEnd } = options;
  const token = useStableToken(options.token);
  const store = useMemo(() => new Store({ url, token, mode, maxRate }), [url, token, mode, maxRate]);
  useEffect(() => {
    store.onEnd = onEnd as ((state: State) => void) | undefined;
  });
  // Job ids have no spaces.
  const wanted = [...new Set(ids)].sort().join(' ');
  useEffect(() => store.want(wanted ? wanted.split(' ') : []), [store, wanted]);
  useEffect(() => () => store.want([]), [store]);
  const all = useSyncExternalStore(store.subscribe, store.snapshot, empty);
  // A job that is wanted no more is not shown, although the effect above comes after this render.
  return useMemo(() => {
    const shown = (wanted ? wanted.split(' ') : []).map((id) => [id, all.get(id) ?? NOTHING] as const);
    return new Map(shown) as ReadonlyMap<string, Job<Metadata, Result>>;
  }, [all, wanted]);
}

type TokenFunction = Exclude<Token, string>;

/** By the function of a component's first render: the function of its latest one, and what calls that. */
const holders = new WeakMap<TokenFunction, { latest: TokenFunction; call: TokenFunction }>();

function holderOf(first: TokenFunction): { latest: TokenFunction; call: TokenFunction } {
  const known = holders.get(first);
  if (known) return known;
  const holder = { latest: first, call: () => holder.latest() };
  holders.set(first, holder);
  return holder;
}

/** The same token at each render, although a function made in place is another one each time. */
function useStableToken(token: Token | undefined): Token | undefined {
  const [first, setFirst] = useState<{ by: TokenFunction | null }>({ by: typeof token === 'function' ? token : null });
  const isFunction = typeof token === 'function';
  // From a text to a function, or back, as a page that signs in does.
  if (isFunction !== (first.by !== null)) setFirst({ by: isFunction ? token : null });
  const holder = first.by && holderOf(first.by);
  useEffect(() => {
    if (holder && typeof token === 'function') holder.latest = token;
  });
  return typeof token === 'function' && holder ? holder.call : token;
}

const NONE: ReadonlyMap<string, Job> = new Map();
const empty = (): ReadonlyMap<string, Job> => NONE;

type Options = { [name in 'url' | 'token' | 'mode' | 'maxRate']: WatchOptions[name] | undefined };

/** The watches of one component, and what it was shown last. */
class Store {
  onEnd: ((state: State) => void) | undefined;
  #options: Options;
  #watches = new Map<string, ReturnType<typeof watch>>();
  #changed = new Set<string>();
  #shown: ReadonlyMap<string, Job> = NONE;
  #listeners = new Set<() => void>();
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ticks: ReturnType<typeof setInterval> | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  snapshot = (): ReadonlyMap<string, Job> => this.#shown;

  /** Watches these jobs from now on, and no others. */
  want(ids: readonly string[]): void {
    clearInterval(this.#ticks);
    if (ids.length) this.#ticks = setInterval(() => this.#tick(), TICK);
    for (const [id, watching] of this.#watches) {
      if (ids.includes(id)) continue;
      this.#watches.delete(id);
      watching.close();
      this.#change(id);
    }
    const given = Object.entries(this.#options).filter(([, value]) => value !== undefined);
    for (const id of ids) {
      if (this.#watches.has(id)) continue;
      const change = (): void => this.#change(id);
      const watching = watch(id, {
        mode: 'latest',
        ...Object.fromEntries(given),
        follow: true,
        onState: change,
        onEnd: (state) => this.onEnd?.(state),
        onUnknown: change,
        onConnection: change,
        onError: change,
      });
      this.#watches.set(id, watching);
      change();
    }
  }

  #change(id: string): void {
    this.#changed.add(id);
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => this.#show());
    // A hidden page has no frames, but a title and notifications.
    this.#timer = setTimeout(() => this.#show(), FRAMELESS);
  }

  /** Silence is no message. */
  #tick(): void {
    for (const [id, { health }] of this.#watches) if (health !== (this.#shown.get(id)?.health ?? 'ok')) this.#change(id);
  }

  #show(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = 0;
    const shown = new Map(this.#shown);
    for (const id of this.#changed) {
      const watching = this.#watches.get(id);
      if (!watching) shown.delete(id);
      else {
        const { state, connection, known, error, health } = watching;
        shown.set(id, { state, connection, known, error, health });
      }
    }
    this.#changed.clear();
    this.#shown = shown;
    for (const listener of this.#listeners) listener();
  }
}
