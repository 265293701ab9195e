/** Links to what a job made: the attribute `artifacts` of the protocol's section 2. */

/** A link to what a job made. */
export interface Artifact {
  /** What people read. */
  name: string;
  url: string;
  /** What kind of file it is, such as `text/csv`. */
  mediaType?: string;
  /** In bytes. */
  size?: number;
}

/** An artifact as it is sent. */
export interface SentArtifact {
  readonly name: string;
  readonly url: string;
  readonly media_type?: string;
  readonly size?: number;
}

const MAX_ARTIFACTS = 64;
/** Of the JSON of all artifacts. */
const MAX_BYTES = 8192;

/** An artifact; null: it has no name or no URL, or one of its fields is of another type. Whatever is given, nothing is thrown. */
export function artifactOf(given: unknown): SentArtifact | null {
  try {
    return read(given);
  } catch {
    // Reading it throws.
    return null;
  }
}

function read(given: unknown): SentArtifact | null {
  const { name, url, mediaType, size } = (given ?? {}) as Partial<Record<keyof Artifact, unknown>>;
  if (!isText(name) || !isText(url)) return null;
  if (mediaType !== undefined && !isText(mediaType)) return null;
  if (size !== undefined && !(typeof size === 'number' && Number.isFinite(size))) return null;
  return { name, url, ...(mediaType !== undefined && { media_type: mediaType }), ...(size !== undefined && { size }) };
}

/** With one more, which replaces one of the same name; null: there is no room for it. */
export function withArtifact(known: readonly SentArtifact[], artifact: SentArtifact): readonly SentArtifact[] | null {
  const all = [...known.filter(({ name }) => name !== artifact.name), artifact];
  return all.length <= MAX_ARTIFACTS && Buffer.byteLength(JSON.stringify(all)) <= MAX_BYTES ? all : null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.isWellFormed();
}
