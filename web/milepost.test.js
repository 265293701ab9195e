// Run by `node --test`, without anything to install. Time passes when a test says so.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { watch, watchLog } from './milepost/watch.js';
import { Session } from './milepost/session.js';
import { SharedSession } from './milepost/shared-session.js';

/** What a server sees of a socket. */
class FakeSocket {
  static all = [];
  sent = [];
  isOpen = true;
  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.isOpen = false;
  }
  greet() {
    this.say({ type: 'connected' });
  }
  say(message) {
    this.onmessage({ data: typeof message === 'string' ? message : JSON.stringify(message) });
  }
  end(code = 1006, reason = '') {
    this.onclose({ code, reason });
  }
}

/** The requests that were made, with what answers them. */
let requests = [];
function fakeFetch(url, { headers, signal, redirect }) {
  return new Promise((resolve, reject) => {
    const answer = (status, body, headers = {}) => {
      const content = body instanceof ReadableStream ? body.pipeThrough(new TransformStream(), { signal }) : body;
      resolve(new Response(content, { status, headers }));
    };
    requests.push({ url, headers, signal, redirect, answer, fail: () => reject(new TypeError('fetch failed')) });
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}

const problem = { 'content-type': 'application/problem+json' };

let now = 0;
const RealWebSocket = globalThis.WebSocket;
const sessions = [];
beforeEach(() => {
  [now, requests, FakeSocket.all] = [0, [], []];
  mock.method(performance, 'now', () => now);
  mock.method(Math, 'random', () => 0.5);
  mock.timers.enable({ apis: ['setTimeout'] });
  mock.method(globalThis, 'fetch', fakeFetch);
  globalThis.WebSocket = FakeSocket;
});
afterEach(() => {
  for (const session of sessions.splice(0)) session.close();
  mock.timers.reset();
  mock.restoreAll();
  globalThis.WebSocket = RealWebSocket;
});

const pass = (ms) => {
  now += ms;
  mock.timers.tick(ms);
};
/** Lets promises settle; no time passes. */
const settle = async () => {
  for (let n = 0; n < 30; n += 1) await new Promise((resolve) => setImmediate(resolve));
};
const state = (position, more = {}) => ({ job_id: 'a', status: 'processing', stage: 's', attempt: 1, timestamp: 't', position, ...more });

function start(url = 'http://x', token = undefined) {
  const received = [];
  const session = new Session(url, token, (message) => {
    received.push(message.t === 'state' ? message.state.position : message.t === 'connection' ? `${message.connection} ${message.reason}`.trim() : `${message.job} ${message.t} ${message.reason ?? ''}`.trim());
  });
  sessions.push(session);
  return { session, received };
}

test('a session resumes at its position, with its rate', () => {
  const { session, received } = start('https://x/milepost/');
  session.watch('a', 'e-1', { max_rate: 10 });
  const [first] = FakeSocket.all;
  assert.equal(first.url, 'wss://x/milepost/ws?');
  first.greet();
  assert.deepEqual(first.sent, [{ type: 'subscribe', job_id: 'a', since: 'e-1', max_rate: 10 }]);
  for (const position of ['e-2', 'e-1', 'e-3']) first.say(state(position));
  first.say(state('e-9', { job_id: 'not-ours' }));
  first.end();
  assert.equal(first.isOpen, false);
  pass(499);
  assert.equal(FakeSocket.all.length, 1);
  pass(1);
  FakeSocket.all[1].greet();
  assert.equal(FakeSocket.all[1].sent[0].since, 'e-3');
  assert.deepEqual(received, ['open', 'e-2', 'e-1', 'e-3', 'connecting', 'open']);
});

test('a worker without a token in its JSON sends none', () => {
  const session = new Session('http://x', null, () => {});
  sessions.push(session);
  session.watch('a', undefined, {});
  assert.equal(FakeSocket.all[0].url, 'ws://x/ws?');
});

test('a token is a subprotocol, and renewed before it expires', async () => {
  const tokens = ['one', 'two', 'two'];
  const { session } = start('http://x', async () => tokens.shift());
  session.watch('a', undefined, {});
  session.watch('b', undefined, {});
  assert.equal(FakeSocket.all.length, 0);
  await settle();
  assert.equal(FakeSocket.all.length, 1);
  const [socket] = FakeSocket.all;
  assert.deepEqual([socket.url, socket.protocols], ['ws://x/ws?', ['milepost', 'milepost.bearer.one']]);
  socket.greet();
  socket.sent = [];
  socket.say({ type: 'token_expiring', in: 30 });
  pass(9989);
  await settle();
  assert.deepEqual(socket.sent, []);
  pass(1);
  await settle();
  assert.deepEqual(socket.sent, [{ type: 'auth', token: 'two' }]);
  // The same token would be rejected as expired, again and again.
  socket.say({ type: 'token_expiring', in: 3 });
  pass(1000);
  await settle();
  assert.equal(tokens.length, 0);
  assert.equal(socket.sent.length, 1);
});

test('a rejected token is renewed once, then the watch ends', async () => {
  let asked = 0;
  const { session, received } = start('http://x', () => `t${++asked}`);
  session.watch('a', undefined, {});
  await settle();
  FakeSocket.all[0].greet();
  FakeSocket.all[0].say(state('e-3'));
  pass(60_000);
  FakeSocket.all[0].end(4401, 'the token has expired');
  pass(0);
  await settle();
  const [, second] = FakeSocket.all;
  assert.deepEqual(second.protocols, ['milepost', 'milepost.bearer.t2']);
  second.greet();
  assert.equal(second.sent[0].since, 'e-3');
  for (const wait of [1000, 1000]) {
    FakeSocket.all.at(-1).end(4401, 'not known');
    pass(wait);
    await settle();
  }
  pass(1e6);
  await settle();
  assert.equal(FakeSocket.all.length, 3);
  assert.equal(received.at(-1), 'closed not known');

  const other = start('http://y', async () => 'token');
  other.session.watch('a', undefined, {});
  await settle();
  FakeSocket.all.at(-1).end(4403, 'not for you');
  pass(1e6);
  await settle();
  assert.equal(FakeSocket.all.length, 4);
  assert.deepEqual(other.received, ['closed not for you']);
});

test('a page that cannot supply a token is asked again, later', async () => {
  mock.method(console, 'warn', () => {});
  let asked = 0;
  const { session } = start('http://x', () => {
    if (++asked === 1) throw new Error('signed out');
    return asked === 2 ? new Promise(() => {}) : 'token';
  });
  session.watch('a', undefined, {});
  await settle();
  pass(500);
  await settle();
  assert.equal(asked, 2);
  // It has half a minute.
  pass(30_000);
  await settle();
  pass(1000);
  await settle();
  assert.equal(asked, 3);
  assert.equal(FakeSocket.all.length, 1);
});

test('tokens are in a header, never in the address or a redirect', async () => {
  globalThis.WebSocket = undefined;
  let asked = 0;
  const { session, received } = start('http://x', async () => `t${++asked}`);
  session.watch('a', undefined, {});
  await settle();
  const [first] = requests;
  assert.deepEqual([first.headers.authorization, first.redirect], ['Bearer t1', 'manual']);
  assert.doesNotMatch(first.url, /t1|token/);
  first.answer(401, '{"detail":"expired"}', problem);
  await settle();
  pass(1000);
  await settle();
  assert.equal(requests[1].headers.authorization, 'Bearer t2');
  requests[1].answer(302, '', { location: 'http://evil/' });
  await settle();
  pass(1e6);
  await settle();
  assert.equal(requests.length, 2);
  assert.match(received.at(-1), /^failed http:\/\/x redirects/);
});

test('a token that no subprotocol can carry is in the query', () => {
  const { session } = start('http://x', 'a key=');
  session.watch('a', undefined, {});
  assert.deepEqual([FakeSocket.all[0].url, FakeSocket.all[0].protocols], ['ws://x/ws?token=a+key%3D', []]);
});

test('a forbidden job is rejected, and the others continue', () => {
  const { session, received } = start('http://x', 'token');
  session.watch('a', undefined, {});
  const [socket] = FakeSocket.all;
  socket.greet();
  session.watch('b', undefined, {});
  socket.say({ type: 'error', problem: 'forbidden', message: 'no', job_id: 'b' });
  assert.deepEqual(received, ['open', 'b rejected no']);
  assert.equal(requests.length, 0);
});

test('a message with a position is a state, others are ignored', () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  const [socket] = FakeSocket.all;
  socket.greet();
  for (const text of ['', '{', '7', 'null', '[]', '{"type":"later"}']) socket.say(text);
  socket.say(state('e-1', { type: 'error' }));
  socket.say(state('e-2', { type: 'ping' }));
  assert.deepEqual(received, ['open', 'e-1', 'e-2']);
});

test('the server says when to come back, and whether', () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  FakeSocket.all[0].greet();
  FakeSocket.all[0].end(1012, '{"reason":"restart","retry_ms":7000}');
  pass(6999);
  assert.equal(FakeSocket.all.length, 1);
  pass(1);
  assert.equal(FakeSocket.all.length, 2);
  FakeSocket.all[1].greet();
  FakeSocket.all[1].end(4401, 'who are you?');
  pass(1e7);
  assert.equal(FakeSocket.all.length, 2);
  assert.deepEqual(received.at(-1), 'closed who are you?');
});

