/** For Svelte 5, over the page's one socket: `useJob` and `useJobs`, whose `current` is reactive. */
import { createSubscriber } from 'svelte/reactivity';
import { type Job, type JobOptions, JobsStore, type Selection, UNKNOWN_JOB, idsOf, shownByKey, wantByKey, selectionKey } from './jobs-store.js';

export type { Job, JobOptions, Selection } from './jobs-store.js';

/**
 * A job, live, and its later attempts. Without an id it watches nothing. It is watched as long as something that is
 * mounted reads `current`. On a server it renders `initial`, or a job of which nothing is known.
 * @param id a function, so that a change of the id is noticed: `useJob(() => id)`
 */
export function useJob<Metadata = unknown, Result = unknown>(
  id: () => string | null | undefined,
  options: JobOptions<Metadata, Result> = {},
): { readonly current: Job<Metadata, Result> } {
  const jobs = useJobs<Metadata, Result>(() => idsOf(id()), options);
  return {
    get current() {
      return [...jobs.current.values()][0] ?? UNKNOWN_JOB;
    },
  };
}

/** Several jobs, live: by their ids, or those that match a selection. */
export function useJobs<Metadata = unknown, Result = unknown>(
  selected: () => readonly string[] | Selection,
  options: JobOptions<Metadata, Result> = {},
): { readonly current: ReadonlyMap<string, Job<Metadata, Result>> } {
  const store = new JobsStore(options, options.initial as JobOptions['initial']);
  store.onEnd = options.onEnd as JobsStore['onEnd'];
  let watched: string | null = null;
  let isRead = false;
  const watch = (key: string): void => {
    if (key === watched) return;
    watched = key;
    wantByKey(store, key);
  };
  let key = '';
  const read = createSubscriber((update) => {
    isRead = true;
    const stop = store.subscribe(update);
    watch(key);
    return () => {
      isRead = false;
      stop();
      watch('');
    };
  });
  return {
    get current() {
      key = selectionKey(selected());
      read();
      if (isRead) watch(key);
      return shownByKey(store.snapshot(), key) as ReadonlyMap<string, Job<Metadata, Result>>;
    },
  };
}
