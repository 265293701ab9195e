// @ts-check
/** JSON from the network, which may be anything. */

/**
 * @param {unknown} text
 * @returns {any} an object, or null
 */
export function parseObject(text) {
  try {
    const value = JSON.parse(/** @type {string} */ (text));
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}
