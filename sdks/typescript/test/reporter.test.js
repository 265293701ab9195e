// The reporter as npm gets it, against a server of HTTP that records what it receives; and in processes of their own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { Job, ProgressReporter, flush, job, watchToken } from 'milepost/reporter';

import { freePort } from '../../../e2e/port.js';
import { until } from './server.js';

let received = [];
let warned = [];
/** How the server answers: a status, or null for not at all. */
let status = 200;
/** What it answers if the status is not 200: by default a problem, otherwise what another program says. */
let page;
let headers = {};
/** The requests' paths, and how many updates each had. */
let asked = [];
/** Their credentials. */
let authorized = [];
/** What the server answers an update with; by default that it was taken. */
let outcome = () => ({});
const taken = ({ job_id }) => ({ job_id, position: '1-1' });
const refused = (name, status, detail) => ({ type: `urn:milepost:problem:${name}`, status, detail, position: undefined });
let server;
let url;

const listen = (port) => new Promise((resolve) => {
  server = createServer((request, response) => {
    let body = '';
    authorized.push(request.headers.authorization);
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      const updates = body.split('\n').map((line) => ({ path: request.url, ...(line && JSON.parse(line)) }));
      asked.push([request.url, updates.length]);
      received.push(...updates);
      const answer = status === 200 ? updates.map((update) => JSON.stringify({ ...taken(update), ...outcome(update) })).join('\n') : page ?? JSON.stringify(refused('invalid-update', status, 'because'));
      if (status) response.writeHead(status, headers).end(answer);
    });
  }).listen(port, '127.0.0.1', () => resolve((url = `http://127.0.0.1:${server.address().port}`)));
});
const close = () => new Promise((resolve) => {
  server.closeAllConnections();
  server.close(resolve);
});
beforeEach(async () => {
  [received, warned, status, page, headers, asked, authorized, outcome] = [[], [], 200, undefined, {}, [], [], () => ({})];
  // While it is down, no connection may get its port.
  await listen(await freePort());
});
afterEach(close);

const options = () => ({ url, id: 'j', warn: (text) => warned.push(text) });

test('a job is reported from its beginning to its result', async () => {
  const result = await job('export', { ...options(), stage: 'reading', ttl: 60 }, async (j) => {
    await until('the beginning', () => received.length === 1);
    for (const [n, item] of [...j.track(['a', 'b', 'c', 'd'])].entries()) j.message = `${n} ${item}`;
    assert.equal(j.progress, 1);
    j.stage = 'writing';
    j.progress = 0.25;
    j.metadata = { rows: 4 };
    await until('the stage', () => received.some((update) => update.stage === 'writing'));
    return { file: 'x.csv' };
  });
  assert.deepEqual(result, { file: 'x.csv' });
  const { timestamp, ...first } = received[0];
  assert.deepEqual(first, { path: '/jobs/j', job_id: 'j', status: 'processing', stage: 'reading', progress: null, ttl: 60, name: 'export', heartbeat: 10 });
  assert.match(timestamp, /Z$/);
  const { status: ended, result: result_, progress, metadata } = received.at(-1);
  assert.deepEqual([ended, result_, progress, metadata], ['completed', { file: 'x.csv' }, 1, { rows: 4 }]);
  assert.deepEqual(warned, []);
});

test('what a job throws is thrown on, and is why it failed', async () => {
  const fault = new RangeError('out of memory');
  await assert.rejects(job('x', options(), (j) => {
    j.progress = 0.5;
    throw fault;
  }), (error) => error === fault);
  const { status: ended, error, message, progress } = received.at(-1);
  assert.deepEqual([ended, error, message, progress], ['failed', 'out of memory', 'Error: out of memory', 0.5]);
});

test('a job whose signal was aborted is cancelled', async () => {
  const stop = new AbortController();
  await assert.rejects(job('x', { ...options(), signal: stop.signal }, async (j) => {
    stop.abort();
    j.signal.throwIfAborted();
  }), { name: 'AbortError' });
  assert.equal(received.at(-1).status, 'cancelled');
});