test('a number is watched as its text, and no id is refused', async () => {
  const { socket } = (watch(42, { url: 'http://ids', share: false }), { socket: FakeSocket.all[0] });
  const errors = [];
  for (const id of [null, undefined, {}]) watch(id, { url: 'http://ids', share: false, onError: ({ code }) => errors.push(code) });
  socket.greet();
  assert.deepEqual(socket.sent.map(({ job_id }) => job_id), ['42', '', '[object Object]']);
  for (const id of ['', '[object Object]']) socket.say({ type: 'error', problem: 'invalid-job-id', message: 'no such id', job_id: id });
  assert.deepEqual(errors, [4400, 4400, 4400]);
  const log = watchLog(7, { url: 'http://ids', onLines: () => {} });
  await settle();
  FakeSocket.all.at(-1).greet();
  assert.equal(FakeSocket.all.at(-1).sent[0].job_id, '7');
  log.close();
});

test('a quiet connection is pinged, then closed', () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  const [socket] = FakeSocket.all;
  socket.greet();
  for (let n = 0; n < 8; n += 1) {
    pass(5000);
    socket.say({ type: 'ping' });
  }
  assert.equal(socket.sent.length, 1);
  pass(12_500);
  assert.deepEqual(socket.sent[1], { type: 'ping' });
  socket.say({ type: 'pong' });
  pass(2500);
  assert.equal(socket.isOpen, true);
  for (let n = 0; n < 7; n += 1) pass(2500);
  assert.equal(socket.isOpen, false);
  assert.deepEqual(received, ['open', 'connecting']);
});

