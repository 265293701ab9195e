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

/** The job that another one is a part of. An invalid id, or a weight that is not above 0, is omitted. */
export function parentOf(parent: unknown, weight: unknown): Pick<Attributes, 'parent_id' | 'weight'> {
  const isId = typeof parent === 'string' && /^(?!\.{1,2}$)[\w.~:@-]{1,128}$/.test(parent);
  if (!isId) return {};
  const isWeight = typeof weight === 'number' && weight > 0 && Number.isFinite(weight);
  return { parent_id: parent, ...(isWeight && { weight }) };
}

/** How many children a job is going to have, if that is such a number. */
export function isCount(count: unknown): count is number {
  return Number.isInteger(count) && (count as number) >= 0 && (count as number) < 2 ** 32;
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
