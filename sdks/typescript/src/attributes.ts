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
  readonly parent_id?: string;
  readonly weight?: number;
  /** Seconds. */
  readonly heartbeat: number;
}

/** Texts that are too long are cut; what is empty is left out. */
export function attributesOf(name: string, tags: readonly string[] = [], unit = '', heartbeat: number): Attributes {
  const kind = bounded(name, MAX_NAME_BYTES);
  const words = tags.map((tag) => bounded(tag, MAX_NAME_BYTES)).filter((tag) => tag !== '').slice(0, MAX_TAGS);
  const counted = bounded(unit, MAX_UNIT_BYTES);
  return { ...(kind && { name: kind }), ...(words.length && { tags: words }), ...(counted && { unit: counted }), heartbeat };
}

function bounded(text: string, bytes: number): string {
  return cut(text.slice(0, bytes).toWellFormed(), bytes);
}
