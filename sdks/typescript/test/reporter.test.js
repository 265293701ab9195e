// The reporter as npm gets it, against a server of HTTP that notes what it is told; and in processes of their own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { Job, job } from 'milepost/reporter';

let told = [];
let warned = [];
/** How the server answers: a status, or null for not at all. */
let status = 200;
let server;
let url;

const listen = (port = 0) => new Promise((resolve) => {
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      told.push({ path: request.url, ...JSON.parse(body) });
      if (status) response.writeHead(status).end('{"detail":"because"}');
    });
  }).listen(port, '127.0.0.1', () => resolve((url = `http://127.0.0.1:${server.address().port}`)));
});
const close = () => new Promise((resolve) => {
  server.closeAllConnections();
  server.close(resolve);
});
beforeEach(async () => {
  [told, warned, status] = [[], [], 200];
  await listen();
});
afterEach(close);

const options = () => ({ url, id: 'j', warn: (text) => warned.push(text) });
async function until(what, question) {
  const deadline = Date.now() + 20_000;
  while (!question()) {
    if (Date.now() > deadline) throw new Error(`it does not come about: ${what}`);
    await pause(10);
  }
}

test('a job is told from its beginning to its result', async () => {
  const result = await job('export', { ...options(), stage: 'reading', ttl: 60 }, async (j) => {
    await until('the beginning', () => told.length === 1);
    for (const [n, item] of [...j.track(['a', 'b', 'c', 'd'])].entries()) j.message = `${n} ${item}`;
    assert.equal(j.progress, 1);
    j.stage = 'writing';
    j.progress = 0.25;
    j.metadata = { rows: 4 };
    await until('the stage', () => told.some((update) => update.stage === 'writing'));
    return { file: 'x.csv' };
  });
  assert.deepEqual(result, { file: 'x.csv' });
  const { timestamp, ...first } = told[0];
  assert.deepEqual(first, { path: '/jobs/j', job_id: 'j', status: 'processing', stage: 'reading', progress: null, ttl: 60 });
  assert.match(timestamp, /Z$/);
  const { status: ended, result: told_, progress, metadata } = told.at(-1);
  assert.deepEqual([ended, told_, progress, metadata], ['completed', { file: 'x.csv' }, 1, { rows: 4 }]);
  assert.deepEqual(warned, []);
});

test('what a job throws is thrown on, and is why it failed', async () => {
  const fault = new RangeError('out of memory');
  await assert.rejects(job('x', options(), (j) => {
    j.progress = 0.5;
    throw fault;
  }), (error) => error === fault);
  const { status: ended, error, message, progress } = told.at(-1);
  assert.deepEqual([ended, error, message, progress], ['failed', 'out of memory', 'Error: out of memory', 0.5]);
});

test('a job whose signal was aborted is cancelled', async () => {
  const stop = new AbortController();
  await assert.rejects(job('x', { ...options(), signal: stop.signal }, async (j) => {
    stop.abort();
    j.signal.throwIfAborted();
  }), { name: 'AbortError' });
  assert.equal(told.at(-1).status, 'cancelled');
});

test('async items are tracked too; what is not taken is not counted', async () => {
  const j = new Job('x', options());
  const items = async function* () {
    yield* [1, 2, 3];
  };
  for await (const item of j.track(items(), 4)) if (item === 3) break;
  assert.equal(j.progress, 0.5);
  await j.cancel();
  assert.equal(told.at(-1).progress, 0.5);
});

test('a million steps are a few updates, the last of them the newest', async () => {
  const j = new Job('x', { ...options(), total: 1_000_000 });
  for (let n = 0; n < 1_000_000; n += 1) j.inc();
  await until('the newest', () => told.at(-1)?.progress === 1);
  await j.complete();
  assert.ok(told.length <= 4, `${told.length}`);
  assert.equal(told.at(-1).status, 'completed');
  await j.fail('too late');
  assert.equal(told.at(-1).status, 'completed');
});

