/** What a job tracks: the items of a list, or the chunks of a stream. */

/** What an item of a stream counts for: a chunk for its bytes. */
export function sizeOf(item: unknown): number {
  return item instanceof Uint8Array ? item.byteLength : 1;
}

/** How many items there are, if that is known. What is no list fails when it is iterated over, as without `track`. */
export function lengthOf(items: unknown): number | undefined {
  try {
    const { length, size } = Object(items) as { length?: unknown; size?: unknown };
    return [length, size].find((count): count is number => typeof count === 'number' && Number.isFinite(count));
  } catch {
    return undefined;
  }
}

export function isStream<T>(items: Iterable<T> | AsyncIterable<T>): items is AsyncIterable<T> {
  try {
    return Symbol.asyncIterator in (Object(items) as object);
  } catch {
    return false;
  }
}