test('a change of the network checks the connection at once', () => {
  const { session } = start();
  session.watch('a', 'e-4', {});
  FakeSocket.all[0].greet();
  session.probe();
  session.probe();
  assert.deepEqual(FakeSocket.all[0].sent.slice(1), [{ type: 'ping' }]);
  pass(3000);
  assert.equal(FakeSocket.all[0].isOpen, false);
  session.probe();
  assert.equal(FakeSocket.all.length, 2);
  FakeSocket.all[1].greet();
  assert.equal(FakeSocket.all[1].sent[0].since, 'e-4');
});

test('a connection that does not come about in time is given up', () => {
  const { session } = start();
  session.watch('a', undefined, {});
  FakeSocket.all[0].greet();
  FakeSocket.all[0].end();
  pass(500);
  pass(9999);
  assert.equal(FakeSocket.all[1].isOpen, true);
  pass(1);
  assert.equal(FakeSocket.all[1].isOpen, false);
  pass(1000);
  assert.equal(FakeSocket.all.length, 3);
});

test('where a socket hangs, what is no Milepost server is named soon', async () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  pass(4000);
  assert.equal(FakeSocket.all[0].isOpen, false);
  requests[0].answer(200, '<!doctype html>', { 'content-type': 'text/html' });
  await settle();
  assert.deepEqual(received, ['failed no Milepost server at http://x: 200 text/html']);
});

test('the socket rests when nothing is watched any more', () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  FakeSocket.all[0].greet();
  session.unwatch('a');
  assert.deepEqual(FakeSocket.all[0].sent[1], { type: 'unsubscribe', job_id: 'a' });
  pass(100);
  assert.equal(FakeSocket.all[0].isOpen, false);
  pass(1e6);
  assert.equal(FakeSocket.all.length, 1);
  session.watch('b', undefined, {});
  assert.equal(FakeSocket.all.length, 2);
  assert.deepEqual(received, ['open', 'connecting']);
});

/** WebSocket failed twice: events come by a request. */
async function withoutSockets() {
  const started = start();
  started.session.watch('a', 'e-1', {});
  FakeSocket.all[0].end();
  pass(500);
  FakeSocket.all[1].end();
  pass(1000);
  await settle();
  return started;
}

