/** What is reported of a job, and its JSON: the protocol's sections 2 and 13. */

export interface Update {
  job_id: string;
  status: 'queued' | 'processing' | 'completed' | 'failed' | 'cancelled';
  stage?: string;
  [field: string]: unknown;
}

/** The largest update that a server takes unless it is configured otherwise, in bytes. */
export const MAX_UPDATE_BYTES = 65_536;
const MAX_STAGE_BYTES = 256;
/** There has to be room for the rest of an update. */
const MAX_METADATA_BYTES = 49_152;
/** Longer texts are cut, also where there is room. */
const MAX_TEXT_BYTES = 8_192;
/** The lengths to which texts are cut, one after the other, where dropping metadata and result was not enough. */
const SHORT_TEXT_BYTES = [1_024, 128];
/** Fields that are dropped if there is no room, the largest first. */
const DROPPED = ['metadata', 'result'];
const TEXTS = ['error', 'message'];

/** An update as it is sent. */
export interface Encoded {
  readonly json: string;
  /** In bytes. */
  readonly size: number;
  /** The fields that are not reported, or not whole; in the update itself as `truncated`. */
  readonly truncated: readonly string[];
}

/**
 * The JSON of an update, at most 65,536 bytes. Values that JSON cannot hold are omitted, and so are fields without room, so
 * that an end is never lost for what it carries: the larger one of metadata and result, then the other; then the texts
 * are cut. The update names those fields as `truncated`. `reductions` is how many of these steps are taken in any case,
 * as the server has refused more; see `canReduce`.
 *
 * Never throws, and stops at the limit for any content of a field.
 */
export function encode(update: Update, reductions = 0): Encoded {
  const fields = new Map<string, string>();
  const truncated = new Set<string>();
  for (const [name, value] of Object.entries(update)) {
    const text = encodeField(name, value);
    if (text === null) truncated.add(name);
    else if (text !== undefined) fields.set(name, text);
    if (TEXTS.includes(name) && typeof value === 'string' && size(value) > MAX_TEXT_BYTES) truncated.add(name);
  }
  let encoded = join(fields, truncated);
  for (let step = 0; step < reductions || encoded.size > MAX_UPDATE_BYTES; step += 1) {
    if (!reduce(fields, truncated)) break;
    encoded = join(fields, truncated);
  }
  return encoded;
}

/** Whether the update can be reduced further than after `reductions` steps. */
export function canReduce(update: Update, reductions: number): boolean {
  return encode(update, reductions).json !== encode(update, reductions + 1).json;
}

/** Returns whether there was something to drop or to cut. */
function reduce(fields: Map<string, string>, truncated: Set<string>): boolean {
  const isDropped = (name: string): boolean => fields.has(name) && (DROPPED.includes(name) || !isText(fields, name));
  const [largest] = [...DROPPED, ...TEXTS].filter(isDropped).sort((a, b) => size(fields.get(b)) - size(fields.get(a)));
  if (largest !== undefined) {
    fields.delete(largest);
    truncated.add(largest);
    return true;
  }
  for (const limit of SHORT_TEXT_BYTES) {
    const longer = TEXTS.filter((name) => size(textOf(fields, name)) > limit);
    for (const name of longer) {
      fields.set(name, JSON.stringify(cut(textOf(fields, name), limit)));
      truncated.add(name);
    }
    if (longer.length) return true;
  }
  return false;
}

/** Whatever a caller has made of a text: what is none cannot be cut. */
function isText(fields: ReadonlyMap<string, string>, name: string): boolean {
  return fields.get(name)?.startsWith('"') ?? false;
}

function textOf(fields: ReadonlyMap<string, string>, name: string): string {
  return JSON.parse(fields.get(name) ?? '""') as string;
}

function join(fields: ReadonlyMap<string, string>, names: ReadonlySet<string>): Encoded {
  const truncated = [...names].sort();
  const members = [...fields].map(([name, value]) => `${JSON.stringify(name)}:${value}`);
  if (truncated.length) members.push(`"truncated":${JSON.stringify(truncated)}`);
  const json = `{${members.join(',')}}`;
  return { json, size: size(json), truncated };
}

class TooLarge extends Error {}

/** A field's JSON. Null: JSON cannot hold it, or it exceeds the limit by itself. Undefined: JSON has nothing for it. */
function encodeField(name: string, value: unknown): string | null | undefined {
  const limit = name === 'metadata' ? MAX_METADATA_BYTES : MAX_UPDATE_BYTES;
  if (typeof value === 'string') {
    // A lone surrogate is not a character, and servers reject it.
    const text = value.slice(0, limit + 1).toWellFormed();
    if (DROPPED.includes(name) && size(text) > limit) return null;
    const longest = name === 'stage' ? MAX_STAGE_BYTES : TEXTS.includes(name) ? MAX_TEXT_BYTES : Infinity;
    return JSON.stringify(cut(text, longest));
  }
  let room = limit;
  const take = (bytes: number): void => {
    room -= bytes;
    if (room < 0) throw new TooLarge();
  };
  try {
    // Each value takes a comma, at least.
    const text = JSON.stringify(bounded(value, limit), (key, each: unknown) => {
      take(key.length + 1);
      if (typeof each === 'string') take(each.length);
      return bounded(each, room);
    }) as string | undefined;
    return size(text) > limit ? null : text;
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

/** The text, cut to at most `bytes` bytes, in whole characters. */
export function cut(text: string, bytes: number): string {
  if (size(text) <= bytes) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}
