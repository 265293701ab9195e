// @ts-check
/** How the instance and its broker are, at a glance. */

import { home } from '../addresses.js';
import { element, write } from '../paint.js';
import { ask } from '../server.js';

/** How often to ask, in milliseconds. */
const EVERY = 5000;

const number = new Intl.NumberFormat();

export class Health {
  /** @type {{ at: number, messages: number } | null} */
  #last = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {Record<string, HTMLElement>} parts */
  constructor(parts) {
    this.parts = parts;
  }

  start() {
    this.stop();
    const again = async () => {
      if (!document.hidden) await this.look();
      this.#timer = setTimeout(again, EVERY);
    };
    this.#timer = setTimeout(again, 0);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  async look() {
    const [ready, stats] = await Promise.allSettled([ask(`${home()}/readyz`), ask(`${home()}/ws/stats`)]);
    this.#paintReady(ready.status === 'fulfilled' ? ready.value.body : null);
    const counts = stats.status === 'fulfilled' && stats.value.ok ? stats.value.body.stats : null;
    this.#paintStats(counts);
  }

  /** @param {{ status?: string, checks?: Record<string, string> } | null} body none: no answer */
  #paintReady(body) {
    const checks = Object.entries(body?.checks ?? {});
    const failed = checks.filter(([, found]) => found !== 'ok');
    const state = !body ? 'unreachable' : body.status === 'ready' ? 'ready' : 'unready';
    this.parts.ready.dataset.state = state;
    write(this.parts['ready-text'], { ready: 'Ready', unready: 'Not ready', unreachable: 'No answer' }[state]);
    this.parts['ready-icon'].setAttribute('href', state === 'ready' ? '#icon-completed' : '#icon-failed');
    const why = failed.map(([name, found]) => `${name}: ${found}`).join('; ');
    const fine = checks.map(([name]) => name).join(', ');
    write(this.parts['ready-why'], state === 'ready' ? `${fine} answer` : why);
  }

  /** @param {Record<string, number> | null} stats */
  #paintStats(stats) {
    const now = performance.now();
    /** @type {[string, string][]} */
    const figures = [];
    if (stats) {
      const last = this.#last;
      this.#last = { at: now, messages: stats.messages_sent };
      figures.push(['Connections', number.format(stats.active_connections)], ['Jobs watched', number.format(stats.active_jobs)]);
      // A lower count is that of another process.
      if (last && stats.messages_sent >= last.messages) {
        const rate = ((stats.messages_sent - last.messages) / (now - last.at)) * 1000;
        figures.push(['Messages', `${number.format(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate))}/s`]);
      }
      figures.push(['Errors', number.format(stats.errors)]);
    } else {
      this.#last = null;
    }
    const list = this.parts.figures;
    while (list.childElementCount > figures.length) list.lastElementChild?.remove();
    while (list.childElementCount < figures.length) {
      const pair = document.createElement('div');
      pair.append(element('dt', ''), element('dd', ''));
      list.append(pair);
    }
    figures.forEach(([name, value], index) => {
      const [term, figure] = list.children[index].children;
      write(term, name);
      write(figure, value);
    });
  }
}