test('after two failed WebSockets, events are streamed', async () => {
  const { session, received } = await withoutSockets();
  assert.equal(requests[0].url, 'http://x/jobs/a/events?since=e-1');
  let events;
  requests[0].answer(200, new ReadableStream({ start: (controller) => void (events = controller) }), { 'content-type': 'text/event-stream' });
  const say = async (text) => {
    events.enqueue(new TextEncoder().encode(text));
    await settle();
  };
  await say('retry: 1234\nevent: connected\ndata: {"type":"connected","known":true}\n\n');
  await say(`id: e-2\ndata: ${JSON.stringify(state('e-2', { message: 'ü: 1' }))}\n\nid: e-3\ndata: {"job_id":"a"`);
  await say(',"position":"e-3","status":"processing"}\n\n');
  assert.deepEqual(received, ['open', 'e-2', 'e-3']);

  pass(30_000);
  assert.equal(FakeSocket.all.length, 3);
  FakeSocket.all[2].end();
  await settle();
  assert.equal(received.length, 3);
  pass(29_000);
  await say(': keepalive\n\n');
  pass(1000);
  FakeSocket.all[3].greet();
  await settle();
  assert.equal(requests[0].signal.aborted, true);
  assert.equal(FakeSocket.all[3].sent[0].since, 'e-3');
  assert.deepEqual(received, ['open', 'e-2', 'e-3']);
  session.unwatch('a');
});

test('a stream on which nothing comes is given up', async () => {
  const { received } = await withoutSockets();
  let events;
  requests[0].answer(200, new ReadableStream({ start: (controller) => void (events = controller) }), { 'content-type': 'text/event-stream' });
  await settle();
  events.enqueue(new TextEncoder().encode('event: connected\ndata: {"known":false}\n\n'));
  await settle();
  pass(5000);
  events.enqueue(new TextEncoder().encode(': keepalive\n\n'));
  await settle();
  pass(15_000);
  await settle();
  assert.equal(requests[0].signal.aborted, true);
  assert.deepEqual(received, ['open', 'a unknown', 'connecting']);
});

test('where streaming fails as well, it polls', async () => {
  const { received } = await withoutSockets();
  requests[0].fail();
  await settle();
  pass(2000);
  await settle();
  requests[1].answer(404, '{}', { ...problem, 'retry-after': '1' });
  await settle();
  pass(4000);
  await settle();
  assert.equal(requests[2].url, 'http://x/jobs/a?wait=0');
  assert.equal(requests[2].headers['if-none-match'], '"e-1"');
  requests[2].answer(200, JSON.stringify(state('e-2')), { 'content-type': 'application/json' });
  await settle();
  pass(500);
  await settle();
  assert.equal(requests[3].url, 'http://x/jobs/a?wait=15');
  assert.equal(requests[3].headers['if-none-match'], '"e-2"');
  requests[3].answer(304);
  await settle();
  pass(500);
  await settle();
  assert.equal(requests.length, 5);
  assert.deepEqual(received, ['open', 'e-2']);
});

test('a server’s time to reconnect is kept', async () => {
  const { received } = await withoutSockets();
  requests[0].answer(503, '{"detail":"full"}', { 'retry-after': '8' });
  await settle();
  pass(11_999);
  await settle();
  assert.equal(requests.length, 1);
  pass(1);
  await settle();
  requests[1].fail();
  await settle();
  pass(4000);
  await settle();
  // It polls now, and the job is not known.
  requests[2].answer(404, '{}', { ...problem, 'retry-after': '20' });
  await settle();
  pass(29_999);
  await settle();
  assert.equal(requests.length, 3);
  pass(1);
  await settle();
  assert.equal(requests.length, 4);
  requests[3].answer(404, '{}', { ...problem, 'retry-after': '1e300' });
  await settle();
  pass(599_999);
  await settle();
  assert.equal(requests.length, 4);
  assert.deepEqual(received, ['open', 'a unknown', 'a unknown']);
});

test('a rejected job is not retried; one without room is polled', async () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  session.watch('b', undefined, {});
  const [socket] = FakeSocket.all;
  socket.greet();
  socket.say({ type: 'error', problem: 'invalid-parameter', message: 'too slow', job_id: 'a' });
  socket.say({ type: 'error', problem: 'too-many-subscriptions', message: 'full', job_id: 'b' });
  await settle();
  assert.deepEqual(received, ['open', 'a rejected too slow']);
  assert.deepEqual(requests.map((request) => request.url), ['http://x/jobs/b?wait=15']);
  requests[0].fail();
  await settle();
  pass(5000);
  await settle();
  requests[1].answer(200, JSON.stringify(state('e-1', { job_id: 'b' })), { 'content-type': 'application/json' });
  await settle();
  assert.deepEqual(received.at(-1), 'e-1');
  assert.equal(socket.isOpen, true);
});

