// @ts-check
/** How a page's callbacks are called. */

/**
 * Reports an error in a page's callback as any other, without stopping the messages of others.
 * @template {unknown[]} A
 * @param {((...args: A) => void) | undefined} callback
 * @param {A} args
 */
export function callSafely(callback, ...args) {
  try {
    callback?.(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
