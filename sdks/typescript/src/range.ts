/** Progress that a worker gives: 0…1. */
import { type Source, warn } from './sender.js';

/** A progress that is at most this far outside of 0…1 was rounded; it is not in percent. */
const ROUNDING = 0.001;
const warned = new WeakSet<Source>();

export function clamp(progress: number): number {
  return Math.min(1, Math.max(0, progress));
}

/** Warns of a job's first progress that is outside of 0…1. */
export function checkRange(source: Source, progress: number): void {
  if (!(progress < -ROUNDING || progress > 1 + ROUNDING) || warned.has(source)) return;
  warned.add(source);
  warn(source.warn, `${source.id}: progress must be between 0 and 1, so ${progress} counts as ${clamp(progress)}; 50 % is 0.5`);
}