test('async items are tracked, and only consumed ones count', async () => {
  const j = new Job('x', options());
  const items = async function* () {
    yield* [1, 2, 3];
  };
  for await (const item of j.track(items(), 4)) if (item === 3) break;
  assert.equal(j.progress, 0.5);
  await j.cancel();
  assert.equal(received.at(-1).progress, 0.5);
});

test('of a stream the bytes are counted, of a list the items', async () => {
  const j = new Job('x', options());
  const chunks = [Buffer.alloc(30), new Uint8Array(50), Buffer.alloc(20)];
  const shown = [];
  for await (const _ of j.track(Readable.from(chunks), 200)) shown.push(j.progress);
  assert.deepEqual([...shown, j.progress], [0, 0.15, 0.4, 0.5]);
  for (const [items, total] of [[chunks, undefined], [chunks, 3], [chunks.values(), 3], [chunks.values(), 6]]) {
    for (const _ of j.track(items, total));
    assert.equal(j.progress, 3 / (total ?? 3));
  }
  await j.complete();
});

test('a million steps are a few updates, and the last is newest', async () => {
  const j = new Job('x', { ...options(), total: 1_000_000 });
  for (let n = 0; n < 1_000_000; n += 1) j.inc();
  await until('the newest', () => received.at(-1)?.progress === 1);
  await j.complete();
  assert.ok(received.length <= 4, `${received.length}`);
  assert.equal(received.at(-1).status, 'completed');
  await j.fail('too late');
  assert.equal(received.at(-1).status, 'completed');
});

test('an outage warns once, and once when it is over', async () => {
  const j = new Job('x', options());
  await until('the beginning', () => received.length === 1);
  const { port } = new URL(url);
  await close();
  j.progress = 0.1;
  await until('a warning', () => warned.length === 1);
  j.stage = 'later';
  j.progress = 0.7;
  await listen(Number(port));
  await until('it is back', () => warned.length === 2);
  assert.match(warned[0], /cannot report; the job continues/);
  assert.match(warned[1], /again/);
  assert.deepEqual([received.at(-1).stage, received.at(-1).progress], ['later', 0.7]);
  await j.complete();
  assert.equal(warned.length, 2);
});

test('a server that refuses causes one warning, and the job goes on', async () => {
  status = 409;
  const result = await job('x', options(), async (j) => {
    for (const stage of ['1', '2', '3']) {
      j.stage = stage;
      await until(stage, () => received.some((update) => update.stage === stage));
    }
    return 1;
  });
  assert.equal(result, 1);
  assert.deepEqual(warned, ['milepost: an update of j was rejected: because']);
});

test('what JSON cannot hold harms nobody', async () => {
  const loop = {};
  loop.loop = loop;
  const big = { n: 10n };
  await job('x', { ...options(), metadata: loop }, (j) => {
    j.progress = NaN;
    return big;
  });
  assert.deepEqual([received.at(-1).status, received.at(-1).progress], ['completed', 1]);
  assert.deepEqual(received.at(-1).truncated, ['metadata', 'result']);
  assert.equal(warned.length, 1, warned.join());
});

test('jobs share requests, and a rejected line is its own job’s', async () => {
  outcome = ({ job_id }) => (job_id === 'j7' ? refused('invalid-update', 422, 'not that') : {});
  const jobs = Array.from({ length: 20 }, (_, n) => new Job('x', { ...options(), id: `j${n}`, warn: (text) => warned.push(`${n} ${text}`) }));
  await until('all of them', () => new Set(received.map((update) => update.job_id)).size === 20);
  for (let step = 1; step <= 50; step += 1) {
    for (const each of jobs) each.progress = step / 50;
    await pause(1);
  }
  await until('the newest of all', () => received.filter(({ progress }) => progress === 1).length >= 20);
  // How many share one depends on how busy this machine is.
  const updates = asked.reduce((sum, [, count]) => sum + count, 0);
  assert.ok(updates >= 4 * asked.length, JSON.stringify(asked));
  await Promise.all(jobs.map((each, n) => each.complete(n)));
  const ends = received.filter((update) => update.status === 'completed');
  // The refused one is sent once more, without its result.
  assert.deepEqual(ends.map((end) => end.result ?? -1).sort((a, b) => a - b), [-1, ...jobs.keys()]);
  assert.deepEqual(warned, ['7 milepost: an update of j7 was rejected: not that']);
});

