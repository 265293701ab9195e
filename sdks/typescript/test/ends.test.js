// An end is never lost for what it carries: against the real server.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { CancelRequested, Job, ProgressReporter, job } from 'milepost/reporter';

const binary = process.env.MILEPOST;
const options = { skip: binary ? false : 'MILEPOST names no binary' };
const started = [];
after(() => started.forEach((server) => server.kill()));

/** Starts a server; resolves to its address. */
function serve(settings = {}) {
  const server = spawn(binary, ['serve', '--listen', '127.0.0.1:0'], { env: { ...process.env, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(server);
  return new Promise((resolve, reject) => {
    let said = '';
    const listen = (chunk) => {
      said += chunk;
      const [, address] = /address=(\S+)/.exec(said.replace(/\x1b\[[0-9;]*m/g, '')) ?? [];
      if (address) resolve(`http://${address}`);
    };
    server.stdout.on('data', listen);
    server.stderr.on('data', listen);
    server.once('exit', () => reject(new Error(said)));
  });
}

let url;
before(async () => {
  if (binary) url = await serve();
});

const state = async (id, from = url) => (await fetch(`${from}/jobs/${id}`)).json();
/** What a page or a person sends. */
const request = (id, body) => fetch(`${url}/jobs/${id}/requests`, { method: 'POST', body: JSON.stringify(body) });

const quiet = { warn: () => {} };

const cyclic = {};
cyclic.self = cyclic;
const hostile = {
  toJSON() {
    throw new Error('no');
  },
};
const ends = {
  'a result of 70 KB': [(j) => j.complete('x'.repeat(70_000)), 'completed', ['result']],
  'a result in umlauts': [(j) => j.complete('ü'.repeat(40_000)), 'completed', ['result']],
  'a list of ten million': [(j) => j.complete(new Float64Array(10_000_000)), 'completed', ['result']],
  'a cycle': [(j) => j.complete(cyclic), 'completed', ['result']],
  'a BigInt': [(j) => j.complete({ rows: 1n }), 'completed', ['result']],
  'a toJSON that throws': [(j) => j.complete(hostile), 'completed', ['result']],
  'metadata of 70 KB': [(j) => ((j.metadata = { log: 'x'.repeat(70_000) }), j.complete({ ok: true })), 'completed', ['metadata']],
  'an error of 90 KB': [(j) => j.fail('x'.repeat(90_000)), 'failed', ['error', 'message']],
  'half a character': [(j) => j.fail('\ud83d no'), 'failed', undefined],
};
for (const [name, [end, status, truncated]] of Object.entries(ends)) {
  test(`the end arrives: ${name}`, options, async () => {
    const warned = [];
    const j = new Job('x', { url, warn: (text) => warned.push(text) });
    await end(j);
    const { status: is, truncated: lacks, result } = await state(j.id);
    assert.deepEqual([is, lacks], [status, truncated]);
    if (name.startsWith('metadata')) assert.deepEqual(result, { ok: true });
    assert.equal(warned.length, truncated ? 1 : 0, warned.join());
  });
}

test('a server that takes less is sent less', options, async () => {
  const small = await serve({ MILEPOST_MAX_UPDATE_BYTES: '2000' });
  const j = new Job('x', { url: small, ...quiet });
  j.metadata = { rows: 4 };
  await j.complete('x'.repeat(10_000));
  const { status, truncated, metadata } = await state(j.id, small);
  assert.deepEqual([status, truncated, metadata], ['completed', ['result'], { rows: 4 }]);
});

for (const invalid of [400, 422]) {
  test(`an end that gets ${invalid} is reduced step by step`, async () => {
    const ends = [];
    const warned = [];
    const server = createServer(async (request, response) => {
      const update = JSON.parse(Buffer.concat(await request.toArray()).toString());
      if (update.status === 'completed') ends.push(update);
      const problem = { type: 'urn:milepost:problem:invalid-update', status: invalid, detail: 'no such value' };
      const answer = 'metadata' in update && update.status === 'completed' ? problem : { job_id: update.job_id, position: '1-1' };
      response.writeHead(answer.status ?? 200).end(JSON.stringify(answer));
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    started.push({ kill: () => (server.closeAllConnections(), server.close()) });
    const url = `http://127.0.0.1:${server.address().port}`;
    const j = new Job('x', { url, metadata: { unit: 'rows' }, warn: (text) => warned.push(text) });
    await j.complete({ rows: 4, columns: ['id', 'name'] });
    assert.deepEqual(ends.map(({ truncated }) => truncated), [undefined, ['result'], ['metadata', 'result']]);
    assert.match(warned.at(-1), /a part of it: no such value/);
  });
}

test('the old names lose no end either', options, async () => {
  const reporter = new ProgressReporter({ url, ...quiet });
  await reporter.reportComplete('old', { log: 'x'.repeat(70_000) });
  assert.deepEqual([(await state('old')).status, (await state('old')).truncated], ['completed', ['result']]);
  await reporter.close();
});

/** A server that redirects to another with that status. */
async function redirect(status) {
  const server = createServer(({ url: path }, response) => response.writeHead(status, { location: url + path }).end());
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  started.push({ kill: () => (server.closeAllConnections(), server.close()) });
  return `http://127.0.0.1:${server.address().port}`;
}

test('a redirect that keeps the method is followed', options, async () => {
  const j = new Job('x', { url: await redirect(308), ...quiet });
  await j.complete();
  assert.equal((await state(j.id)).status, 'completed');
});

test('a redirect elsewhere is an error, not a success', options, async () => {
  const warned = [];
  const j = new Job('x', { url: await redirect(302), warn: (text) => warned.push(text) });
  await j.complete();
  assert.equal((await fetch(`${url}/jobs/${j.id}`)).status, 404);
  assert.match(warned[0], /redirects to http/);
});

test('a request to cancel aborts the job’s signal', options, async () => {
  const running = job('x', { url, id: 'cancelled' }, async (j) => {
    const { signal } = j;
    while (!signal.aborted) {
      j.advance();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw signal.reason;
  });
  while ((await state('cancelled')).cancellable !== true) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await request('cancelled', { action: 'cancel', by: 'alice' })).status, 202);
  const error = await running.catch((reason) => reason);
  assert.ok(error instanceof CancelRequested);
  assert.equal(error.request.by, 'alice');
  const { status, message, acknowledged } = await state('cancelled');
  assert.deepEqual([status, message, acknowledged], ['cancelled', 'cancel requested by alice', 'cancel']);
});

test('only a job that uses its signal or onRequest is cancellable', options, async () => {
  const plain = new Job('x', { url, id: 'plain' });
  const heard = [];
  const warned = [];
  const onRequest = ({ action }, j) => {
    heard.push(action);
    j.acknowledge(action);
    throw new Error('of its own');
  };
  const paused = new Job('x', { url, id: 'paused', onRequest, warn: (text) => warned.push(text) });
  while (!((await state('plain')).position && (await state('paused')).cancellable)) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal((await request('plain', { action: 'cancel' })).status, 409);
  assert.equal((await request('paused', { action: 'pause' })).status, 202);
  paused.message = 'later';
  while ((await state('paused')).paused !== true) await new Promise((resolve) => setTimeout(resolve, 5));
  await Promise.all([plain.complete(), paused.complete()]);
  assert.deepEqual([heard, warned], [['pause'], ['milepost: onRequest of paused threw: of its own']]);
  assert.equal((await state('paused')).paused, undefined);
});