test('a host watches a job once, with options for all pages', () => {
  const host = new SharedSession('http://x', undefined);
  sessions.push(host.session);
  const [one, two] = [[], []];
  const ports = [(message) => one.push(message), (message) => two.push(message)];
  for (const port of ports) host.receive(port, { t: 'open' });
  host.receive(ports[0], { t: 'watch', key: '1', job: 'a', pace: { mode: 'latest', max_rate: 5 } });
  const [socket] = FakeSocket.all;
  socket.greet();
  socket.say(state('e-5'));
  host.receive(ports[1], { t: 'watch', key: '2', job: 'a', pace: { mode: 'latest', max_rate: 5 } });
  assert.equal(two.at(-1).state.position, 'e-5');
  assert.equal(socket.sent.length, 1);
  host.receive(ports[1], { t: 'watch', key: '3', job: 'a', since: 'e-2', pace: { max_rate: 9 } });
  assert.deepEqual(socket.sent[1], { type: 'subscribe', job_id: 'a', since: 'e-2', max_rate: 9 });
  // A page that goes leaves the others theirs.
  host.receive(ports[1], { t: 'bye' });
  socket.say(state('e-6'));
  assert.equal(one.at(-1).state.position, 'e-6');
  assert.notEqual(two.at(-1).state.position, 'e-6');
  host.receive(ports[0], { t: 'unwatch', key: '1', job: 'a' });
  assert.deepEqual(socket.sent.at(-1), { type: 'unsubscribe', job_id: 'a' });
});

test('a new page is shown the present state', () => {
  const host = new SharedSession('http://x', undefined);
  sessions.push(host.session);
  host.receive(() => {}, { t: 'watch', key: '1', job: 'a', since: 'e-5', pace: {} });
  FakeSocket.all[0].greet();
  host.receive(() => {}, { t: 'watch', key: '2', job: 'a', pace: {} });
  assert.deepEqual(FakeSocket.all[0].sent.map(({ since }) => since), ['e-5', undefined]);
});

let servers = 0;
/** A watch of a server of its own, whose socket has opened. */
function watched(options = {}) {
  const received = [];
  const watching = watch('a', {
    url: `http://server-${++servers}`,
    onState: ({ position }) => received.push(position),
    onEnd: ({ status }) => received.push(status),
    onUnknown: () => received.push('unknown'),
    onConnection: (connection) => received.push(connection),
    onError: ({ message }) => received.push(message),
    ...options,
  });
  return { watching, received, socket: () => FakeSocket.all.at(-1) };
}

test('a watch shows no state twice and no older one', () => {
  const { watching, received, socket } = watched({ since: 'a-2' });
  socket().greet();
  for (const position of ['a-2', 'a-1', 'a-3', 'a-3', 'b-1', 'a-3', 'b-2', 'b-1', 'a-10']) socket().say(state(position));
  assert.deepEqual(received, ['open', 'a-3', 'b-1', 'b-2', 'a-10']);
  assert.equal(watching.state.position, 'a-10');
  assert.equal(watching.position, 'a-10');
  watching.close();
  assert.equal(received.at(-1), 'closed');
});

test('a job that is forgotten is unknown, and stays watched', () => {
  const { watching, received, socket } = watched();
  socket().greet();
  socket().say(state('a-1'));
  socket().say({ type: 'error', problem: 'unknown-job', message: 'the job was deleted', job_id: 'a' });
  assert.deepEqual([received, watching.known], [['open', 'a-1', 'unknown'], false]);
  socket().say(state('b-1'));
  assert.deepEqual([received.at(-1), watching.known, FakeSocket.all.length], ['b-1', true, 1]);
  watching.close();
});

test('a lost connection keeps the state; the end is reported once', () => {
  const { watching, received, socket } = watched();
  assert.equal(watching.connection, 'connecting');
  socket().greet();
  socket().say({ type: 'subscribed', job_id: 'a', known: false });
  assert.equal(watching.known, false);
  socket().say(state('e-1'));
  socket().end();
  assert.equal(watching.connection, 'reconnecting');
  assert.equal(watching.state.position, 'e-1');
  pass(500);
  socket().greet();
  const last = socket();
  last.say(state('e-2', { status: 'completed' }));
  last.say(state('f-1', { status: 'completed' }));
  assert.deepEqual(received, ['open', 'unknown', 'e-1', 'reconnecting', 'open', 'e-2', 'completed', 'closed']);
  assert.equal(watching.known, true);
});

test('follow shows the next attempt, and the same end once', () => {
  const { watching, received, socket } = watched({ follow: true });
  socket().greet();
  socket().say(state('e-1', { status: 'failed' }));
  socket().say(state('f-1', { status: 'failed' }));
  socket().say(state('f-2', { attempt: 2 }));
  socket().say(state('f-3', { attempt: 2, status: 'completed' }));
  assert.deepEqual(received, ['open', 'e-1', 'failed', 'f-1', 'f-2', 'f-3', 'completed']);
  watching.close();
});