test('a server that takes less at once is sent less at once', async () => {
  [status] = [413];
  const jobs = Array.from({ length: 9 }, (_, n) => new Job('x', { ...options(), id: `j${n}` }));
  // How many share the first request depends on how busy this machine is.
  await until('that it asks for less', () => {
    const counts = asked.map(([, count]) => count);
    const largest = Math.max(...counts);
    return largest > 1 && counts.slice(counts.indexOf(largest)).some((count) => count <= Math.ceil(largest / 2));
  });
  status = 200;
  await Promise.all(jobs.map((each) => each.complete()));
  assert.equal(new Set(received.filter((update) => update.status === 'completed').map(({ job_id }) => job_id)).size, 9);
});

test('a proxy that takes no body costs no end', async () => {
  [status, page] = [413, '<html>Request Entity Too Large</html>'];
  const j = new Job('x', { ...options(), metadata: { frame: 1 } });
  const ended = j.complete([1]);
  // All that can be left out is, and then the end is not given up.
  await until('nothing is left to leave out', () => warned.length > 0);
  [status, page, received] = [200, undefined, []];
  await ended;
  await until('the end', () => received.some((update) => update.status === 'completed'));
  assert.deepEqual(received.at(-1).truncated, ['metadata', 'result']);
  assert.equal(warned[0], 'milepost: the server cannot accept an update of j now; retrying: what answers (413) is not a Milepost server');
});

test('a line that the server has no room for now is sent again', async () => {
  let refusals = 2;
  outcome = ({ job_id }) => (job_id === 'b' && refusals-- > 0 ? refused('broker-full', 503, 'full') : {});
  const [a, b] = ['a', 'b'].map((id) => new Job('x', { ...options(), id, stage: '1' }));
  await until('that it was refused, and reported again', () => refusals < 0 || received.filter(({ job_id }) => job_id === 'b').length > 2);
  await Promise.all([a.complete(), b.complete()]);
  assert.equal(received.filter(({ status }) => status === 'completed').length >= 2, true);
  assert.match(warned[0], /the server cannot accept an update of b now; retrying: full/);
});

test('Retry-After is kept, but an end tries once before', async (t) => {
  let now = 0;
  let sent = 0;
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
  });
  mock.method(performance, 'now', () => now);
  mock.method(Math, 'random', () => 0.5);
  mock.method(globalThis, 'fetch', async () => {
    sent += 1;
    return new Response('{"detail":"full"}', { status: 503, headers: { 'retry-after': '40' } });
  });
  mock.timers.enable({ apis: ['setTimeout'] });
  const pass = async (ms) => {
    for (let n = 0; n < ms; n += 500) {
      now += 500;
      mock.timers.tick(500);
      for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const j = new Job('x', { ...options(), url: 'http://full' });
  await pass(500);
  assert.equal(sent, 1);
  for (let n = 0; n < 44; n += 1) {
    j.stage = `${n}`;
    await pass(1000);
  }
  assert.equal(sent, 1, 'within 40 s and an eighth of that');
  await pass(2000);
  assert.equal(sent, 2);
  const ended = j.complete();
  await pass(1000);
  assert.equal(sent, 3);
  await pass(2000);
  await ended;
  assert.equal(sent, 3);
});

