// @ts-check
/** Groups of a list's jobs: those of one name, or whose ids begin with the same words. */

/** @typedef {import('../job.js').Job} Job */

/** The values of the control `group`. @typedef {'' | 'name' | 'prefix'} GroupBy */

/** The heading of a group in the list. */
export class Group {
  isOpen = true;
  /** How many jobs it has, whether they can be seen or not. */
  size = 0;
  /** How many of them have each status. @type {Record<string, number>} */
  counts = {};

  /** @param {string} label empty: jobs without a name */
  constructor(label) {
    this.label = label;
  }
}

/** A list of jobs with headings between them. It is put together again only if something has changed. */
export class Groups {
  /** @type {Map<string, Group>} */
  #groups = new Map();
  /** @type {GroupBy} */
  #by = '';
  /** What the list was made of. @type {readonly Job[] | null} */
  #jobs = null;
  /** @type {readonly (Job | Group)[]} */
  #list = [];

  /** A job of the list has another status or name, or a group was opened or closed. */
  change() {
    this.#jobs = null;
  }

  /**
   * The jobs below the headings of their groups, in which they keep their order. Groups come in the order of their first jobs.
   * @param {readonly Job[]} jobs
   * @param {GroupBy} by
   * @returns {readonly (Job | Group)[]}
   */
  arrange(jobs, by) {
    if (by === '') return jobs;
    if (by !== this.#by) this.#groups.clear();
    if (jobs === this.#jobs && by === this.#by) return this.#list;
    this.#by = by;
    this.#jobs = jobs;
    /** @type {Map<Group, Job[]>} */
    const members = new Map();
    for (const job of jobs) {
      const group = this.#group(by === 'name' ? job.name : prefix(job.id));
      const inGroup = members.get(group);
      if (inGroup) inGroup.push(job);
      else members.set(group, [job]);
    }
    for (const [label, group] of this.#groups) if (!members.has(group)) this.#groups.delete(label);
    for (const [group, inGroup] of members) count(group, inGroup);
    return (this.#list = [...members].flatMap(([group, inGroup]) => (group.isOpen ? [group, ...inGroup] : [group])));
  }

  /** @param {string} label */
  #group(label) {
    const known = this.#groups.get(label);
    if (known) return known;
    const made = new Group(label);
    this.#groups.set(label, made);
    return made;
  }
}

/**
 * @param {Group} group
 * @param {readonly Job[]} jobs
 */
function count(group, jobs) {
  group.size = jobs.length;
  group.counts = {};
  for (const { state } of jobs) {
    const status = state?.status ?? 'queued';
    group.counts[status] = (group.counts[status] ?? 0) + 1;
  }
}

/**
 * What the ids of one kind of job have in common: an id up to its first `:`; without one, up to its last `-`, `_` or `.`.
 * @param {string} id
 */
export function prefix(id) {
  return /^[^:]+(?=:)/.exec(id)?.[0] ?? /^.+(?=[-_.])/.exec(id)?.[0] ?? id;
}