test('who iterates slowly gets the newest state and every end', async () => {
  const { watching, socket } = watched({ follow: true });
  socket().greet();
  const say = (number, more) => socket().say(state(`e-${number}`, more));
  for (const number of [1, 2, 3]) say(number);
  say(4, { status: 'failed' });
  for (const number of [5, 6]) say(number, { attempt: 2 });
  const seen = [];
  for await (const { position } of watching) {
    seen.push(position);
    if (position === 'e-6') say(7, { attempt: 2, status: 'completed' });
    if (position === 'e-7') break;
  }
  assert.deepEqual(seen, ['e-4', 'e-6', 'e-7']);
  assert.equal(watching.connection, 'closed');
});

test('an iteration ends with the job, a signal or a rejection', async () => {
  const all = async (watching) => {
    const seen = [];
    for await (const { position } of watching) seen.push(position);
    return seen;
  };
  const ended = watched();
  ended.socket().greet();
  ended.socket().say(state('e-1'));
  ended.socket().say(state('e-2', { status: 'cancelled' }));
  assert.deepEqual(await all(ended.watching), ['e-2']);

  const stop = new AbortController();
  const stopped = watched({ signal: stop.signal });
  const seen = all(stopped.watching);
  stop.abort();
  assert.deepEqual(await seen, []);
  assert.deepEqual(await all(watched({ signal: stop.signal }).watching), []);

  const rejected = watched();
  rejected.socket().greet();
  rejected.socket().say({ type: 'error', problem: 'invalid-job-id', message: 'no such id', job_id: 'a' });
  await assert.rejects(all(rejected.watching), /no such id/);
  assert.deepEqual(rejected.received, ['open', 'closed', 'no such id']);

  const closed = watched();
  closed.socket().greet();
  closed.socket().say({ type: 'error', message: 'not with me' });
  closed.socket().end(4403, 'forbidden');
  await assert.rejects(all(closed.watching), /not with me/);
});

test('watches share a socket, and one that throws stops no other', async () => {
  const url = 'http://one';
  const faults = [];
  mock.method(globalThis, 'queueMicrotask', (act) => assert.throws(act, (error) => faults.push(error.message) > 0));
  const seen = [];
  const bad = watch('a', { url, onState: () => { throw new Error('mine'); } });
  const good = watch('a', { url, onState: ({ position }) => seen.push(position) });
  const other = watch('b', { url, onState: ({ position }) => seen.push(`b ${position}`) });
  assert.equal(FakeSocket.all.length, 1);
  FakeSocket.all[0].greet();
  assert.deepEqual(FakeSocket.all[0].sent.map((sent) => sent.job_id), ['a', 'b']);
  FakeSocket.all[0].say(state('e-1'));
  FakeSocket.all[0].say(state('e-1', { job_id: 'b' }));
  assert.deepEqual(seen, ['e-1', 'b e-1']);
  assert.deepEqual(faults, ['mine']);
  for (const each of [bad, good, other]) each.close();
});

test('a socket that a policy blocks is replaced at once', async () => {
  const { session, received } = start();
  session.watch('a', undefined, {});
  FakeSocket.all[0].onerror();
  pass(100);
  await settle();
  assert.equal(requests.length, 1);
  assert.match(requests[0].url, /\/jobs\/a\/events/);
  assert.deepEqual(received, []);
});

test('a socket whose making a policy forbids is replaced at once', async () => {
  globalThis.WebSocket = class {
    constructor() {
      throw new Error('The load for this content was blocked.');
    }
  };
  const { session, received } = start();
  session.watch('a', undefined, {});
  pass(0);
  pass(100);
  await settle();
  assert.equal(requests.length, 1);
  assert.match(requests[0].url, /\/jobs\/a\/events/);
  assert.deepEqual(received, []);
});

for (const [what, status, type] of [['a page', 200, 'text/html'], ['another service', 404, 'application/json']]) {
  test(`${what} instead of a server fails the watch and is named`, async () => {
    const warn = mock.method(console, 'warn', () => {});
    const seen = [];
    const watching = watch('a', { url: `http://${status}.example`, onConnection: (now) => seen.push(now), onError: ({ message }) => seen.push(message) });
    FakeSocket.all[0].end();
    pass(60_000);
    FakeSocket.all[1].end();
    pass(60_000);
    requests[0].answer(status, '<!doctype html>', { 'content-type': type });
    await settle();
    assert.equal(watching.connection, 'failed');
    const message = `no Milepost server at http://${status}.example: ${status} ${type}`;
    assert.deepEqual(seen, ['failed', message]);
    assert.deepEqual(warn.mock.calls.map(({ arguments: [text] }) => text), [`milepost: ${message}`]);
    await assert.rejects((async () => { for await (const state of watching) assert.fail(state); })(), /no Milepost server/);
  });
}

