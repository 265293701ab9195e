// @ts-check
/** What the server is asked over HTTP. */

/** Where the server is that this page came from, without a slash at the end. */
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

/**
 * @param {string} url
 * @returns {Promise<{ ok: boolean, status: number, body: any, now: number }>} `now` is the server's clock
 */
export async function ask(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000), headers: { accept: 'application/json' } });
  const date = Date.parse(response.headers.get('date') ?? '');
  const { ok, status } = response;
  return { ok, status, body: await response.json(), now: Number.isNaN(date) ? Date.now() : date };
}

/**
 * How to report that job by hand, for a shell.
 * @param {string} id
 */
export function curl(id) {
  // Quoted: an id comes out of a page's address.
  return `curl -X POST ${jobUrl(home(), id).replaceAll("'", '%27')} -d '{"progress":0.5}'`;
}
