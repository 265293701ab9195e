// @ts-check
/** How a WebSocket of a Milepost server is opened. */

/** What may stand in a WebSocket's subprotocol (RFC 9110, section 5.6.2). */
const IS_SUBPROTOCOL = /^[!#$%&'*+.^`|~\w-]+$/;

/**
 * @param {string} base the server's address, with http or https
 * @param {string} token empty: none
 * @returns {WebSocket} one that cannot be made fails: with 4400 if `base` is no address for a socket
 */
export function openSocket(base, token) {
  const isProtocol = IS_SUBPROTOCOL.test(token);
  // The way of last resort: URLs end up in logs.
  const query = token && !isProtocol ? new URLSearchParams({ token }) : '';
  try {
    return new WebSocket(`${base.replace(/^http/, 'ws')}/ws?${query}`, isProtocol ? ['milepost', `milepost.bearer.${token}`] : []);
  } catch (error) {
    // Where a page's policy forbids the socket, Firefox throws. In Chromium there is a socket, which fails.
    const socket = /** @type {any} */ ({ close() {} });
    const reason = `no Milepost server at ${base}`;
    setTimeout(() => (/^Syntax/.test(String(error)) ? socket.onclose?.({ code: 4400, reason }) : socket.onerror?.()));
    return socket;
  }
}

/** @param {string} url of the server, with any of http, https, ws, wss */
export const baseOf = (url) => url.replace(/^ws/, 'http').replace(/\/+$/, '');
