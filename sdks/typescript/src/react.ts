'use client';
/** React's hooks, over the page's one socket: `useJob` and `useJobs`. */
import { type DetailedHTMLProps, type HTMLAttributes, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type { State, Token } from 'milepost';
import type { JobProgress, JobProgressAttributes } from 'milepost/job-progress';
import { type Job, type JobOptions, JobsStore, type Selection, UNKNOWN_JOB, idsOf, shownByKey, wantByKey, selectionKey } from './jobs-store.js';

export type { Job, JobOptions, Selection } from './jobs-store.js';

declare module 'react' {
  namespace JSX {
    interface IntrinsicElements {
      'job-progress': DetailedHTMLProps<HTMLAttributes<JobProgress>, JobProgress> & JobProgressAttributes;
    }
  }
}

/**
 * A job, live, and its later attempts. Without an id it watches nothing. On a server, and until it is hydrated, it renders
 * `initial`, or a job of which nothing is known.
 * However often a job is reported, a component renders at most once a frame.
 */
export function useJob<Metadata = unknown, Result = unknown>(id: string | null | undefined, options?: JobOptions<Metadata, Result>): Job<Metadata, Result> {
  const [known] = useJobs<Metadata, Result>(idsOf(id), options).values();
  return known ?? UNKNOWN_JOB;
}

/**
 * Several jobs, live: by their ids, or those that match a selection. The array or selection may be another object at each
 * render: jobs that stay are watched on. The map is the same one as long as nothing changes.
 */
export function useJobs<Metadata = unknown, Result = unknown>(
  selected: readonly string[] | Selection,
  options: JobOptions<Metadata, Result> = {},
): ReadonlyMap<string, Job<Metadata, Result>> {
  const { url, mode, maxRate, onEnd } = options;
  const token = useStableToken(options.token);
  // Only those of the first render count.
  const initial = useRef(options.initial as JobOptions['initial']);
  const store = useMemo(() => new JobsStore({ url, token, mode, maxRate }, initial.current), [url, token, mode, maxRate]);
  useEffect(() => {
    store.onEnd = onEnd as ((state: State) => void) | undefined;
  });
  const key = selectionKey(selected);
  useEffect(() => wantByKey(store, key), [store, key]);
  useEffect(() => () => store.want([]), [store]);
  const all = useSyncExternalStore(store.subscribe, store.snapshot, store.initialSnapshot);
  return useMemo(() => shownByKey(all, key) as ReadonlyMap<string, Job<Metadata, Result>>, [all, key]);
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
