/** React's hooks, over the page's one socket: `useJob` and `useJobs`. */
import { useEffect, useMemo, useSyncExternalStore } from 'react';
import { type Connection, type State, type WatchOptions, watch } from 'milepost';

/** What a component is shown of a job. The same object as long as nothing of it changes. */
export interface Job {
  /** The newest state; null: none is known yet. */
  readonly state: State | null;
  /** Whether news can arrive. It says nothing about the job. */
  readonly connection: Connection;
  /** Whether the server has a state of the job; null: it has not said. */
  readonly known: boolean | null;
  /** Why the job may not be watched. */
  readonly error: Error | null;
}

export type JobOptions = Pick<WatchOptions, 'url' | 'token' | 'mode' | 'maxRate'>;

const NOTHING: Job = Object.freeze({ state: null, connection: 'connecting', known: null, error: null });

/**
 * A job, live, and its later attempts. Without an id it watches nothing. On a server it renders as not known yet.
 * However often a job is reported, a component renders at most once a frame.
 */
export function useJob(id: string | null | undefined, options?: JobOptions): Job {
  const jobs = useJobs(id ? [id] : [], options);
  return (id && jobs.get(id)) || NOTHING;
}

/**
 * Several jobs by their ids, live. The array may be another one at each render: jobs that stay are watched on.
 * The map is the same one as long as nothing changes.
 */
export function useJobs(ids: readonly string[], options: JobOptions = {}): ReadonlyMap<string, Job> {
  const { url, token, mode, maxRate } = options;
  const store = useMemo(() => new Store({ url, token, mode, maxRate }), [url, token, mode, maxRate]);
  // Job ids have no spaces.
  const wanted = [...new Set(ids)].sort().join(' ');
  useEffect(() => store.want(wanted ? wanted.split(' ') : []), [store, wanted]);
  useEffect(() => () => store.want([]), [store]);
  const all = useSyncExternalStore(store.subscribe, store.snapshot, empty);
  // A job that is wanted no more is not shown, although the effect above comes after this render.
  return useMemo(() => {
    const shown = (wanted ? wanted.split(' ') : []).map((id) => [id, all.get(id) ?? NOTHING] as const);
    return new Map(shown);
  }, [all, wanted]);
}

const NONE: ReadonlyMap<string, Job> = new Map();
const empty = (): ReadonlyMap<string, Job> => NONE;

/** The watches of one component, and what it was shown last. */
class Store {
  #options: { [name in keyof JobOptions]: JobOptions[name] | undefined };
  #watches = new Map<string, ReturnType<typeof watch>>();
  #changed = new Set<string>();
  #shown: ReadonlyMap<string, Job> = NONE;
  #listeners = new Set<() => void>();
  #frame = 0;

  constructor(options: { [name in keyof JobOptions]: JobOptions[name] | undefined }) {
    this.#options = options;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  snapshot = (): ReadonlyMap<string, Job> => this.#shown;

  /** Watches these jobs from now on, and no others. */
  want(ids: readonly string[]): void {
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
    // A hidden page has no frames; it need not render either.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#show();
    });
  }

  #show(): void {
    const shown = new Map(this.#shown);
    for (const id of this.#changed) {
      const watching = this.#watches.get(id);
      if (!watching) shown.delete(id);
      else {
        const { state, connection, known, error } = watching;
        shown.set(id, { state, connection, known, error });
      }
    }
    this.#changed.clear();
    this.#shown = shown;
    for (const listener of this.#listeners) listener();
  }
}