/** A page's watch of the log of `a`, and what it was given. */
function followLog(options = {}) {
  const [parts, errors] = [[], []];
  const log = watchLog('a', { url: 'http://x', onLines: (part) => parts.push(part), onError: (error) => errors.push(error), ...options });
  sessions.push(log);
  return { log, parts, errors };
}
const logPart = (numbers, more = {}) => ({ job_id: 'a', lines: numbers.map((n) => ({ n, at: 't', text: `${n}` })), next: `e-${numbers.at(-1)}`, log: { lines: numbers.at(-1) ?? 0, dropped: 0 }, ...more });

test('a log comes over a socket, and resumes where it was', async () => {
  const { log, parts } = followLog({ token: 'abc' });
  await settle();
  const [socket] = FakeSocket.all;
  assert.deepEqual([socket.url, socket.protocols], ['ws://x/ws?', ['milepost', 'milepost.bearer.abc']]);
  socket.greet();
  assert.deepEqual(socket.sent, [{ type: 'subscribe', job_id: 'a', log: true }]);
  socket.say({ type: 'log', ...logPart([1, 2]) });
  assert.deepEqual(parts.map(({ lines, gap, next }) => [lines.map(({ n }) => n), gap, next]), [[[1, 2], false, 'e-2']]);
  socket.end();
  await settle();
  pass(1000);
  await settle();
  FakeSocket.all[1].greet();
  assert.equal(FakeSocket.all[1].sent[0].since, 'e-2');
  FakeSocket.all[1].say({ type: 'log', ...logPart([7], { log_gap: true }) });
  assert.equal(parts[1].gap, true);
  log.close();
  assert.equal(FakeSocket.all[1].isOpen, false);
  pass(600_000);
  await settle();
  assert.equal(FakeSocket.all.length, 2);
});

test('without a socket a log is polled, less often while quiet', async () => {
  const { parts } = followLog();
  await settle();
  FakeSocket.all[0].greet();
  FakeSocket.all[0].say({ type: 'error', problem: 'invalid-parameter', message: 'log is not known', job_id: 'a' });
  await settle();
  pass(0);
  await settle();
  assert.equal(requests[0].url, 'http://x/jobs/a/log?');
  requests[0].answer(200, JSON.stringify(logPart([1])), { 'content-type': 'application/json' });
  await settle();
  assert.equal(parts.length, 1);
  const waits = [];
  for (let poll = 1; poll < 8; poll += 1) {
    let wait = 0;
    while (requests.length === poll && wait < 20_000) {
      pass(500);
      wait += 500;
      await settle();
    }
    waits.push(wait);
    assert.equal(requests[poll].url, 'http://x/jobs/a/log?since=e-1');
    requests[poll].answer(200, JSON.stringify(logPart([], { next: 'e-1' })));
    await settle();
  }
  assert.deepEqual(waits, [1000, 1500, 2500, 3500, 5000, 5000, 5000]);
});

test('a polled log that is gone is one gap, and begins anew', async () => {
  const { parts } = followLog({ since: 'gone-9' });
  await settle();
  FakeSocket.all[0].greet();
  FakeSocket.all[0].say({ type: 'error', problem: 'invalid-parameter', message: 'log is not known', job_id: 'a' });
  await settle();
  pass(0);
  await settle();
  assert.equal(requests[0].url, 'http://x/jobs/a/log?since=gone-9');
  requests[0].answer(200, JSON.stringify({ job_id: 'a', lines: [], log_gap: true, log: { lines: 0, dropped: 0 } }));
  await settle();
  pass(5000);
  await settle();
  assert.equal(requests[1].url, 'http://x/jobs/a/log?');
  requests[1].answer(200, JSON.stringify(logPart([1])));
  await settle();
  assert.deepEqual(parts.map(({ lines, gap }) => [lines.length, gap]), [[0, true], [1, false]]);
});

