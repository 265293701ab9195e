// @ts-check
/** Tokens as an application signs them: HS256, with the claim `milepost`. */
import { createHmac } from 'node:crypto';

export const SECRET = 'a secret of at least thirty-two bytes, for tests';

/** @param {object | string} part */
const encode = (part) => Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');

/**
 * @param {{ watch?: string[], report?: string[], control?: string[], operate?: boolean }} permissions
 * @param {number} [seconds] how long it holds
 */
export function mint(permissions, seconds = 60) {
  const claims = { exp: Date.now() / 1000 + seconds, jti: Math.random().toString(36), milepost: permissions };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}
