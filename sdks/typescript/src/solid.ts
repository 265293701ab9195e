/** Solid's primitives, over the page's one socket: `useJob` and `useJobs`. */
import { createEffect, createMemo, createSignal, onCleanup } from 'solid-js';
import { type Job, type JobOptions, JobsStore, type Selection, UNKNOWN_JOB, idsOf, shownByKey, wantByKey, selectionKey } from './jobs-store.js';

/** As Solid's own, whose types a CommonJS program cannot import. */
type Accessor<T> = () => T;

export type { Job, JobOptions, Selection } from './jobs-store.js';

/**
 * A job, live, and its later attempts. Without an id it watches nothing. On a server it renders `initial`, or a job of
 * which nothing is known. The options are read once; the id may be an accessor.
 */
export function useJob<Metadata = unknown, Result = unknown>(
  id: Accessor<string | null | undefined> | string,
  options: JobOptions<Metadata, Result> = {},
): Accessor<Job<Metadata, Result>> {
  const now = typeof id === 'function' ? id : () => id;
  const jobs = useJobs<Metadata, Result>(() => idsOf(now()), options);
  return createMemo(() => [...jobs().values()][0] ?? UNKNOWN_JOB);
}

/** Several jobs, live: by their ids, or those that match a selection. */
export function useJobs<Metadata = unknown, Result = unknown>(
  selected: Accessor<readonly string[] | Selection>,
  options: JobOptions<Metadata, Result> = {},
): Accessor<ReadonlyMap<string, Job<Metadata, Result>>> {
  const store = new JobsStore(options, options.initial as JobOptions['initial']);
  store.onEnd = options.onEnd as JobsStore['onEnd'];
  const [shown, setShown] = createSignal(store.snapshot());
  const stop = store.subscribe(() => setShown(store.snapshot()));
  const key = createMemo(() => selectionKey(selected()));
  // Effects do not run on a server.
  createEffect(() => wantByKey(store, key()));
  onCleanup(() => {
    stop();
    store.want([]);
  });
  return createMemo(() => shownByKey(shown(), key()) as ReadonlyMap<string, Job<Metadata, Result>>);
}