test('a log whose sockets work, but are lost, is not polled', async () => {
  const { parts } = followLog();
  await settle();
  for (let turn = 1; turn <= 4; turn += 1) {
    const socket = FakeSocket.all.at(-1);
    socket.greet();
    socket.say({ type: 'log', ...logPart([turn]) });
    // As browsers do.
    socket.onerror();
    socket.end();
    await settle();
    pass(1000);
    await settle();
  }
  // What was waited for on the sockets before is waited for no more.
  FakeSocket.all.at(-1).greet();
  for (let quiet = 0; quiet < 9; quiet += 1) {
    pass(5000);
    FakeSocket.all.at(-1).say({ type: 'ping' });
    await settle();
  }
  FakeSocket.all.at(-1).end();
  await settle();
  pass(1000);
  await settle();
  assert.deepEqual([parts.length, FakeSocket.all.length, requests.length], [4, 6, 0]);
});

test('a log is polled while no socket can be made, and no longer', async () => {
  const { parts } = followLog();
  await settle();
  FakeSocket.all[0].end();
  await settle();
  pass(1000);
  await settle();
  // It hangs.
  pass(10_000);
  await settle();
  pass(1000);
  await settle();
  assert.deepEqual([FakeSocket.all.length, requests.length], [2, 1]);
  for (let poll = 0; FakeSocket.all.length === 2 && poll < 100; poll += 1) {
    requests.at(-1).answer(200, JSON.stringify(logPart([1])));
    await settle();
    pass(1000);
    await settle();
  }
  // One that cannot be made still: back to polling at once.
  const polls = requests.length;
  FakeSocket.all[2].end();
  await settle();
  pass(1000);
  await settle();
  assert.equal(requests.length, polls + 1);
  while (FakeSocket.all.length === 3) {
    requests.at(-1).answer(200, JSON.stringify(logPart([1])));
    await settle();
    pass(1000);
    await settle();
  }
  FakeSocket.all[3].greet();
  assert.deepEqual(FakeSocket.all[3].sent, [{ type: 'subscribe', job_id: 'a', log: true, since: 'e-1' }]);
  FakeSocket.all[3].say({ type: 'log', ...logPart([2]) });
  assert.equal(parts.at(-1).next, 'e-2');
});

test('what a log’s callback throws does not read as an outage', async () => {
  delete globalThis.WebSocket;
  const thrown = [];
  mock.method(globalThis, 'queueMicrotask', (task) => assert.throws(task, (error) => thrown.push(error.message)));
  let calls = 0;
  followLog({ onLines: () => {
    calls += 1;
    throw new Error('of the page');
  } });
  await settle();
  for (let poll = 0; poll < 3; poll += 1) {
    requests[poll].answer(200, JSON.stringify(logPart([poll + 1])));
    await settle();
    assert.equal(requests.length, poll + 1);
    pass(1000);
    await settle();
  }
  assert.deepEqual([calls, thrown], [3, Array(3).fill('of the page')]);
});

test('a log of an address that no socket can have is given up', async () => {
  globalThis.WebSocket = class {
    constructor() {
      throw new SyntaxError('no');
    }
  };
  const { errors } = followLog();
  await settle();
  pass(0);
  await settle();
  assert.deepEqual(errors.map(({ code, message }) => [code, message]), [[4400, 'no Milepost server at http://x']]);
});

test('a forbidden log ends; one of an unknown job does not', async () => {
  const refused = followLog();
  await settle();
  FakeSocket.all[0].greet();
  FakeSocket.all[0].say({ type: 'error', problem: 'forbidden', message: 'no', job_id: 'a' });
  await settle();
  assert.deepEqual(refused.errors.map(({ code, message }) => [code, message]), [[4403, 'no']]);
  const unknown = followLog();
  await settle();
  FakeSocket.all[1].greet();
  FakeSocket.all[1].say({ type: 'error', problem: 'unknown-job', message: 'not known', job_id: 'a' });
  await settle();
  pass(5000);
  await settle();
  assert.equal(FakeSocket.all.length, 3);
  assert.deepEqual(unknown.errors, []);
});

test('a log’s expired token is replaced, once in a row', async () => {
  let tokens = 0;
  const { errors, parts } = followLog({ token: () => `t${++tokens}` });
  await settle();
  for (let turn = 0; turn < 3; turn += 1) {
    const socket = FakeSocket.all.at(-1);
    socket.greet();
    socket.say({ type: 'log', ...logPart([turn + 1]) });
    socket.end(4401, 'expired');
    await settle();
    pass(1000);
    await settle();
  }
  assert.deepEqual([parts.length, tokens, errors.length], [3, 4, 0]);
  FakeSocket.all.at(-1).end(4401, 'expired');
  await settle();
  assert.deepEqual([errors.length, errors[0].code], [1, 4401]);
});
