// @ts-check
/** A session that several pages share, and who of them watches which job. */

import { compare } from './state.js';
import { Session } from './session.js';

/**
 * @typedef {import('./messages.js').Command} Command
 * @typedef {import('./messages.js').JobMessage} JobMessage
 * @typedef {import('./messages.js').Message} Message
 * @typedef {import('./messages.js').Pace} Pace
 * @typedef {import('./messages.js').WatchCommand} WatchCommand
 */

/** @typedef {{ port: (message: Message) => void, pace: Pace }} Subscriber */

/**
 * A session that several pages share. A port is one of them.
 * @internal
 */
export class SharedSession {
  /** By job. @type {Map<string, { subscribers: Map<string, Subscriber>, pace: string, last: JobMessage | undefined }>} */
  #jobs = new Map();
  /** @type {Set<(message: Message) => void>} */
  #ports = new Set();
  /** @type {Message} */
  #connection = { t: 'connection', connection: 'connecting', reason: '', code: 0 };
  /** @type {Message | null} */
  #clock = null;

  /**
   * @param {string} url
   * @param {import('./watch.js').Token | null | undefined} token
   */
  constructor(url, token) {
    this.session = new Session(url, token, (message) => this.#notify(message));
  }

  /**
   * @param {(message: Message) => void} port
   * @param {Command} command
   */
  receive(port, command) {
    if (command.t === 'open') {
      this.#ports.add(port);
      port(this.#connection);
      if (this.#clock) port(this.#clock);
      // The page holds this lock as long as it lives.
      if (command.lock) navigator.locks.request(command.lock, () => this.#leave(port));
    } else if (command.t === 'watch') this.#watch(port, command);
    else if (command.t === 'unwatch') this.#unwatch(command.job, command.key);
    else if (command.t === 'probe') this.session.probe();
    else this.#leave(port);
  }

  /**
   * @param {(message: Message) => void} port
   * @param {WatchCommand} command
   */
  #watch(port, { key, job: id, since, pace }) {
    const job = this.#jobs.get(id) ?? { subscribers: new Map(), pace: '', last: undefined };
    this.#jobs.set(id, job);
    job.subscribers.set(key, { port, pace });
    const merged = merge(job.subscribers);
    const text = JSON.stringify(merged);
    const { last } = job;
    if (last) port(last);
    if (last?.t !== 'state') this.session.watch(id, job.subscribers.size > 1 ? undefined : since, merged);
    else {
      const { position } = last.state;
      // Who comes with an older position than ours is sent what it missed; to the others that is no message.
      const isBehind = compare(since, position) < 0;
      if (isBehind || job.pace !== text) this.session.watch(id, isBehind ? since : position, merged);
    }
    job.pace = text;
  }

  /**
   * @param {string} id
   * @param {string} key
   */
  #unwatch(id, key) {
    const job = this.#jobs.get(id);
    if (!job?.subscribers.delete(key) || job.subscribers.size) return;
    this.#jobs.delete(id);
    this.session.unwatch(id);
  }

  /** @param {(message: Message) => void} port */
  #leave(port) {
    this.#ports.delete(port);
    for (const [id, job] of this.#jobs) {
      for (const [key, subscriber] of job.subscribers) if (subscriber.port === port) this.#unwatch(id, key);
    }
  }

  /** @param {Message} message */
  #notify(message) {
    let ports = this.#ports;
    if (message.t === 'connection') this.#connection = message;
    else if (message.t === 'clock') this.#clock = message;
    else {
      const job = this.#jobs.get(message.job);
      if (!job) return;
      job.last = message;
      ports = new Set([...job.subscribers.values()].map((subscriber) => subscriber.port));
      if (message.t === 'rejected') this.#jobs.delete(message.job);
    }
    for (const port of ports) port(message);
  }
}

/**
 * What satisfies all of them.
 * @param {Map<string, { pace: Pace }>} subscribers
 * @returns {Pace}
 */
function merge(subscribers) {
  const paces = [...subscribers.values()].map((subscriber) => subscriber.pace);
  const rates = paces.map((pace) => pace.max_rate ?? Infinity);
  return {
    mode: paces.every((pace) => pace.mode === 'latest') ? 'latest' : undefined,
    max_rate: rates.includes(Infinity) ? undefined : Math.max(...rates),
  };
}
