/** The watched jobs of one component, in any framework: the hooks and composables are thin layers over this. */
import { type Connection, type Health, type State, type Token, type Watch, type WatchError, type WatchOptions, isEnd, watch } from 'milepost';

/** What a component is shown of a job. The same object as long as nothing of it changes. */
export interface Job<Metadata = unknown, Result = unknown> {
  /** The newest state; null: none is known yet. */
  readonly state: State<Metadata, Result> | null;
  /** Whether updates can arrive. It does not describe the job. */
  readonly connection: Connection;
  /** Whether the server has a state of the job; null: it has not answered yet. */
  readonly known: boolean | null;
  /** Why the job may not be watched; its `code` is 4401 if the user has to sign in. */
  readonly error: WatchError | null;
  /** `lost`: the worker of a running job is silent. `stalled`: it reports, but the job does not advance. */
  readonly health: Health;
  /** The job runs, but its worker is silent or the job does not advance: `health` is not `ok`. */
  readonly isStalled: boolean;
  /** How long the job will still take, in milliseconds; null: that cannot be estimated. Renders when it moves by 10 %. */
  readonly timeLeft: number | null;
  /**
   * How long a running job's worker has been silent, in milliseconds; null if the job does not run. While
   * `health` is `ok` it is as of the latest render; otherwise it is renewed when it grows by 10 %.
   */
  readonly silentFor: number | null;
}

export interface JobOptions<Metadata = unknown, Result = unknown> extends Pick<WatchOptions, 'url' | 'mode' | 'maxRate'> {
  /**
   * A credential, or what returns one. In React it may be another function at each render; components whose first render had
   * the same function share a connection, so one of a module is better than one made in place.
   */
  token?: Token | undefined;
  /** Called once for each end, also for one that is found at first. It may be another function at each render. */
  onEnd?: ((state: State<Metadata, Result>) => void) | undefined;
  /**
   * States that the page's own server has fetched. They are rendered there and until the first update arrives, so that
   * what a server renders and what hydrates is the same.
   */
  initial?: State<Metadata, Result> | readonly State<Metadata, Result>[] | null | undefined;
}

/** Which jobs to watch, as the parameters of `GET /jobs`; all that are given must match. The newest come first. */
export interface Selection {
  tag?: string | undefined;
  /** What the job's id begins with. */
  prefix?: string | undefined;
  /** The id of the parent job. */
  parent?: string | undefined;
  name?: string | undefined;
  /** The most jobs, 1…200; 50 by default. */
  limit?: number | undefined;
}

export type Jobs = ReadonlyMap<string, Job>;

/** A job of which nothing is known yet. */
export const UNKNOWN_JOB: Job<never, never> = Object.freeze({
  state: null, connection: 'connecting', known: null, error: null, health: 'ok', isStalled: false, timeLeft: null, silentFor: null,
});

/** A page without frames, as a hidden one, renders this often, in milliseconds. */
const FRAMELESS = 1000;
/** How often fields that change by time alone are updated, in milliseconds. */
const TICK = 1000;
/** How often the jobs of a selection are listed, in milliseconds. */
const LIST_EVERY = 5000;
/** A duration that changes by no more than this share of itself, or by less than a second, counts as unchanged. */
const STEADY = 0.1;

export type StoreOptions = { [name in 'url' | 'token' | 'mode' | 'maxRate']?: WatchOptions[name] | undefined };

export class JobsStore {
  onEnd: ((state: State) => void) | undefined;
  #options: StoreOptions;
  #watches = new Map<string, Watch>();
  #changed = new Set<string>();
  #shown: Jobs;
  #initial: Jobs;
  #listeners = new Set<() => void>();
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ticks: ReturnType<typeof setInterval> | undefined;
  #listing: AbortController | undefined;