test('a server that goes is told of once, and once when it is back, with the newest state', async () => {
  const j = new Job('x', options());
  await until('the beginning', () => told.length === 1);
  const { port } = new URL(url);
  await close();
  j.progress = 0.1;
  await until('a warning', () => warned.length === 1);
  j.stage = 'later';
  j.progress = 0.7;
  await listen(Number(port));
  await until('it is back', () => warned.length === 2);
  assert.match(warned[0], /cannot be reported, the job goes on/);
  assert.match(warned[1], /again/);
  assert.deepEqual([told.at(-1).stage, told.at(-1).progress], ['later', 0.7]);
  await j.complete();
  assert.equal(warned.length, 2);
});

test('a server that refuses is told of once, and the job goes on', async () => {
  status = 409;
  const result = await job('x', options(), async (j) => {
    for (const stage of ['1', '2', '3']) {
      j.stage = stage;
      await until(stage, () => told.some((update) => update.stage === stage));
    }
    return 1;
  });
  assert.equal(result, 1);
  assert.deepEqual(warned, ['milepost: the server refuses what is reported: because']);
});

test('what JSON cannot hold harms nobody', async () => {
  const loop = {};
  loop.loop = loop;
  const big = { n: 10n };
  await job('x', { ...options(), metadata: loop }, (j) => {
    j.progress = NaN;
    j.progress = 7;
    return big;
  });
  assert.deepEqual([told.at(-1).status, told.at(-1).progress], ['completed', 1]);
  assert.deepEqual(warned, []);
});

test('without an address nothing is done', async () => {
  const quiet = { warn: (text) => warned.push(text) };
  assert.equal(await job('x', quiet, (j) => [...j.track([1, 2])].length), 2);
  assert.deepEqual([told, warned], [[], []]);
});

test('a quiet job says every ten seconds that it is there; changes are held to five a second', async (t) => {
  let now = 0;
  const sent = [];
  t.after(() => {
    mock.timers.reset();
    mock.restoreAll();
  });
  mock.method(performance, 'now', () => now);
  mock.method(globalThis, 'fetch', async (_, { body }) => {
    sent.push({ at: now, progress: JSON.parse(body).progress });
    return new Response('{}');
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

/** Runs a script in a process of its own, told where the server is. */
function run(script) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', `import { Job, job } from 'milepost/reporter'; ${script}`], {
    cwd: new URL('..', import.meta.url), env: { ...process.env, MILEPOST_URL: url }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (said.stdout += chunk));
  child.stderr.on('data', (chunk) => (said.stderr += chunk));
  return { child, said, ended: new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal, ...said }))) };
}

test('a process asked to stop asks its job, says that it was cancelled, and stops as asked', async () => {
  const { child, ended } = run(`
    setInterval(() => {}, 1000);
    await job('x', { id: 'j' }, async (j) => {
      console.log('ready');
      await new Promise((_, reject) => j.signal.addEventListener('abort', () => reject(j.signal.reason)));
    }).catch((error) => console.log(error.message));`);
  await until('the beginning', () => told.length >= 1);
  child.kill('SIGTERM');
  const { signal, stdout, stderr } = await ended;
  assert.equal(signal, 'SIGTERM', stderr);
  assert.match(stdout, /stopped by SIGTERM/);
  assert.equal(told.at(-1).status, 'cancelled');
});

test('a job that does not hear is cancelled for it', async () => {
  const { child, ended } = run(`await job('x', { id: 'j' }, () => new Promise((done) => setTimeout(done, 1e6)));`);
  await until('the beginning', () => told.length >= 1);
  child.kill('SIGINT');
  assert.equal((await ended).signal, 'SIGINT');
  assert.equal(told.at(-1).status, 'cancelled');
});

test('a job that was left lying does not keep its process alive, and has failed', async () => {
  const { ended } = run(`new Job('x', { id: 'j' }).progress = 0.5; await new Promise((done) => setTimeout(done, 500));`);
  const { code, stderr } = await ended;
  assert.equal(code, 0, stderr);
  assert.deepEqual([told.at(-1).status, told.at(-1).error], ['failed', 'the process ended without telling an outcome']);
});

test('a server that does not answer delays the end by two seconds at most, and does not change the outcome', async () => {
  status = null;
  const { ended } = run(`console.log(await job('x', { id: 'j' }, () => 'done')); process.exit(0);`);
  const { code, stdout } = await ended;
  assert.deepEqual([code, stdout], [0, 'done\n']);
});
