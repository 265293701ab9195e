// @ts-check
/** What a page and the session that it shares with other tabs send each other: plain objects, which a port can carry. */

/** @typedef {import('./state.js').State} State */

/**
 * Whether updates can arrive. It says nothing about the job: the last known state stays. `failed`: what answers at the
 * address is no Milepost server.
 * @typedef {'connecting' | 'open' | 'reconnecting' | 'offline' | 'closed' | 'failed'} Connection
 */

/** @typedef {{ mode?: 'all' | 'latest' | undefined, max_rate?: number | undefined }} Pace */

/**
 * What a session sends to a page.
 * @typedef {{ t: 'state', job: string, state: State } | { t: 'unknown', job: string }
 *   | { t: 'unreadable', job: string, reason: string }
 *   | { t: 'rejected', job: string, reason: string, code: number }} JobMessage
 * @typedef {JobMessage | { t: 'connection', connection: Connection, reason: string, code: number } | ClockMessage} Message
 * @typedef {{ t: 'clock', skew: number }} ClockMessage `skew`: the server's clock less this one's, in milliseconds
 *
 * `code`: why it was refused, as a close code (section 7); 0: it was not.
 *
 * What a page sends to its session.
 * @typedef {{ t: 'watch' | 'unwatch', key: string, job: string, since?: string | undefined, pace: Pace }} WatchCommand
 * @typedef {WatchCommand | { t: 'open', lock?: string | undefined } | { t: 'probe' } | { t: 'bye' }} Command
 */

export {};
