// The hooks as npm gets them, with React itself, a document of jsdom, and a server that is a fake socket.
import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';

import { JSDOM } from 'jsdom';

const { window } = new JSDOM('<div id="root"></div>', { url: 'http://page/', pretendToBeVisual: true });
Object.assign(globalThis, { window, document: window.document, location: window.location, IS_REACT_ACT_ENVIRONMENT: true });
Object.defineProperty(globalThis, 'navigator', { value: window.navigator, configurable: true });
globalThis.addEventListener = window.addEventListener.bind(window);
/** Frames come when a test says so. */
let frames = [];
globalThis.requestAnimationFrame = (act) => frames.push(act);
globalThis.cancelAnimationFrame = () => {};
after(() => window.close());

class FakeSocket {
  static all = [];
  sent = [];
  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {}
  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
}
globalThis.WebSocket = FakeSocket;

const { StrictMode, act, createElement: h } = await import('react');
const { createRoot } = await import('react-dom/client');
const { renderToString } = await import('react-dom/server');
const { useJob, useJobs } = await import('milepost/react');

let servers = 0;
let url;
let root;
let renders = 0;
beforeEach(() => {
  [frames, FakeSocket.all, renders] = [[], [], 0];
  url = `http://server-${++servers}`;
  root = createRoot(document.getElementById('root'));
});
afterEach(() => act(() => root.unmount()));

const render = (element) => act(() => root.render(element));
const frame = () => act(() => {
  for (const each of frames.splice(0)) each();
});
const shown = () => document.getElementById('root').textContent;
const state = (job, number, more = {}) => ({ job_id: job, status: 'processing', stage: 's', attempt: 1, timestamp: 't', position: `e-${number}`, ...more });

function One({ id }) {
  renders += 1;
  const { state, connection } = useJob(id, { url });
  return h('p', null, `${connection} ${state ? `${state.job_id} ${state.progress ?? state.status}` : 'nothing'}`);
}
function Many({ ids }) {
  renders += 1;
  const jobs = useJobs([...ids], { url, maxRate: 10 });
  return h('p', null, [...jobs].map(([id, { state }]) => `${id}=${state?.progress}`).join(' '));
}

test('a job is rendered live, at most once a frame', async () => {
  await render(h(One, { id: 'a' }));
  assert.equal(shown(), 'connecting nothing');
  const [socket] = FakeSocket.all;
  socket.say({ type: 'connected' });
  assert.deepEqual(socket.sent, [{ type: 'subscribe', job_id: 'a', mode: 'latest' }]);
  await frame();
  assert.equal(shown(), 'open nothing');
  const before = renders;
  for (let n = 1; n <= 10_000; n += 1) socket.say(state('a', n, { progress: n / 10_000 }));
  await frame();
  assert.equal(shown(), 'open a 1');
  assert.ok(renders - before <= 2, `${renders - before}`);
  await frame();
  assert.ok(renders - before <= 2);
});

test('components share the socket of a token function', async () => {
  const asked = [];
  const shared = async () => (asked.push('shared'), 'token');
  const Guarded = ({ id, own = '' }) => {
    useJob(id, { url, token: own ? async () => (asked.push(own), 'other') : shared });
    return null;
  };
  const jobs = (own) => [h(Guarded, { id: 'a', key: 1 }), h(Guarded, { id: 'b', key: 2 }), h(Guarded, { id: 'c', key: 3, own })];
  await render(jobs('first'));
  await render(jobs('second'));
  assert.deepEqual(FakeSocket.all.map(({ protocols }) => protocols[1]).sort(), ['milepost.bearer.other', 'milepost.bearer.token']);
  assert.deepEqual(asked, ['shared', 'first']);
  // The latest function is asked.
  const own = FakeSocket.all.find(({ protocols }) => protocols[1].endsWith('other'));
  await act(() => own.onclose({ code: 4401, reason: '' }));
  await act(() => new Promise((resolve) => setTimeout(resolve, 1100)));
  assert.deepEqual(asked, ['shared', 'first', 'second']);
});

test('an end is shown, and the attempt after it', async () => {
  await render(h(One, { id: 'a' }));
  const [socket] = FakeSocket.all;
  socket.say({ type: 'connected' });
  socket.say(state('a', 1, { status: 'failed' }));
  await frame();
  assert.equal(shown(), 'open a failed');
  socket.say(state('a', 2, { attempt: 2, progress: 0.1 }));
  await frame();
  assert.equal(shown(), 'open a 0.1');
});

