// @ts-check
/** The rows of the list: one for each job that can be seen, and one for each group's heading. */

import { Job, WORDS } from '../job.js';
import { build, element, paint, paintHealth, paintTags, write } from '../paint.js';
import { paintAge } from '../times.js';

/** @typedef {import('./groups.js').Group} Group */
/** @typedef {import('./rows.js').AnyRow} AnyRow */
/** @typedef {import('./rows.js').Item} Item */
/** @typedef {import('./rows.js').Row} Row */

const number = new Intl.NumberFormat();

/**
 * An empty row.
 * @param {Item} item
 * @returns {AnyRow}
 */
export function makeRow(item) {
  const { root, parts } = build(item instanceof Job ? 'row-view' : 'group-view');
  return { root: /** @type {HTMLElement} */ (root.firstElementChild), parts, job: item };
}

/**
 * @param {Row} row
 * @param {boolean} isSelected
 */
export function paintRow({ job, parts, root }, isSelected) {
  write(parts.id, job.id);
  parts.id.setAttribute('href', `?job=${encodeURIComponent(job.id)}`);
  parts.id.title = job.id;
  parts.more.setAttribute('aria-label', `Actions for ${job.id}`);
  parts.select.setAttribute('aria-label', `Select ${job.id}`);
  /** @type {HTMLInputElement} */ (parts.select).checked = isSelected;
  root.toggleAttribute('data-selected', isSelected);
  paint(root, parts, job);
  write(parts.status, job.word);
  write(parts.name, job.name);
  paintTags(parts.tags, job.tags);
  write(parts.percent, job.percent);
  write(parts.message, job.errorSummary || job.message);
}

/**
 * What time alone changes.
 * @param {Row} row
 * @param {number} now the server's clock
 * @param {boolean} isLive whether states of the job arrive
 */
export function paintTimes({ job, parts, root }, now, isLive) {
  const trouble = paintHealth(root, job, now, isLive);
  const { rate, left } = job.outlook(now);
  root.toggleAttribute('data-overdue', !trouble && job.isOverdue(now));
  const isRunning = job.state?.status === 'processing';
  write(parts.left, job.pending ? job.pending : trouble ? trouble : isRunning ? left || (job.share === null ? 'Total not known' : '') : job.hasEnded ? job.headline : job.word);
  paintAge(parts.age, job.age(now), now);
  write(parts.rate, left && rate);
}

/**
 * @param {Row} row
 * @param {string} count nothing: nobody else watches it, or that is not known
 */
export function paintWatchers({ parts }, count) {
  write(parts['watchers-count'], count);
  parts.watchers.hidden = !count;
  parts.watchers.title = count ? `${count === '1' ? '1 watches' : `${count} watch`} this job, besides this page` : '';
}

/**
 * A group's heading: its name, and how many of its jobs have each status.
 * @param {{ parts: Record<string, HTMLElement>, job: Group }} row
 */
export function paintGroup({ parts, job: group }) {
  write(parts.label, group.label || 'Without a name');
  parts.id.setAttribute('aria-expanded', String(group.isOpen));
  write(parts.size, number.format(group.size));
  const counts = Object.keys(WORDS).filter((status) => group.counts[status]);
  parts.counts.replaceChildren(...counts.map((status) => {
    const made = element('span', `${number.format(group.counts[status])} ${WORDS[status].toLowerCase()}`);
    made.dataset.status = status;
    return made;
  }));
}
