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

/**
 * @param {HTMLElement} bar
 * @param {HTMLElement} fill
 * @param {Job} job
 */
function paintBar(bar, fill, job) {
  const { share } = job;
  const isRunning = job.state?.status === 'processing';
  const before = Number(fill.dataset.share ?? NaN);
  bar.dataset.total = share !== null ? 'known' : isRunning ? 'unknown' : 'none';
  // It is drawn where it is at first, and where it was set back to; it only ever runs forwards.
  fill.classList.toggle('snap', !((share ?? 0) >= before));
  fill.dataset.share = String(share ?? 0);
  fill.style.setProperty('--done', String(share ?? 0));

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
