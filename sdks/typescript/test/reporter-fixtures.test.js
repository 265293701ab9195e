// spec/fixtures/reporter.json: what a worker calls and a server answers, and what is then sent when. The clock, the timers
// and the network are this test's own, so nothing waits.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mock, test } from 'node:test';

import { Job, flush } from 'milepost/reporter';

const read = (name) => JSON.parse(readFileSync(new URL(`../../../spec/fixtures/${name}.json`, import.meta.url), 'utf8'));
const { cases } = read('reporter');
const problems = new Map(read('problems').problems.map((problem) => [problem.type.split(':').at(-1), problem]));
const KEYS = ['name', 'until', 'calls', 'answers', 'requests', 'more', 'notices'];
const { setImmediate: turn } = globalThis;

/** `{"repeat": [text, times]}` stands for a long text, wherever it is. */
function expanded(value) {
  if (value === null || typeof value !== 'object') return value;
  if ('repeat' in value) return value.repeat[0].repeat(value.repeat[1]);
  return Array.isArray(value) ? value.map(expanded) : Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expanded(item)]));
}

const problem = (name) => ({ ...problems.get(name), detail: 'because' });

/** A clock that stands still until a test moves it, with the timers that are set on it. */
class Clock {
  now = 0;
  #timers = new Map();

  install() {
    mock.method(performance, 'now', () => this.now);
    mock.method(globalThis, 'setTimeout', (call, ms = 0) => {
      const timer = { unref: () => timer, ref: () => timer };
      this.#timers.set(timer, { call, at: this.now + ms });
      return timer;
    });
    mock.method(globalThis, 'clearTimeout', (timer) => this.#timers.delete(timer));
  }

  get next() {
    return Math.min(Infinity, ...[...this.#timers.values()].map(({ at }) => at));
  }

  async goTo(now) {
    this.now = now;
    await settled();
    for (const [timer, { call, at }] of this.#timers) {
      if (at <= now && this.#timers.delete(timer)) call();
    }
    await settled();
  }
}

/** All that was under way is done. */
async function settled() {
  for (let n = 0; n < 10; n += 1) await new Promise((resolve) => turn(resolve));
}

/** `of` is the job that is meant; absent: each. */
const requestOf = ({ requested, of }, job) => (requested && (of ?? job) === job ? { requested } : {});

function answer(given, updates) {
  const lines = updates.map(({ job_id }, n) => (given.lines?.[n] ? problem(given.lines[n]) : { job_id, position: '1-1', ...requestOf(given, job_id) }));
  const whole = given.problem && problem(given.problem);
  const body = given.body ?? (whole ? JSON.stringify(whole) : lines.map((line) => JSON.stringify(line)).join('\n'));
  const headers = given.retry_after === undefined ? {} : { 'retry-after': `${given.retry_after}` };
  return new Response(body, { status: given.status ?? whole?.status ?? 200, headers });
}

/** Makes the worker's call. */
function act(jobs, call, options) {
  const { at, job, jobs: count, ...rest } = call;
  const [[verb, given]] = Object.entries(rest);
  const value = expanded(given);
  if (verb === 'flush') return void flush(value);
  if (verb === 'begin') {
    for (const id of count ? Array.from({ length: count }, (_, n) => `job-${n}`) : [job]) jobs.set(id, new Job(value.name ?? '', { ...options, ...value, id }));
    return;
  }
  const known = jobs.get(job);
  if (['stage', 'progress', 'message', 'metadata'].includes(verb)) known[verb] = value;
  else if (['advance', 'stages', 'complete', 'fail', 'cancel', 'acknowledge'].includes(verb)) void known[verb](value);
  else if (verb === 'artifact') known.artifact(Object.fromEntries(Object.entries(value).map(([key, item]) => [key === 'media_type' ? 'mediaType' : key, item])));
  else if (verb === 'cancel_requested') assert.equal(known.signal.aborted, value);
  else assert.fail(`no such call: ${verb}`);
}

/** Equal in each field that is named; null means absent, but for `progress`. What is lost is always named. */
function check(update, wanted) {
  const { absent = [], ...fields } = wanted;
  assert.deepEqual(absent.filter((field) => field in update), []);
  for (const [field, value] of Object.entries(fields)) {
    if (field === 'progress' && value !== null) assert.ok(Math.abs(update.progress - value) < 1e-9, `${update.progress}`);
    else assert.deepEqual(field === 'progress' ? update.progress : update[field] ?? null, expanded(value), field);
  }
  for (const field of ['result', 'error', 'truncated']) assert.ok(field in wanted || !(field in update), field);
}

for (const each of cases) {
  test(each.name, async (t) => {
    assert.deepEqual(Object.keys(each).filter((key) => !KEYS.includes(key)), []);
    const answers = (each.answers ?? []).flatMap((one) => Array.from({ length: one.times ?? 1 }, () => one));
    const clock = new Clock();
    const jobs = new Map();
    const sent = [];
    const warned = [];
    clock.install();
    t.after(() => mock.restoreAll());
    mock.method(globalThis, 'fetch', async (_, { body }) => {
      const updates = body.split('\n').map((line) => JSON.parse(line));
      sent.push({ at: clock.now, updates });
      const given = answers.shift() ?? {};
      if (given.status === 0) throw new TypeError('no answer');
      return answer(given, updates);
    });
    const options = { url: `http://${each.name.replace(/\W/g, '')}`, warn: (text) => warned.push(text) };
    const calls = [...each.calls];
    for (;;) {
      while (calls.length && calls[0].at <= clock.now) act(jobs, calls.shift(), options);
      await clock.goTo(clock.now);
      const next = Math.min(clock.next, calls[0]?.at ?? Infinity);
      if (next > each.until) break;
      await clock.goTo(Math.max(clock.now, next));
    }
    const times = sent.map(({ at }) => at);
    assert.ok(each.more ? times.length >= each.requests.length : times.length === each.requests.length, `${times}`);
    for (const [n, { at, count, updates }] of each.requests.entries()) {
      assert.ok(at[0] <= times[n] && times[n] <= at[1], `${times}`);
      assert.equal(sent[n].updates.length, count ?? updates.length);
      for (const [m, wanted] of (updates ?? []).entries()) check(sent[n].updates[m], wanted);
    }
    // Each job has the same place to warn at: what concerns a server is said once.
    assert.equal(warned.length, each.notices ?? 0, warned.join());
    // Whatever is left over ends with this test.
    answers.length = 0;
    for (const job of jobs.values()) void job.cancel();
    await clock.goTo(clock.now);
    await clock.goTo(clock.now + 400_000);
  });
}