test('a request that nobody waits for keeps no process', async (t) => {
  let now = 0;
  const requests = [];
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
  });
  mock.method(performance, 'now', () => now);
  mock.method(globalThis, 'fetch', (_, { signal }) => new Promise((_, reject) => {
    requests.push(signal);
    signal.addEventListener('abort', () => reject(signal.reason));
  }));
  mock.timers.enable({ apis: ['setTimeout'] });
  const pass = async (ms) => {
    for (let n = 0; n < ms; n += 500) {
      now += 500;
      mock.timers.tick(500);
      for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const frozen = { ...options(), url: 'http://frozen' };
  const [first, other] = ['a', 'b'].map((id) => new Job('x', { ...frozen, id }));
  await pass(500);
  const ended = first.complete();
  await pass(2000);
  await ended;
  assert.deepEqual(requests.map(({ aborted }) => aborted), [false], 'the other job runs');
  const otherEnded = other.complete();
  await pass(2000);
  await otherEnded;
  assert.ok(requests.every(({ aborted }) => aborted));
  // Tried again, it is given up sooner.
  const count = requests.length;
  while (requests.length === count) await pass(500);
  await pass(2000);
  assert.ok(requests.every(({ aborted }) => aborted));
  assert.equal(warned.length, 1, warned.join());

  const logging = new Job('x', { ...frozen, id: 'c' });
  logging.log('line');
  await pass(500);
  const loggingEnded = logging.complete();
  await pass(2000);
  await loggingEnded;
  assert.ok(requests.every(({ aborted }) => aborted));
});

test('an end that is reported twice has the same bytes', async () => {
  const j = new Job('x', options());
  await until('the beginning', () => received.length === 1);
  status = 500;
  const ended = j.complete(1);
  await until('an end', () => received.some((update) => update.status === 'completed'));
  status = 200;
  await ended;
  const ends = received.filter((update) => update.status === 'completed');
  assert.ok(ends.length > 1);
  for (const end of ends) assert.deepEqual(end, ends[0]);
});

test('flush sends what waits, and says when it was sent', async () => {
  const j = new Job('x', options());
  await until('the beginning', () => received.length === 1);
  j.progress = 0.5;
  await flush();
  assert.equal(received.at(-1).progress, 0.5);
  const before = asked.length;
  await flush();
  assert.equal(asked.length, before);
  await j.complete();
});

test('by legacy names, with legacy messages', async () => {
  const reporter = new ProgressReporter({ url, warn: (text) => warned.push(text) });
  await reporter.initialize();
  await reporter.report('j', 'rendering', 7, 'Frame 1', { frame: 1 });
  await until('the first', () => received.length === 1);
  await reporter.report('j', 'rendering', NaN);
  await reporter.report('j', 'rendering', null, 'who knows');
  await until('the latest', () => received.length === 2);
  await reporter.reportComplete('j', { url: 'x' });
  await reporter.reportError('k', new Error('Out of memory'));
  const without = received.map(({ timestamp, path, ...update }) => update);
  assert.deepEqual(without, [
    { job_id: 'j', status: 'processing', stage: 'rendering', progress: 1, message: 'Frame 1', metadata: { frame: 1 } },
    { job_id: 'j', status: 'processing', stage: 'rendering', progress: null, message: 'who knows' },
    { job_id: 'j', status: 'completed', stage: 'complete', progress: 1, message: 'Job completed', result: { url: 'x' } },
    { job_id: 'k', status: 'failed', stage: 'error', message: 'Error: Out of memory', error: 'Out of memory' },
  ]);
  await reporter.report('l', 'uploading', 0.5);
  await reporter.close();
  assert.equal(received.at(-1).job_id, 'l');
  assert.equal(await new ProgressReporter({ url: 'http://127.0.0.1:9', warn: () => {} }).getStatus('j'), null);
  assert.equal(await new ProgressReporter().getStatus('j'), null);
  assert.deepEqual(warned, ['milepost: j: progress must be between 0 and 1, so 7 counts as 1; 50 % is 0.5']);
});