  constructor({ url, token, mode, maxRate }: StoreOptions, initial?: JobOptions['initial']) {
    this.#options = { url, token, mode, maxRate };
    this.#initial = new Map(statesOf(initial).map((state) => [state.job_id, { ...UNKNOWN_JOB, state, known: true }]));
    this.#shown = this.#initial;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** The jobs as they were last shown; the same map as long as nothing changes. */
  snapshot = (): Jobs => this.#shown;

  /** What a server renders, and what hydrates. */
  initialSnapshot = (): Jobs => this.#initial;

  /** Watches these jobs from now on, and no others. */
  want(ids: readonly string[]): void {
    this.#listing?.abort();
    this.#listing = undefined;
    this.#setWatched(ids);
  }

  /** Watches the jobs that match, and looks now and then which ones these are. Until `want` is called. */
  select(selection: Selection): void {
    this.#listing?.abort();
    const listing = (this.#listing = new AbortController());
    void this.#listAgain(listing.signal, selection);
  }

  async #listAgain(signal: AbortSignal, selection: Selection): Promise<void> {
    while (!signal.aborted) {
      const ids = await this.#list(signal, selection).catch(() => null);
      if (signal.aborted) return;
      // A list that fails changes nothing: the jobs that are known are watched on.
      if (ids) this.#setWatched(ids);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, LIST_EVERY);
        signal.addEventListener('abort', () => (clearTimeout(timer), resolve(null)), { once: true });
      });
    }
  }

  async #list(signal: AbortSignal, { limit = 50, ...filter }: Selection): Promise<string[]> {
    const given = Object.entries(filter).filter(([, value]) => value !== undefined) as [string, string][];
    const query = new URLSearchParams([...given, ['limit', String(Math.min(200, Math.max(1, limit)))]]);
    const { url, token: from } = this.#options;
    const token = typeof from === 'function' ? await from() : from;
    const base = new URL(url ?? '/', globalThis.location?.href).href.replace(/^ws/, 'http').replace(/\/+$/, '');
    const response = await fetch(`${base}/jobs?${query}`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
      headers: typeof token === 'string' ? { authorization: `Bearer ${token}` } : {},
      redirect: token ? 'error' : 'follow',
    });
    if (response.status >= 400 && response.status < 500) console.warn(`milepost: ${base}/jobs?${query} answered ${response.status}`);
    if (!response.ok) throw new Error(String(response.status));
    const { jobs } = (await response.json()) as { jobs: State[] };
    return jobs.map((state) => state.job_id);
  }

  #setWatched(ids: readonly string[]): void {
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
    const frame = globalThis.requestAnimationFrame ?? ((act: () => void) => setTimeout(act, 16));
    this.#frame = Number(frame(() => this.#show()));
    // A hidden page has no frames, but a title and notifications.
    this.#timer = setTimeout(() => this.#show(), FRAMELESS);
  }

  /** Silence sends no message. */
  #tick(): void {
    for (const [id, now] of this.#watches) {
      if (now.state && !isEnd(now.state) && isNews(this.#shown.get(id) ?? UNKNOWN_JOB, now)) this.#change(id);
    }
  }

  #show(): void {
    globalThis.cancelAnimationFrame?.(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = 0;
    const shown = new Map(this.#shown);
    for (const id of this.#changed) {
      const watching = this.#watches.get(id);
      if (watching) shown.set(id, jobOf(watching, this.#initial.get(id)));
      else shown.delete(id);
    }
    this.#changed.clear();
    this.#shown = shown;
    for (const listener of this.#listeners) listener();
  }
}

function jobOf(watching: Watch, initial: Job | undefined): Job {
  const { connection, error, health, timeLeft, silentFor } = watching;
  const isFetched = !watching.state && watching.known === null && initial;
  const [state, known] = isFetched ? [initial.state, true] : [watching.state, watching.known];
  return { state, connection, known, error, health, isStalled: health !== 'ok', timeLeft, silentFor };
}

function isNews(shown: Job, { health, timeLeft, silentFor }: Watch): boolean {
  return health !== shown.health || hasMoved(shown.timeLeft, timeLeft) || (health !== 'ok' && hasMoved(shown.silentFor, silentFor));
}

function hasMoved(from: number | null, to: number | null): boolean {
  if (from === null || to === null) return from !== to;
  return Math.abs(to - from) > Math.max(1000, STEADY * from);
}

function statesOf(initial: JobOptions['initial']): readonly State[] {
  if (!initial) return [];
  return Array.isArray(initial) ? initial : [initial as State];
}

/** The id of the one job of a component, as a list; without an id, an empty one. Numbers are read as their text. */
export function idsOf(given: unknown): string[] {
  return given === undefined || given === null || given === false || given === '' ? [] : [String(given)];
}

/** The ids, or the selection, as a text. It is the same as long as they are. */
export function selectionKey(selected: readonly string[] | Selection): string {
  if (!isIds(selected ?? [])) return JSON.stringify(selected, ['limit', 'name', 'parent', 'prefix', 'tag']);
  return JSON.stringify([...new Set((selected as readonly string[] | null ?? []).flatMap(idsOf))].sort());
}

export function wantByKey(store: JobsStore, key: string): void {
  const selected = selectedBy(key);
  if (isIds(selected)) store.want(selected);
  else store.select(selected);
}

/** Of the jobs that the store has, those that a render wants: effects come after it. */
export function shownByKey(all: Jobs, key: string): Jobs {
  const selected = selectedBy(key);
  return isIds(selected) ? new Map(selected.map((id) => [id, all.get(id) ?? UNKNOWN_JOB] as const)) : all;
}

function selectedBy(key: string): readonly string[] | Selection {
  return key ? (JSON.parse(key) as readonly string[] | Selection) : [];
}

const isIds = (selected: readonly string[] | Selection): selected is readonly string[] => Array.isArray(selected);