test('after a change of the id, the earlier job is never rendered', async () => {
  const seen = [];
  const Probe = ({ id }) => {
    const { state } = useJob(id, { url });
    seen.push(`${id} ${state?.job_id}`);
    return null;
  };
  await render(h(Probe, { id: 'a' }));
  const [socket] = FakeSocket.all;
  socket.say({ type: 'connected' });
  socket.say(state('a', 1));
  await frame();
  await render(h(Probe, { id: 'b' }));
  socket.say(state('a', 2));
  socket.say(state('b', 1));
  await frame();
  assert.ok(seen.includes('a a') && seen.includes('b b'), seen.join());
  assert.ok(!seen.includes('b a') && !seen.includes('a b'), seen.join());
  assert.deepEqual(socket.sent.map(({ type, job_id }) => `${type} ${job_id}`), ['subscribe a', 'unsubscribe a', 'subscribe b']);
  await render(h(Probe, { id: null }));
  assert.equal(seen.at(-1), 'null undefined');
});

for (const [id, watched] of [[42, ['42']], ['a b', ['a b']], ['{', ['{']], ['[1]', ['[1]']], [0, ['0']], [null, []], [undefined, []], [false, []], ['', []]]) {
  test(`the id ${JSON.stringify(id)} is watched as ${JSON.stringify(watched)}`, async () => {
    await render(h(One, { id }));
    assert.equal(shown(), 'connecting nothing');
    const [socket] = FakeSocket.all;
    socket?.say({ type: 'connected' });
    assert.deepEqual(socket?.sent.map(({ job_id }) => job_id) ?? [], watched);
    if (!socket) return;
    socket.say({ type: 'error', problem: 'invalid-job-id', message: 'no such id', job_id: watched[0] });
    await frame();
    assert.equal(shown(), 'closed nothing');
    await render(h(Many, { ids: [id, 'c', id] }));
    assert.ok(FakeSocket.all.at(-1).sent.some(({ job_id }) => job_id === 'c'));
  });
}

test('an equal array of jobs changes nothing', async () => {
  await render(h(Many, { ids: ['a', 'b'] }));
  const [socket] = FakeSocket.all;
  socket.say({ type: 'connected' });
  for (const job of ['a', 'b']) socket.say(state(job, 1, { progress: 0.5 }));
  await frame();
  assert.equal(shown(), 'a=0.5 b=0.5');
  await render(h(Many, { ids: ['b', 'a'] }));
  assert.equal(socket.sent.length, 2);
  await render(h(Many, { ids: ['b', 'c'] }));
  assert.equal(shown(), 'b=0.5 c=undefined');
  assert.deepEqual(socket.sent.slice(2).map(({ type, job_id }) => `${type} ${job_id}`), ['unsubscribe a', 'subscribe c']);
  assert.equal(FakeSocket.all.length, 1);
});

test('strict mode leaves one watch, and unmounting none', async () => {
  await render(h(StrictMode, null, h(One, { id: 'a' })));
  const [socket] = FakeSocket.all;
  socket.say({ type: 'connected' });
  assert.equal(FakeSocket.all.length, 1);
  assert.equal(socket.sent.filter(({ type }) => type === 'subscribe').length, 1);
  socket.say(state('a', 1, { progress: 0.3 }));
  await frame();
  assert.equal(shown(), 'open a 0.3');
  await render(null);
  assert.deepEqual(socket.sent.at(-1), { type: 'unsubscribe', job_id: 'a' });
});

test('on a server it renders an unknown job, and does not connect', () => {
  assert.equal(renderToString(h(One, { id: 'a' })), '<p>connecting nothing</p>');
  assert.equal(FakeSocket.all.length, 0);
});