test('a progress in percent is warned of once for each job', async () => {
  for (const id of ['a', 'b']) {
    const job = new Job('x', { ...options(), id });
    for (const progress of [NaN, null, -0.0001, 1.0000001, 50, 51]) job.progress = progress;
    assert.equal(job.progress, 1);
    await job.complete();
  }
  const text = 'progress must be between 0 and 1, so 50 counts as 1; 50 % is 0.5';
  assert.deepEqual(warned, [`milepost: a: ${text}`, `milepost: b: ${text}`]);
});

test('there is room for 64 artifacts, and none is half of one', async () => {
  const job = new Job('x', { ...options(), id: 'a' });
  for (const given of [undefined, null, 7, {}, { name: 'a', url: 7 }, { name: 'a', url: 'u', size: '1' }, { name: 'a', url: 'u', mediaType: 1 }, { name: 'a', url: '\ud800' }]) job.artifact(given);
  for (let n = 0; n < 65; n += 1) job.artifact({ name: `${n}`, url: 'u' });
  job.artifact({ name: '63', url: 'another' });
  await job.complete();
  job.artifact({ name: '0', url: 'too late' });
  const { artifacts } = received.at(-1);
  assert.equal(artifacts.length, 64);
  assert.deepEqual([artifacts[0], artifacts[63]], [{ name: '0', url: 'u' }, { name: '63', url: 'another' }]);
  const ignored = 'milepost: an artifact of a is ignored: ';
  assert.deepEqual([...new Set(warned)], [`${ignored}it takes a name and a URL`, `${ignored}there is room for 64, and for 8,192 bytes of JSON`]);
});

test('a logger that throws fails no job', async () => {
  const job = new Job('x', { ...options(), warn: () => { throw new Error('of its own'); } });
  job.progress = 50;
  job.stages([{ id: '' }]);
  await job.complete();
  assert.equal(received.at(-1).status, 'completed');
});

test('a fault in one update costs no end and no other job', async (t) => {
  const measure = Buffer.byteLength;
  t.mock.method(Buffer, 'byteLength', (text, ...more) => {
    if (String(text).includes('poison')) throw new Error('of the reporter itself');
    return measure(text, ...more);
  });
  const [faulty, other] = ['a', 'b'].map((id) => new Job('x', { ...options(), id, metadata: { rows: 1 }, message: id === 'a' ? 'poison' : 'water' }));
  await Promise.all([faulty.complete(), other.complete()]);
  const of = (id) => received.findLast((update) => update.job_id === id);
  assert.deepEqual([of('a').status, of('a').message, of('b').status, of('b').message], ['completed', undefined, 'completed', 'water']);
  assert.ok(of('a').truncated.includes('message'));
  assert.equal(warned.length, 1, warned.join());
  assert.match(warned[0], /^milepost: part of a is not reported: an internal error: Error: of the reporter itself/);
});

test('a fault in every request is an outage that ends', async (t) => {
  const j = new Job('x', options());
  await until('the beginning', () => received.length === 1);
  const { mock: broken } = t.mock.method(Buffer, 'byteLength', () => {
    throw new Error('of the reporter itself');
  });
  const ended = j.complete(1);
  await until('a warning', () => warned.some((text) => /cannot report; the job continues: an internal error/.test(text)));
  broken.restore();
  await ended;
  await until('the end', () => received.at(-1).status === 'completed');
});

test('of many jobs, those reported last are remembered', async () => {
  status = null;
  const reporter = new ProgressReporter({ url, warn: () => {} });
  for (let n = 0; n < 100_000; n += 1) reporter.report(`j${n}`, 'x', 0.5, 'm'.repeat(100));
  server.closeAllConnections();
  status = 200;
  received = [];
  await until('the last', () => received.some((update) => update.job_id === 'j99999'));
  assert.ok(new Set(received.map(({ job_id }) => job_id)).size <= 10_000);
  await reporter.close();
});

