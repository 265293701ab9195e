// @ts-check
/**
 * A little job that a page can do: it makes random data, hashes and compresses it, and reports how far it is.
 * What it reports is what it has done.
 */

import { stopwatch } from './durations.js';

/** @typedef {{ stage: string, progress: number, message: string, metadata: object }} Done */

const MIB = 1 << 20;
/** As much as a browser makes at once, in bytes. */
const MOST_RANDOM = 65_536;

/**
 * @param {number} size in MiB
 * @param {(done: Done) => void} report called for each MiB; it may use only the latest call
 * @param {AbortSignal} signal stops it
 * @returns {Promise<object>} the result
 */
export async function doSampleJob(size, report, signal) {
  const begun = performance.now();
  const packer = new CompressionStream('gzip');
  const writer = packer.writable.getWriter();
  const packed = countBytes(packer.readable);
  let chain = new Uint8Array(32);
  const chunk = new Uint8Array(MIB);
  try {
    for (let done = 0; done < size; done += 1) {
      signal.throwIfAborted();
      for (let at = 0; at < MIB; at += MOST_RANDOM) crypto.getRandomValues(chunk.subarray(at, at + MOST_RANDOM));
      // Pages that came by plain HTTP from another machine have no hashes: they only compress.
      if (crypto.subtle) chain = await link(chain, chunk);
      await writer.write(chunk.slice());
      const seconds = (performance.now() - begun) / 1000;
      const speed = (done + 1) / seconds;
      report({
        stage: done === 0 ? 'warming up' : crypto.subtle ? 'hashing and compressing' : 'compressing',
        progress: (done + 1) / size,
        message: `${done + 1} of ${size} MiB`,
        metadata: { mib_per_second: Math.round(speed), seconds: Math.round(seconds * 10) / 10 },
      });
      // The page stays alive meanwhile.
      await new Promise((resolve) => setTimeout(resolve));
    }
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {});
    await packed.catch(() => {});
    throw error;
  }
  const hash = [...chain].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return {
    hashed_bytes: size * MIB,
    gzip_bytes: await packed,
    ...(crypto.subtle ? { sha256_chain: hash } : {}),
    took: stopwatch(performance.now() - begun),
  };
}

/**
 * The hash of the hash so far and of what comes next.
 * @param {Uint8Array<ArrayBuffer>} chain
 * @param {Uint8Array<ArrayBuffer>} chunk
 */
async function link(chain, chunk) {
  const part = new Uint8Array(await crypto.subtle.digest('SHA-256', chunk));
  const both = new Uint8Array(chain.length + part.length);
  both.set(chain);
  both.set(part, chain.length);
  return new Uint8Array(await crypto.subtle.digest('SHA-256', both));
}

/** @param {ReadableStream<Uint8Array>} stream */
async function countBytes(stream) {
  const reader = stream.getReader();
  for (let bytes = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return bytes;
    bytes += value.length;
  }
}
