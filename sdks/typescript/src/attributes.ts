/** What describes an attempt rather than the moment: the attributes of the protocol's section 2. */
import { cut } from './update.js';

/** Of a name and of a tag, in bytes. */
const MAX_NAME_BYTES = 64;
const MAX_TAGS = 16;
const MAX_UNIT_BYTES = 32;

export interface Attributes {
  readonly name?: string;
  readonly tags?: readonly string[];
  readonly unit?: string;
  /** Seconds. */
  readonly heartbeat: number;
}

/** Texts that are too long are cut; what is empty is left out. Whatever is given, nothing is thrown. */
export function attributesOf(name: unknown, tags: unknown, unit: unknown, heartbeat: number): Attributes {
  const kind = text(name, MAX_NAME_BYTES);
  const given = typeof tags === 'string' ? [tags] : Array.isArray(tags) ? tags.slice(0, 4 * MAX_TAGS) : [];
  const words = given.map((tag) => text(tag, MAX_NAME_BYTES)).filter((tag) => tag !== '').slice(0, MAX_TAGS);
  const counted = text(unit, MAX_UNIT_BYTES);
  return { ...(kind && { name: kind }), ...(words.length && { tags: words }), ...(counted && { unit: counted }), heartbeat };
}

function text(value: unknown, bytes: number): string {
  return typeof value === 'string' ? cut(value.slice(0, bytes).toWellFormed(), bytes) : '';
}