for (const [given, problem] of [
  ['redis://user:secret@cache:6379', 'begins with neither http:// nor https://: cache:6379'],
  ['http://', 'names no host: http://'],
  ['http:///jobs', 'names no host: http:///jobs'],
  ['http://?x=1', 'names no host: http://?…'],
  ['http://:8084', 'names no host: http://:8084'],
  ['http://a b', 'is not a URL: http://a b'],
  ['http://a:99999', 'is not a URL: http://a:99999'],
  ['http://a:0', 'has no usable port: http://a:0'],
  ['http://a:8084?x=1', 'has a query or a fragment, which a server’s address has not: http://a:8084?…'],
  ['http://a/#b', 'has a query or a fragment, which a server’s address has not: http://a/#…'],
  ['https://user:secret@a', 'has a user name or a password; a key or token is an option of its own: a'],
]) {
  test(`no address: ${given.replace(/^.*@/, '…@')}`, async (t) => {
    const { mock: calls } = t.mock.method(globalThis, 'fetch', async () => new Response(''));
    for (const id of ['a', 'b']) {
      const j = new Job('x', { ...options(), id, url: given });
      j.log('line');
      await j.complete();
    }
    const reporter = new ProgressReporter({ url: given, warn: (text) => warned.push(text) });
    await reporter.reportComplete('a', 1);
    assert.equal(calls.callCount(), 0);
    // Each of the three has a place of its own for warnings.
    assert.deepEqual(warned, Array(3).fill(`milepost: nothing is reported: the address ${problem}`));
  });
}

test('an address is read as people write it', async () => {
  const { host } = new URL(url);
  for (const [n, given] of [` ${url}`, `${url}/`, `${url}//\n`, `HTTP://${host}`, new URL(url)].entries()) {
    await new Job('x', { ...options(), id: `${n}`, url: given, token: 'secret\n' }).complete();
    assert.equal(received.at(-1).path, `/jobs/${n}`);
  }
  assert.ok(authorized.every((header) => header === 'Bearer secret'), authorized.join());
  assert.deepEqual(warned, []);
});

test('no token is shown that no header can have', async () => {
  await new Job('x', { ...options(), token: 'a sécret\n…' }).complete();
  assert.deepEqual([received.at(-1).status, authorized.at(-1)], ['completed', undefined]);
  assert.deepEqual(warned, ['milepost: token is ignored: it takes a text of characters that a header can have']);
});

test('options that are no object cost only themselves', async () => {
  const { ended } = run(`
    const { ProgressReporter } = await import('milepost/reporter');
    const url = process.env.MILEPOST_URL;
    delete process.env.MILEPOST_URL;
    const reporter = new ProgressReporter(url);
    await reporter.reportComplete('old', 1);
    console.log(await job('x', null, () => 'done'));
    await new Job('x', url).complete();
    await new Job('x', 5).complete();
    await new Job('x', { url: 5 }).complete();`);
  const { code, stdout, stderr } = await ended;
  assert.deepEqual([code, stdout], [0, 'done\n'], stderr);
  assert.deepEqual(received.map(({ job_id, status }) => [job_id, status]), [['old', 'completed']]);
  assert.match(stderr, /^milepost: the options are ignored: they are an object, not "http:[^"]*"\nmilepost: url is ignored: it takes a text, not 5\n$/);
});

test('without an address nothing is done', async () => {
  const quiet = { warn: (text) => warned.push(text) };
  assert.equal(await job('x', quiet, (j) => [...j.track([1, 2])].length), 2);
  assert.deepEqual([received, warned], [[], []]);
});

