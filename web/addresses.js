// @ts-check
/** Where the server that this page came from has what a page asks for. */

/** The server itself, without a slash at the end. */
export function home() {
  return new URL('.', document.baseURI).href.replace(/\/$/, '');
}

/**
 * @param {string} server
 * @param {string} id
 */
export function jobUrl(server, id) {
  return `${server}/jobs/${encodeURIComponent(id).replaceAll('%3A', ':').replaceAll('%40', '@')}`;
}
