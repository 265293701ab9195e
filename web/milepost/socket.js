// @ts-check
/** How a WebSocket of a Milepost server is opened. */

/** What may stand in a WebSocket's subprotocol (RFC 9110, section 5.6.2). */
const IS_SUBPROTOCOL = /^[!#$%&'*+.^`|~\w-]+$/;

/**
 * @param {string} base the server's address, with http or https
 * @param {string} token empty: none
 * @throws {Error} if `base` is no address for a socket
 */
export function openSocket(base, token) {
  const isProtocol = IS_SUBPROTOCOL.test(token);
  // The way of last resort: URLs end up in logs.
  const query = token && !isProtocol ? new URLSearchParams({ token }) : '';
  return new WebSocket(`${base.replace(/^http/, 'ws')}/ws?${query}`, isProtocol ? ['milepost', `milepost.bearer.${token}`] : []);
}

/** @param {string} url of the server, with any of http, https, ws, wss */
export const baseOf = (url) => url.replace(/^ws/, 'http').replace(/\/+$/, '');
