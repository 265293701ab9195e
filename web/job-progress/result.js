// @ts-check
/** The result of a completed job. */

/**
 * Addresses of the web become links.
 * @param {HTMLElement | undefined} part
 * @param {unknown} result
 * @param {string} word the name of a result that is a single address
 */
export function paintResult(part, result, word) {
  if (!part) return;
  const plain = typeof result === 'string' ? result : result === undefined || result === null ? '' : JSON.stringify(result);
  part.hidden = !plain;
  // The word changes when the page's language has been loaded.
  const shown = `${word} ${plain}`;
  if (part.dataset['shown'] === shown) return;
  part.dataset['shown'] = shown;
  const values = typeof result === 'object' && result ? Object.entries(result) : [/** @type {[string, unknown]} */ ([word, result])];
  const links = values.flatMap(([name, value]) => (isAddress(value) ? [link(label(name, value), value)] : []));
  part.replaceChildren(...(links.length ? links.flatMap((each, n) => (n ? [' ', each] : [each])) : [plain]));
}

/**
 * @param {unknown} value
 * @returns {value is string}
 */
const isAddress = (value) => typeof value === 'string' && /^https?:\/\//.test(value);

/**
 * What a link is called: by its field, unless that says no more than that it is one.
 * @param {string} name
 * @param {string} address
 */
const label = (name, address) => (/^(url|link|href)$/i.test(name) && address.split(/[?#]/)[0]?.split('/').pop()) || name;

/**
 * @param {string} name
 * @param {string} address
 */
function link(name, address) {
  const anchor = document.createElement('a');
  anchor.href = address;
  anchor.rel = 'noopener';
  anchor.textContent = name;
  return anchor;
}
