// @ts-check
/** What a job's worker made, as links. Only addresses of the web become links. */

import { element } from '../paint.js';
import { isWebAddress } from './text.js';

/** As many as the server takes. */
const MOST = 64;
const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

/**
 * @param {Record<string, HTMLElement>} parts
 * @param {unknown} artifacts as the state has them
 */
export function paintArtifacts(parts, artifacts) {
  const list = Array.isArray(artifacts) ? artifacts.filter((each) => typeof each === 'object' && each).slice(0, MOST) : [];
  parts['artifacts-section'].hidden = list.length === 0;
  const shown = JSON.stringify(list);
  if (parts.artifacts.dataset.shown === shown) return;
  parts.artifacts.dataset.shown = shown;
  parts.artifacts.replaceChildren(...list.map(artifactItem));
}

/** @param {any} artifact */
function artifactItem({ name, url, media_type: type, size }) {
  const item = document.createElement('li');
  const label = typeof name === 'string' && name ? name : String(url ?? 'Without a name');
  const link = element(isWebAddress(url) ? 'a' : 'span', label);
  link.dir = 'auto';
  if (isWebAddress(url)) {
    link.setAttribute('href', url);
    link.setAttribute('rel', 'noopener noreferrer');
  }
  const about = [typeof type === 'string' ? type : '', typeof size === 'number' && size >= 0 ? bytes(size) : ''].filter(Boolean).join(' · ');
  item.append(link, element('span', about, 'about'));
  return item;
}

/** @param {number} size */
function bytes(size) {
  const step = Math.min(UNITS.length - 1, size < 1 ? 0 : Math.floor(Math.log10(size) / 3));
  return new Intl.NumberFormat(undefined, { style: 'unit', unit: UNITS[step], unitDisplay: 'short', maximumFractionDigits: step ? 1 : 0 }).format(size / 1000 ** step);
}
