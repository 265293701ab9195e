// The fixtures of the protocol, as far as the browser's side implements it. Run by `node --test`.
//
// Left out: update.json, and what of fold.json says how a state is made. No client folds: servers do, and every state
// is shown as it comes. What the package's reporter makes of update.json, and which job ids get through, is tested with
// the package: `sdks/typescript/test/fixtures.test.js`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mock, test } from 'node:test';

import { Job, timeOf } from './job.js';
import { isEnd, watch } from './milepost.js';
import { reconnectDelay } from './milepost/delay.js';
import { compare } from './milepost/state.js';

const fixture = (name) => JSON.parse(readFileSync(new URL(`../spec/fixtures/${name}.json`, import.meta.url), 'utf8'));

test('close-codes.json: whether to come back, and when', () => {
  const { codes, others } = fixture('close-codes');
  for (const { code, reconnect, min_ms, max_ms } of [...codes, ...others]) {
    const after = (reason, failures, draw) => reconnectDelay(code, reason, failures, draw);
    if (reconnect === 'no') assert.equal(after('', 0, 0.5), null, `${code}`);
    else if (reconnect === 'after') assert.deepEqual([after('', 9, 0), after('', 9, 1)], [min_ms, max_ms]);
    else {
      if (reconnect === 'as-requested') {
        assert.equal(after('{"reason":"restart","retry_ms":1234}', 9, 0.5), 1234);
        assert.equal(after('{"reason":"restart","retry_ms":1e99}', 9, 0.5), 600_000);
      }
      assert.deepEqual([0, 1, 2, 3, 4, 5, 99].map((n) => after('', n, 1)), [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
      assert.equal(after('', 5, 0), 0);
    }
  }
});

test('position.json: which of two states is newer', () => {
  const word = (order) => (Number.isNaN(order) ? 'foreign' : order < 0 ? 'behind' : order > 0 ? 'ahead' : 'current');
  for (const { since, present, is } of fixture('position').standings) {
    assert.equal(word(compare(since, present)), is, `${since} ${present}`);
  }
});

test('position.json: which states a watcher must still see', () => {
  // Only brokers know which epoch the job has left.
  for (const { seen, state, is_newer: isNewer } of fixture('position').newer.filter(({ left }) => !left)) {
    assert.equal(!(compare(seen, state) >= 0), isNewer, `${seen} ${state}`);
  }
});

test('timestamp.json: the worker’s clock, in milliseconds', () => {
  const { read, unreadable } = fixture('timestamp');
  for (const { text, micros } of read) assert.equal(timeOf({ timestamp: text }), Math.floor(micros / 1000), text);
  for (const text of unreadable) assert.equal(timeOf({ timestamp: text }), null, text);
});

/** Whatever is said over it reaches the one watch. */
class FakeSocket {
  constructor() {
    FakeSocket.last = this;
  }
  send() {}
  close() {}
}

let servers = 0;
/** A watch whose socket has opened. */
function watched(job) {
  const received = [];
  const url = `http://server-${++servers}`;
  const watching = watch(job, {
    url,
    follow: true,
    onState: (state) => received.push(state),
    onEnd: ({ position }) => received.push(`end ${position}`),
    onError: ({ message }) => received.push(`refused: ${message}`),
  });
  const say = (text) => FakeSocket.last.onmessage({ data: text });
  say('{"type":"connected"}');
  return { watching, received, say };
}

/** The states that a file has, as text, case by case. */
function states(name) {
  const { job_id: id, cases, accepted = [] } = fixture(name);
  const all = cases ?? accepted.map((each) => ({ name: each.name, steps: [each] }));
  return { id, cases: all.map(({ name, steps }) => [name, steps.flatMap(({ state, state_text: text }) => text ?? (state ? JSON.stringify(state) : []))]) };
}

for (const name of ['fold', 'update']) {
  test(`${name}.json: each state and each end is delivered once`, (t) => {
    const real = globalThis.WebSocket;
    mock.timers.enable({ apis: ['setTimeout'] });
    globalThis.WebSocket = FakeSocket;
    t.after(() => {
      mock.timers.reset();
      globalThis.WebSocket = real;
    });
    const { id, cases } = states(name);
    for (const [what, texts] of cases) {
      const { watching, received, say } = watched(id);
      const job = new Job(id);
      const expected = [];
      const ends = new Set();
      for (const text of texts) {
        const state = JSON.parse(text);
        say(text);
        say(text);
        assert.deepEqual(watching.state, state, what);
        assert.equal(watching.position, state.position, what);
        expected.push(state);
        const end = `${state.attempt} ${state.status} ${state.timestamp}`;
        if (isEnd(state) && !ends.has(end)) expected.push(`end ${state.position}`);
        ends.add(end);
        // What the pages read out of it.
        job.update(state, 0);
        assert.equal(job.hasEnded, isEnd(state), what);
        assert.equal(job.share, state.progress ?? null, what);
        for (const words of [job.word, job.stage, job.message, job.error, job.percent]) assert.equal(typeof words, 'string', what);
      }
      assert.deepEqual(received, expected, what);
      watching.close();
    }
  });
}

test('problems.json: a rejection ends a watch, others reconnect', async (t) => {
  const real = globalThis.WebSocket;
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
    globalThis.WebSocket = real;
  });
  // As in Node 20: by requests alone.
  delete globalThis.WebSocket;
  for (const { name, type, status, title } of fixture('problems').problems) {
    mock.timers.enable({ apis: ['setTimeout'] });
    let asked = 0;
    const answer = mock.method(globalThis, 'fetch', async () => {
      asked += 1;
      return new Response(JSON.stringify({ type, status, title, detail: `${title}: because` }), { status, headers: { 'content-type': 'application/problem+json', ...(name === 'unknown-job' && { 'retry-after': '1' }) } });
    });
    const received = [];
    const watching = watch('j', { url: `http://server-${++servers}`, onError: ({ message }) => received.push(message) });
    for (let second = 0; second < 10; second += 1) {
      mock.timers.tick(2000);
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
    if (name === 'not-found') assert.match(`${received} ${asked}`, /^no Milepost server at .* 1$/);
    else if ([400, 401, 403].includes(status)) assert.deepEqual([received, asked], [[`${title}: because`], 1], type);
    else assert.ok(received.length === 0 && asked > 1, `${type}: ${received} ${asked}`);
    watching.close();
    answer.mock.restore();
    mock.timers.reset();
  }
});
