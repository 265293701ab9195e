/** The stages that a job declares: the attribute `stages` of the protocol's section 2. */

/** A stage that a job goes through. */
export interface Stage {
  /** The name by which the job enters it: 1 to 256 bytes. */
  id: string;
  /** What people read in place of the id: 1 to 256 bytes. */
  label?: string;
  /** Its share of the job's work beside those of the other stages, above 0. By default 1. */
  weight?: number;
  /** The job leaves this stage out. */
  skipped?: boolean;
}

const MAX_STAGES = 64;
const MAX_TEXT_BYTES = 256;
/** Of the JSON of all stages. */
const MAX_BYTES = 8192;

/** The stages as they are sent; null: a server would not take them for stages. Whatever is given, nothing is thrown. */
export function stagesOf(stages: unknown): readonly Stage[] | null {
  try {
    return read(stages);
  } catch {
    // Reading it throws.
    return null;
  }
}

function read(stages: unknown): readonly Stage[] | null {
  if (!Array.isArray(stages) || stages.length > MAX_STAGES) return null;
  const given = stages.map((stage) => stageOf(stage));
  const known = given.filter((stage) => stage !== null);
  return known.length === given.length && Buffer.byteLength(JSON.stringify(known)) <= MAX_BYTES ? known : null;
}

function stageOf(given: unknown): Stage | null {
  const { id, label, weight, skipped } = (typeof given === 'string' ? { id: given } : (given ?? {})) as Partial<Record<keyof Stage, unknown>>;
  if (!isText(id)) return null;
  if (label !== undefined && !isText(label)) return null;
  if (weight !== undefined && !(typeof weight === 'number' && weight > 0 && Number.isFinite(weight))) return null;
  if (skipped !== undefined && typeof skipped !== 'boolean') return null;
  return { id, ...(label !== undefined && { label }), ...(weight !== undefined && { weight }), ...(skipped !== undefined && { skipped }) };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= MAX_TEXT_BYTES;
}
