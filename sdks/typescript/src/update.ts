/** What is reported of a job, and its JSON: the protocol's sections 2 and 13. */

export interface Update {
  job_id: string;
  status: 'queued' | 'processing' | 'completed' | 'failed' | 'cancelled';
  stage?: string;
  [field: string]: unknown;
}

/** The largest update that a server takes unless it is configured otherwise, in bytes. */
export const MAX_UPDATE_BYTES = 65_536;
/** Texts are cut to so many bytes where there is no room for more. */
const SHORT_TEXT_BYTES = 1_024;
const MAX_STAGE_BYTES = 256;
/** Dropped if there is no room for them, the largest first. */
const DROPPED = ['metadata', 'result'];
const CUT = ['message', 'error'];

/** An update as it is sent. */
export interface Encoded {
  readonly json: string;
  /** In bytes. */
  readonly size: number;
  /** The fields that are not reported, or not whole; in the update itself as `truncated`. */
  readonly truncated: readonly string[];
}

/**
 * The JSON of an update, at most `limit` bytes; a limit below 1,024 is not kept. A field that JSON cannot hold is left
 * out, and so is what there is no room for, so that an end is never lost for what it carries. The update names those
 * fields as `truncated`. `isBare` leaves out all of the worker's own data.
 *
 * Never throws, and stops at the limit whatever a field holds.
 */
export function encode(update: Update, limit = MAX_UPDATE_BYTES, isBare = false): Encoded {
  const fields = new Map<string, string>();
  const truncated: string[] = [];
  for (const [name, value] of Object.entries(update)) {
    const text = isBare && DROPPED.includes(name) ? null : encodeField(name, value, limit);
    if (text === null) truncated.push(name);
    else if (text !== undefined) fields.set(name, text);
  }
  let encoded = join(fields, truncated);
  while (encoded.size > limit) {
    const [largest] = DROPPED.filter((name) => fields.has(name)).sort((a, b) => size(fields.get(b)) - size(fields.get(a)));
    if (largest === undefined) break;
    fields.delete(largest);
    truncated.push(largest);
    encoded = join(fields, truncated);
  }
  if (encoded.size <= limit) return encoded;
  for (const name of CUT) {
    const text = update[name];
    if (typeof text !== 'string' || size(text) <= SHORT_TEXT_BYTES) continue;
    fields.set(name, JSON.stringify(cut(text.slice(0, SHORT_TEXT_BYTES).toWellFormed(), Math.min(SHORT_TEXT_BYTES, limit >> 3))));
    truncated.push(name);
  }
  return join(fields, truncated);
}

function join(fields: ReadonlyMap<string, string>, truncated: readonly string[]): Encoded {
  const members = [...fields].map(([name, value]) => `${JSON.stringify(name)}:${value}`);
  if (truncated.length) members.push(`"truncated":${JSON.stringify(truncated)}`);
  const json = `{${members.join(',')}}`;
  return { json, size: size(json), truncated };
}

class TooLarge extends Error {}

/** A field's JSON. Null: JSON cannot hold it, or it exceeds the limit by itself. Undefined: JSON has nothing for it. */
function encodeField(name: string, value: unknown, limit: number): string | null | undefined {
  if (typeof value === 'string') {
    // A lone surrogate is no character, and a server refuses it.
    const text = value.slice(0, limit).toWellFormed();
    return JSON.stringify(name === 'stage' ? cut(text, MAX_STAGE_BYTES) : text);
  }
  let room = limit;
  const take = (bytes: number): void => {
    room -= bytes;
    if (room < 0) throw new TooLarge();
  };
  try {
    // Each value takes a comma, at least.
    return JSON.stringify(bounded(value, limit), (key, each: unknown) => {
      take(key.length + 1);
      if (typeof each === 'string') take(each.length);
      return bounded(each, room);
    }) as string | undefined;
  } catch {
    // A cycle, a BigInt, a `toJSON` that throws; or too large.
    return null;
  }
}

/** The value, unless it is a list that has more elements than there is room for bytes. */
function bounded(value: unknown, limit: number): unknown {
  const elements = ArrayBuffer.isView(value) ? value.byteLength / 8 : Array.isArray(value) ? value.length : 0;
  if (elements > limit) throw new TooLarge();
  return value;
}

const encoder = new TextEncoder();

function size(text = ''): number {
  return Buffer.byteLength(text);
}

/** At most so many bytes of the text, in whole characters. */
function cut(text: string, bytes: number): string {
  if (size(text) <= bytes) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}