test('a heartbeat every ten seconds, changes five times a second', async (t) => {
  let now = 0;
  const sent = [];
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
  });
  mock.method(performance, 'now', () => now);
  mock.method(globalThis, 'fetch', async (_, { body }) => {
    const update = JSON.parse(body);
    sent.push({ at: now, progress: update.progress });
    return new Response(JSON.stringify(taken(update)));
  });
  mock.timers.enable({ apis: ['setTimeout'] });
  const pass = async (ms) => {
    for (let n = 0; n < ms; n += 50) {
      now += 50;
      mock.timers.tick(50);
      for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const j = new Job('x', options());
  await pass(50);
  for (let n = 1; n <= 10; n += 1) {
    j.progress = n / 10;
    await pass(50);
  }
  await pass(25_000);
  const gaps = sent.slice(1).map(({ at }, n) => at - sent[n].at);
  assert.ok(gaps.every((gap) => gap >= 200), gaps.join());
  assert.deepEqual(gaps.slice(-2), [10_000, 10_000]);
  assert.equal(sent.at(-1).progress, 1);
  const ended = j.complete();
  await pass(50);
  await ended;
});

test('a misspelt variable is named once; the token is a variable', async () => {
  const set = { MILEPOST_ULR: url, milepost_url: url, MILEPOST_TTL: '60', MILEPOST_KEY: 'x', MILEPOST_TOKEN: 'secret' };
  Object.assign(process.env, set);
  try {
    await new Job('x', options()).complete();
    await new Job('y', { ...options(), id: 'k' }).complete();
  } finally {
    for (const name of Object.keys(set)) delete process.env[name];
  }
  assert.deepEqual(warned.sort(), [
    'milepost: the environment variable MILEPOST_ULR has no effect: did you mean MILEPOST_URL?',
    'milepost: the environment variable milepost_url has no effect: did you mean MILEPOST_URL?',
  ]);
  assert.ok(authorized.length >= 1 && authorized.every((header) => header === 'Bearer secret'), authorized.join());
});

/** Runs a script in a process of its own, which knows the server. */
function run(script) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', `import { Job, job } from 'milepost/reporter'; ${script}`], {
    cwd: new URL('..', import.meta.url), env: { ...process.env, MILEPOST_URL: url }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (said.stdout += chunk));
  child.stderr.on('data', (chunk) => (said.stderr += chunk));
  return { child, said, ended: new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal, ...said }))) };
}

test('a signal cancels the job and then stops the process', async () => {
  const { child, ended } = run(`
    setInterval(() => {}, 1000);
    await job('x', { id: 'j' }, async (j) => {
      console.log('ready');
      await new Promise((_, reject) => j.signal.addEventListener('abort', () => reject(j.signal.reason)));
    }).catch((error) => console.log(error.message));`);
  await until('the beginning', () => received.length >= 1);
  child.kill('SIGTERM');
  const { signal, stdout, stderr } = await ended;
  assert.equal(signal, 'SIGTERM', stderr);
  assert.match(stdout, /stopped by SIGTERM/);
  assert.equal(received.at(-1).status, 'cancelled');
});

test('a job that does not hear is cancelled for it', async () => {
  const { child, ended } = run(`await job('x', { id: 'j' }, () => new Promise((done) => setTimeout(done, 1e6)));`);
  await until('the beginning', () => received.length >= 1);
  child.kill('SIGINT');
  assert.equal((await ended).signal, 'SIGINT');
  assert.equal(received.at(-1).status, 'cancelled');
});

test('an unfinished job does not keep its process, and fails', async () => {
  const { ended } = run(`new Job('x', { id: 'j' }).progress = 0.5; await new Promise((done) => setTimeout(done, 500));`);
  const { code, stderr } = await ended;
  assert.equal(code, 0, stderr);
  assert.deepEqual([received.at(-1).status, received.at(-1).error], ['failed', 'the process ended without an outcome']);
});

