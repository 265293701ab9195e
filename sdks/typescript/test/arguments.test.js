// No call throws, whatever its arguments are: each costs no more than itself. Against the real server.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Job, ProgressReporter, flush, job } from 'milepost/reporter';

import { skip, withServer } from './server.js';

const around = [];
around.push(around);
/** Whatever is asked of it, it throws. */
const rude = () => new Proxy(function () {}, Object.fromEntries(Reflect.ownKeys(Reflect).filter((name) => typeof name === 'string').map((name) => [name, () => {
  throw new Error('rude');
}])));
const ODD = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  'an int': () => 5,
  'a negative int': () => -1,
  'a fraction': () => 1.5,
  'a large number': () => 1e300,
  'the largest number': () => Number.MAX_VALUE,
  'not a number': () => NaN,
  infinite: () => -Infinity,
  'a bigint': () => 10n ** 400n,
  'a symbol': () => Symbol('odd'),
  'a text': () => 'text',
  'no text': () => '',
  'a number as text': () => '3',
  'a long text': () => 'x'.repeat(100_000),
  'a lone surrogate': () => '\ud800',
  'a text object': () => new String('text'),
  'an object': () => ({ a: 1 }),
  'without a prototype': () => Object.create(null),
  'a list': () => [1, 'a', null],
  around: () => around,
  'an error': () => new Error('odd'),
  'an error of odd texts': () => Object.assign(new Error(), { message: { odd: true }, name: 7 }),
  'a date that is none': () => new Date(NaN),
  'a function': () => () => {
    throw new Error('called');
  },
  'without end': () => ({ [Symbol.iterator]: () => ({ next: () => ({ done: false, value: 1 }) }) }),
  rude,
  'rude inside': () => ({ get id() { throw new Error('rude'); }, toString() { throw new Error('rude'); }, toJSON() { throw new Error('rude'); } }),
};

const CALLS = {
  stage: (j, odd) => void (j.stage = odd),
  progress: (j, odd) => void (j.progress = odd),
  message: (j, odd) => void (j.message = odd),
  metadata: (j, odd) => void (j.metadata = odd),
  total: (j, odd) => void (j.total = odd),
  childrenExpected: (j, odd) => void (j.childrenExpected = odd),
  advance: (j, odd) => (j.advance(odd), j.advance(odd)),
  inc: (j, odd) => j.inc(odd),
  stages: (j, odd) => j.stages(odd),
  'a stage': (j, odd) => j.stages([odd]),
  'a stage’s weight': (j, odd) => j.stages([{ id: 'a', weight: odd }]),
  log: (j, odd) => j.log(odd),
  artifact: (j, odd) => j.artifact(odd),
  'an artifact’s url': (j, odd) => j.artifact({ name: 'a', url: odd }),
  acknowledge: (j, odd) => j.acknowledge(odd),
  track: (j, odd) => j.track(odd),
  'track’s total': (j, odd) => [...j.track([1, 2], odd)],
  complete: (j, odd) => j.complete(odd),
  fail: (j, odd) => j.fail(odd),
  cancel: (j, odd) => j.cancel(odd),
  'child’s name': (j, odd) => j.child(odd).complete(),
  'child’s options': (j, odd) => j.child('part', odd).complete(),
  flush: (j, odd) => flush(odd),
};
const OPTIONS = ['total', 'stage', 'stages', 'message', 'metadata', 'attempt', 'ttl', 'tags', 'parent', 'weight', 'childrenExpected', 'unit', 'signal', 'onRequest', 'warn', 'token'];

/** Runs it for each odd value, with a list for warnings, and the state of a job. The console is silent. */
async function forEach(t, prefix, run) {
  t.mock.method(console, 'warn', () => {});
  await withServer(async (url) => {
    const state = async (id) => (await fetch(`${url}/jobs/${id}`)).json();
    await Promise.all(Object.entries(ODD).map(async ([name, odd], n) => {
      const [id, warned] = [`${prefix}-${n}`, []];
      await run({ odd: odd(), name, id, url, warned, warn: (text) => warned.push(text), state });
    }));
  });
}

for (const [name, call] of Object.entries(CALLS)) {
  test(`a job ends whatever it is told: ${name}`, { skip }, async (t) => {
    await forEach(t, 'call', async ({ odd, name: kind, id, url, warn, warned, state }) => {
      const j = new Job('x', { url, id, warn });
      j.advance(2);
      await call(j, odd);
      j.advance();
      await j.complete();
      const { status, current } = await state(id);
      assert.match(String(status), name === 'fail' ? /failed/ : name === 'cancel' ? /cancelled/ : /completed/, `${kind}: ${warned}`);
      assert.ok(!warned.some((text) => /rejected|internal/.test(text)) && warned.length <= 2, `${kind}: ${warned}`);
      if (!['advance', 'inc', 'track', 'track’s total', 'complete', 'fail', 'cancel'].includes(name)) assert.equal(current, 3, kind);
    });
  });
}

for (const option of OPTIONS) {
  test(`a job begins with anything as its ${option}`, { skip }, async (t) => {
    await forEach(t, 'option', async ({ odd, name, id, url, warn, warned, state }) => {
      assert.equal(await job('x', { url, id, warn, [option]: odd }, (j) => (j.advance(), 7)), 7);
      const { status, result } = await state(id);
      assert.deepEqual([status, result], ['completed', 7], `${name}: ${warned}`);
      assert.ok(!warned.some((text) => /rejected|internal/.test(text)) && warned.length <= 1, `${name}: ${warned}`);
    });
  });
}

