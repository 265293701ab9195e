/** Tokens that let a page watch a job: section 15 of `spec/README.md`. */

import { isJobId } from './job-id.js';

export interface TokenOptions {
  /** For how long the token is valid, 1…86,400; by default 900. It cannot be revoked. */
  seconds?: number;
  /** The server's `token_secret`. If absent, `MILEPOST_TOKEN_SECRET`. */
  secret?: string;
}

/** In seconds. */
const LONGEST = 86_400;
/** What is not an id to a server: all jobs with a tag, or of a parent. */
const OTHER_PATTERN = /^(tag|parent):/;

/**
 * A token with which a page may watch that job, and nothing else. It is a JWT signed with HS256. For other claims or keys, use a
 * library for JWTs.
 * @throws {RangeError} if the id or the time is not valid
 * @throws {Error} if there is no secret
 */
export async function watchToken(jobId: string, { seconds = 900, secret = process.env['MILEPOST_TOKEN_SECRET'] }: TokenOptions = {}): Promise<string> {
  // A file's last line break is none of the secret.
  const known = secret?.trim();
  if (!known) throw new Error('there is no secret to sign with: give one, or set MILEPOST_TOKEN_SECRET');
  if (!(seconds >= 1 && seconds <= LONGEST)) throw new RangeError(`a token is valid for 1 to ${LONGEST} seconds, not ${seconds}`);
  if (!isJobId(jobId) || OTHER_PATTERN.test(jobId)) throw new RangeError(`no token can name the job ${JSON.stringify(jobId)} alone`);
  const claims = { exp: Math.floor(Date.now() / 1000 + seconds), milepost: { watch: [jobId] } };
  const text = new TextEncoder();
  const signed = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => encode(text.encode(JSON.stringify(part)))).join('.');
  const key = await crypto.subtle.importKey('raw', text.encode(known), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const signature = await crypto.subtle.sign('HMAC', key, text.encode(signed));
  return `${signed}.${encode(new Uint8Array(signature))}`;
}

function encode(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
