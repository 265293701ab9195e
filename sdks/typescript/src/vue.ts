/** Vue's composables, over the page's one socket: `useJob` and `useJobs`. */
import { type ComputedRef, type MaybeRefOrGetter, computed, onScopeDispose, shallowRef, toValue, watchPostEffect } from 'vue';
import { type Job, type JobOptions, type Jobs, JobsStore, type Selection, UNKNOWN_JOB, idsOf, shownByKey, wantByKey, selectionKey } from './jobs-store.js';

export type { Job, JobOptions, Selection } from './jobs-store.js';

/**
 * A job, live, and its later attempts. Without an id it watches nothing. On a server it renders `initial`, or a job of
 * which nothing is known. The options are read once; the id may be a ref or a getter.
 */
export function useJob<Metadata = unknown, Result = unknown>(
  id: MaybeRefOrGetter<string | null | undefined>,
  options: JobOptions<Metadata, Result> = {},
): ComputedRef<Job<Metadata, Result>> {
  const jobs = useJobs<Metadata, Result>(() => idsOf(toValue(id)), options);
  return computed(() => [...jobs.value.values()][0] ?? UNKNOWN_JOB);
}

/** Several jobs, live: by their ids, or those that match a selection. */
export function useJobs<Metadata = unknown, Result = unknown>(
  selected: MaybeRefOrGetter<readonly string[] | Selection>,
  options: JobOptions<Metadata, Result> = {},
): ComputedRef<ReadonlyMap<string, Job<Metadata, Result>>> {
  const store = new JobsStore(options, options.initial as JobOptions['initial']);
  store.onEnd = options.onEnd as JobsStore['onEnd'];
  const shown = shallowRef<Jobs>(store.snapshot());
  const stop = store.subscribe(() => (shown.value = store.snapshot()));
  const key = computed(() => selectionKey(toValue(selected)));
  // After the first render, and so never on a server.
  watchPostEffect(() => wantByKey(store, key.value));
  onScopeDispose(() => {
    stop();
    store.want([]);
  });
  return computed(() => shownByKey(shown.value, key.value) as ReadonlyMap<string, Job<Metadata, Result>>);
}
