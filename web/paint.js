// @ts-check
/** How what is known of a job gets into a page. Whatever a worker reported is text here, never markup. */

import { WORDS } from './job.js';

/** @typedef {import('./job.js').Job} Job */

/**
 * A template's content, and its parts by name.
 * @param {string} template
 */
export function build(template) {
  const source = /** @type {HTMLTemplateElement} */ (document.getElementById(template));
  const root = /** @type {DocumentFragment} */ (source.content.cloneNode(true));
  /** @type {Record<string, HTMLElement>} */
  const parts = {};
  for (const part of root.querySelectorAll('[data-part]')) {
    parts[part.getAttribute('data-part') ?? ''] = /** @type {HTMLElement} */ (part);
  }
  return { root, parts };
}

/**
 * @param {Element} element
 * @param {string} content
 */
export function write(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

/**
 * What a row and the large view have in common.
 * @param {HTMLElement} root
 * @param {Record<string, HTMLElement>} parts
 * @param {Job} job
 */
export function paint(root, parts, job) {
  const status = job.state?.status ?? 'queued';
  root.dataset.status = status;
  parts.icon.setAttribute('href', `#icon-${status in WORDS ? status : 'processing'}`);
  write(parts.stage, job.stage);
  paintBar(parts.bar, parts.fill, job);
}

/**
 * The one look of a worker that is silent, or whose job does not advance. While the server cannot be heard, silence is
 * not the job's own.
 * @param {HTMLElement} root
 * @param {Job} job
 * @param {number} now the server's clock
 * @param {boolean} isLive
 * @returns {string} what is wrong, or nothing
 */
export function paintHealth(root, job, now, isLive) {
  const health = isLive ? job.health(now) : 'ok';
  if (health === 'ok') delete root.dataset.health;
  else root.dataset.health = health;
  return health === 'ok' ? '' : job.trouble(now);
}

/** The longest that a bar takes to arrive where its job is, in milliseconds. */
const LONGEST_GLIDE = 2000;
/** Where each bar is drawn, of which job, and since when. @type {WeakMap<HTMLElement, { job: Job, share: number, at: number }>} */
const drawn = new WeakMap();

/**
 * @param {HTMLElement} bar
 * @param {HTMLElement} fill
 * @param {Job} job
 */
function paintBar(bar, fill, job) {
  const { share } = job;
  const isRunning = job.state?.status === 'processing';
  bar.dataset.total = share !== null ? 'known' : isRunning ? 'unknown' : 'none';
  glide(fill, job, share ?? 0);

  bar.setAttribute('role', 'progressbar');
  bar.setAttribute('aria-label', job.id);
  bar.setAttribute('aria-valuemin', '0');
  bar.setAttribute('aria-valuemax', '100');
  if (share === null) bar.removeAttribute('aria-valuenow');
  else bar.setAttribute('aria-valuenow', String(Math.floor(share * 100)));
  const where = job.hasEnded ? job.outcome : job.percent || (isRunning ? 'total not known' : job.word);
  bar.setAttribute('aria-valuetext', [where, job.stage].filter(Boolean).join(', '));
}

/**
 * Moves the bar to where the job is. As long as the job took from the step before to this one, the bar takes too: it moves steadily,
 * and is never further than what was reported. It is drawn where it is at first, and where it was set back to.
 * @param {HTMLElement} fill
 * @param {Job} job
 * @param {number} share
 */
function glide(fill, job, share) {
  const before = drawn.get(fill);
  if (before?.job === job && before.share === share) return;
  const now = performance.now();
  drawn.set(fill, { job, share, at: now });
  const isForwards = before?.job === job && share > before.share;
  const takes = isForwards ? Math.min(now - before.at, job.hasEnded ? 300 : LONGEST_GLIDE) : 0;
  fill.style.setProperty('--glide', `${Math.round(takes)}ms`);
  fill.style.setProperty('--done', String(share));
}

/**
 * The job's tags, as links to the list of all jobs with that tag.
 * @param {HTMLElement} part
 * @param {readonly string[]} tags
 */
export function paintTags(part, tags) {
  const shown = tags.join('\n');
  if (part.dataset.tags === shown) return;
  part.dataset.tags = shown;
  part.replaceChildren(...tags.map((tag) => {
    const link = element('a', tag, 'tag');
    link.setAttribute('href', `./?tag=${encodeURIComponent(tag)}`);
    link.title = `All jobs with the tag ${tag}`;
    return link;
  }));
}

/**
 * @param {string} name
 * @param {string} content
 * @param {string} [className]
 */
export function element(name, content, className = '') {
  const made = document.createElement(name);
  made.textContent = content;
  if (className) made.className = className;
  return made;
}

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no #${id} in the page`);
  return found;
}
