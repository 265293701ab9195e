/** Where a server is, as a program or `MILEPOST_URL` has it. */

/** The address without a slash at its end, to which paths are added; or what is wrong with it. */
export type Address = { readonly base: string } | { readonly problem: string };

export function addressOf(given: string): Address {
  const text = given.trim();
  // What a message shows has no password before the host, and no token in a query.
  const shown = text.split('@').at(-1)?.replace(/([?#]).*/s, '$1…').slice(0, 200);
  if (!/^https?:\/\//i.test(text)) return { problem: `the address begins with neither http:// nor https://: ${shown}` };
  if (/^https?:\/\/+([/?#:]|$)/i.test(text)) return { problem: `the address names no host: ${shown}` };
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return { problem: `the address is not a URL: ${shown}` };
  }
  if (url.port === '0') return { problem: `the address has no usable port: ${shown}` };
  if (url.search || url.hash) return { problem: `the address has a query or a fragment, which a server’s address has not: ${shown}` };
  // `fetch` refuses them.
  if (url.username || url.password) return { problem: `the address has a user name or a password; a key or token is an option of its own: ${shown}` };
  return { base: `${url.origin}${url.pathname}`.replace(/\/+$/, '') };
}