test('work runs whatever the name, the options and the id are', { skip }, async (t) => {
  await forEach(t, 'work', async ({ odd, id, url, warn, state }) => {
    await job(odd, { url, id, warn }, () => 7);
    assert.equal((await state(id)).result, 7);
    assert.equal(await job('x', { url, id: odd, warn }, () => 7), 7);
    assert.equal(await job('x', { url: odd, warn }, () => 7), 7);
    // A function would be the work.
    if (typeof odd !== 'function') assert.equal(await job('x', odd, () => 7), 7);
  });
});

test('by legacy names, anything is reported', { skip }, async (t) => {
  await forEach(t, 'legacy', async ({ odd, name, id, url, warn, warned, state }) => {
    const reporter = new ProgressReporter({ url, warn });
    await reporter.report(odd, 'reading', 0.5);
    await reporter.reportComplete(odd, 1);
    await reporter.reportError(odd, 1);
    assert.equal((await reporter.getStatus(odd))?.status === 'processing', false);
    await reporter.report(id, odd, odd, odd, odd);
    await reporter.reportComplete(id, odd, odd);
    await reporter.report(`${id}-e`, 'reading', 0.5);
    await reporter.reportError(`${id}-e`, odd, odd);
    await reporter.close();
    assert.deepEqual([(await state(id)).status, (await state(`${id}-e`)).status], ['completed', 'failed'], `${name}: ${warned}`);
  });
});

test('what is ignored is named once, with what it takes', { skip }, () => withServer(async (url) => {
  const warned = [];
  const bad = { url, warn: (text) => warned.push(text), attempt: '2', ttl: '60', message: {}, total: 'x', stage: Symbol('s'), tags: 7, parent: 'a b', weight: 'x', unit: [], childrenExpected: -1, signal: {}, onRequest: 5, token: 5 };
  for (const id of [42, 'k']) {
    const j = new Job('x', { ...bad, id });
    j.advance('3');
    j.advance(2);
    [j.stage, j.message, j.progress, j.total] = [{}, new Error('m'), '0.5', NaN];
    j.acknowledge('stop');
    await j.complete();
    const { status, attempt, current, total, stage, message, ttl } = await (await fetch(`${url}/jobs/${id}`)).json();
    assert.deepEqual([status, attempt, current, total, stage, message, ttl], ['completed', 1, 2, undefined, 'complete', undefined, undefined]);
  }
  assert.deepEqual(warned.map((text) => text.replace('milepost: ', '')).sort(), [
    'acknowledge is ignored: it takes "cancel", "pause" or "resume", not "stop"',
    'advance is ignored: it takes a finite number, not "3"',
    'attempt is ignored: it takes a whole number from 1 to 4294967295, or "next", not "2"',
    'childrenExpected is ignored: it takes a whole number from 0 to 4294967295, not -1',
    'message is ignored: it takes a text, not a value of the type Object',
    'onRequest is ignored: it takes a function, not 5',
    "parent is ignored: it takes a job's id, not \"a b\"",
    'progress is ignored: it takes a number between 0 and 1, or null, not "0.5"',
    'signal is ignored: it takes an AbortSignal, not a value of the type Object',
    'stage is ignored: it takes a text, not a symbol',
    'tags is ignored: it takes a list of texts, not 7',
    'token is ignored: it takes a text',
    'total is ignored: it takes a finite number, not "x"',
    'ttl is ignored: it takes 1 to 2592000 seconds, not "60"',
    'unit is ignored: it takes a text, not a list',
    'weight is ignored: it takes a number above 0, not "x"',
  ]);
}));

test('numbers are texts, and seconds are bounded', { skip }, () => withServer(async (url) => {
  const warned = [];
  const j = new Job('x', { url, id: 'numbers', message: 5, ttl: 1e12, tags: new Set(['a', null, 7]), warn: (text) => warned.push(text) });
  j.stage = 5;
  await j.complete();
  const { message, stage, ttl, tags } = await (await fetch(`${url}/jobs/numbers`)).json();
  assert.deepEqual([message, stage, ttl, tags], ['5', '5', 2_592_000, ['a', '7']]);
  assert.deepEqual(warned, [
    'milepost: ttl is 2592000 seconds at most, so 1000000000000 counts as that',
    'milepost: one of tags is ignored: it takes a text, not null',
  ]);
}));

test('the next attempt is the one after the latest', { skip }, () => withServer(async (url) => {
  const state = async () => (await fetch(`${url}/jobs/again`)).json();
  const warned = [];
  const run = (result) => job('x', { url, id: 'again', attempt: 'next', warn: (text) => warned.push(text) }, () => result);
  for (const n of [1, 2, 3]) {
    await run(n);
    const { attempt, result, status } = await state();
    assert.deepEqual([attempt, result, status], [n, n, 'completed']);
  }
  // An attempt that has not ended goes on.
  await fetch(`${url}/jobs/again`, { method: 'POST', body: '{"attempt":4}' });
  await run('four');
  assert.deepEqual([(await state()).attempt, (await state()).result, warned], [4, 'four', []]);
}));