test('a hidden page renders too, and each end is reported once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 });
  const ends = [];
  function Two({ name }) {
    const { state, health } = useJob('a', { url, onEnd: ({ result }) => ends.push(`${name} ${result}`) });
    return h('p', null, `${state?.progress ?? state?.status ?? 'nothing'} ${health}`);
  }
  render(h(Two, { name: 'first' }));
  const [socket] = FakeSocket.all;
  act(() => {
    socket.say({ type: 'connected' });
    socket.say(state('a', 1, { progress: 0.5 }));
  });
  act(() => t.mock.timers.tick(1000));
  assert.equal(shown(), '0.5 ok');
  act(() => t.mock.timers.tick(36_000));
  act(() => socket.say({ type: 'ping', timestamp: new Date(1_037_000).toISOString() }));
  act(() => t.mock.timers.tick(6000));
  assert.equal(shown(), '0.5 lost');
  render(h(Two, { name: 'second' }));
  act(() => socket.say(state('a', 2, { status: 'completed', result: 'done' })));
  act(() => t.mock.timers.tick(1000));
  assert.equal(shown(), 'completed ok');
  assert.deepEqual(ends, ['second done']);
});

test('what a server rendered of `initial` hydrates as it is, until an update arrives', async () => {
  const { hydrateRoot } = await import('react-dom/client');
  const Fetched = () => {
    const { state, known } = useJob('a', { url, initial: state0 });
    return h('p', null, `${state?.progress} ${known}`);
  };
  const state0 = state('a', 4, { progress: 0.4 });
  const box = document.createElement('div');
  box.innerHTML = renderToString(h(Fetched));
  assert.equal(box.textContent, '0.4 true');
  assert.equal(FakeSocket.all.length, 0);
  const complaints = [];
  const hydrated = await act(() => hydrateRoot(box, h(Fetched), { onRecoverableError: (error) => complaints.push(error) }));
  await frame();
  assert.deepEqual([box.textContent, complaints], ['0.4 true', []]);
  const [socket] = FakeSocket.all;
  socket.say({ type: 'connected' });
  socket.say(state('a', 5, { progress: 0.5 }));
  await frame();
  assert.equal(box.textContent, '0.5 true');
  act(() => hydrated.unmount());
});

test('time left and silence are fields that cause renders', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 2_000_000 });
  const seen = [];
  function Facts() {
    const { timeLeft, silentFor, isStalled } = useJob('a', { url });
    seen.push([timeLeft, silentFor, isStalled]);
    return null;
  }
  render(h(Facts));
  const [socket] = FakeSocket.all;
  act(() => {
    socket.say({ type: 'connected', timestamp: new Date(2_000_000).toISOString() });
    socket.say(state('a', 1, { progress: 0.5, health: 'ok', eta: new Date(2_060_000).toISOString(), last_seen_at: new Date(2_000_000).toISOString() }));
  });
  frame();
  assert.deepEqual(seen.at(-1), [60_000, 0, false]);
  const renders = seen.length;
  act(() => t.mock.timers.tick(5000));
  frame();
  assert.equal(seen.length, renders, 'a tenth of it has not passed');
  act(() => t.mock.timers.tick(3000));
  frame();
  assert.equal(seen.at(-1)[0] <= 53_000, true, seen.at(-1).join());
  act(() => socket.say(state('a', 2, { progress: 0.5, health: 'stalled', last_seen_at: new Date(2_000_000).toISOString() })));
  frame();
  assert.deepEqual(seen.at(-1), [null, 8000, true]);
});

test('jobs are watched while they match a selection', async (t) => {
  const asked = [];
  let listed = ['a', 'b'];
  t.mock.method(globalThis, 'fetch', async (address, { headers }) => {
    asked.push([address, headers.authorization]);
    return Response.json({ jobs: listed.map((id) => ({ job_id: id })) });
  });
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const Tagged = ({ tag }) => h('p', null, [...useJobs({ tag, limit: 10 }, { url, token: 'k' }).keys()].join(' '));
  await render(h(Tagged, { tag: 'nightly' }));
  await act(async () => {});
  FakeSocket.all[0].say({ type: 'connected' });
  await frame();
  assert.equal(shown(), 'a b');
  assert.deepEqual(asked, [[`${url}/jobs?tag=nightly&limit=10`, 'Bearer k']]);
  await render(h(Tagged, { tag: 'nightly' }));
  assert.equal(asked.length, 1, 'another object of the same selection is the same');
  listed = ['b', 'c'];
  await act(async () => t.mock.timers.tick(5000));
  await act(async () => {});
  await frame();
  assert.equal(shown(), 'b c');
  await render(null);
  await act(async () => t.mock.timers.tick(20_000));
  assert.equal(asked.length, 2);
});