for (const [how, script, code, error] of [
  ['process.exit()', 'process.exit(3)', 3, 'the process ended without an outcome'],
  ['an error that nobody catches', "throw new Error('no such table')", 1, 'no such table'],
]) {
  test(`jobs fail before their process ends by ${how}`, async () => {
    const { ended } = run(`
      const jobs = ['a', 'b'].map((id) => new Job('x', { id }));
      new Job('x', { id: 'c' }).complete('in time');
      await new Promise((done) => setTimeout(done, 500));
      jobs[0].progress = 0.7;
      ${script};`);
    const { code: found, stderr } = await ended;
    assert.equal(found, code, stderr);
    const last = Object.fromEntries(received.map((update) => [update.job_id, update]));
    assert.deepEqual([last.a.status, last.a.error, last.a.progress], ['failed', error, 0.7]);
    assert.deepEqual([last.b.status, last.c.status, last.c.result], ['failed', 'completed', 'in time']);
  });
}

test('a process ends at once if the server is known to be down', async () => {
  const { ended } = run(`
    new Job('x', { url: 'http://127.0.0.1:9', warn: () => process.exit(4) });
    setTimeout(() => {}, 60_000);`);
  assert.equal((await ended).code, 4);
  assert.deepEqual(received, []);
});

test('a silent server delays the end by two seconds at most', async () => {
  status = null;
  const { ended } = run(`console.log(await job('x', { id: 'j' }, () => 'done')); process.exit(0);`);
  const { code, stdout } = await ended;
  assert.deepEqual([code, stdout], [0, 'done\n']);
});

test('a job names its parent, and how many children it expects', async () => {
  const parent = new Job('batch', { ...options(), childrenExpected: 2 });
  const child = parent.child('part', { id: 'j-1', weight: 0.5 });
  await child.complete();
  parent.childrenExpected = 3;
  parent.childrenExpected = -1;
  await parent.complete();
  const of = (id) => received.findLast((update) => update.job_id === id);
  assert.deepEqual([of('j-1').parent_id, of('j-1').weight], ['j', 0.5]);
  assert.deepEqual([of('j').children_expected, of('j').parent_id], [3, undefined]);
  const orphan = new Job('part', { ...options(), id: 'o', parent: 'no id', weight: -1 });
  await orphan.complete();
  assert.deepEqual([of('o').parent_id, of('o').weight], [undefined, undefined]);
});

test('children are sent before their parents, on every level', async () => {
  const parent = new Job('batch', options());
  const children = ['j-1', 'j-2'].map((id) => parent.child('part', { id }));
  const grandchild = children[0].child('step', { id: 'j-1-1' });
  await Promise.all([parent, ...children, grandchild].map((job) => job.complete()));
  const ends = received.filter(({ status }) => status === 'completed');
  assert.deepEqual(ends.map((update) => update.job_id), ['j-1-1', 'j-2', 'j-1', 'j']);
});

test('a job signs a token with which a page may watch it alone', async () => {
  const secret = 'a secret of at least thirty-two bytes';
  const running = new Job('export', { ...options(), id: 'user:7:a' });
  const before = Math.floor(Date.now() / 1000);
  const [header, claims, signature] = (await running.watchToken({ seconds: 60, secret: `${secret}\n` })).split('.');
  await running.complete();
  const read = (part) => JSON.parse(Buffer.from(part, 'base64url').toString());
  const { exp, ...rest } = read(claims);
  assert.deepEqual([read(header), rest], [{ alg: 'HS256', typ: 'JWT' }, { milepost: { watch: ['user:7:a'] } }]);
  assert.ok(exp >= before + 60 && exp <= Date.now() / 1000 + 60, String(exp));
  assert.equal(signature, createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url'));

  process.env.MILEPOST_TOKEN_SECRET = secret;
  assert.equal((await watchToken('a')).split('.').length, 3);
  delete process.env.MILEPOST_TOKEN_SECRET;
  await assert.rejects(watchToken('a'), /MILEPOST_TOKEN_SECRET/);
  for (const seconds of [0, 86_401, NaN]) await assert.rejects(watchToken('a', { secret, seconds }), /1 to 86400 seconds/);
  // To a server some of these are many jobs.
  for (const id of ['user:*', 'tag:red', 'parent:batch-7', '', '..']) await assert.rejects(watchToken(id, { secret }), RangeError);
});
