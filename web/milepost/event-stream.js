// @ts-check
/** Server-sent events (section 8), read with `fetch`: `EventSource` knows no headers, and Node has none. */

/** An event may have at most so many characters. */
const MOST = 1e7;

/**
 * The events of each piece of the stream, as their fields. A state is one line; a comment has no field with a name. It is over when the
 * stream is, or an event is too long.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<Record<string, string | undefined>[], void, void>}
 */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done || text.length > MOST) return;
    const events = (text + value).split('\n\n');
    text = events.pop() ?? '';
    yield events.map((lines) => Object.fromEntries(lines.split('\n').map((line) => line.split(/: ?(.*)/))));
  }
}
