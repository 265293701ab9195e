// What a program logs with pino, and with `job.log`, is the log of its job.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { afterEach, beforeEach, test } from 'node:test';
import pino from 'pino';

import { milepostLog } from 'milepost/pino';
import { Job } from 'milepost/reporter';

import { LogSender } from '../dist/log-sender.js';
import { until } from './server.js';

/** The lines that the server accepted: the job's id and the line. */
let log = [];
let requests = 0;
/** How the server answers requests about logs. */
let status = 200;
/** What it answers then. */
let said = '{}';
/** It answers so only what contains this text. */
let only = '';
let authorized = [];
/** What it waits for before it answers. */
let hold;
let server;
let url;

beforeEach(async () => {
  [log, requests, status, said, only, authorized] = [[], 0, 200, '{}', '', []];
  server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk) => (body += chunk)).on('end', () => {
      const lines = body.trim().split('\n').map((line) => JSON.parse(line));
      const job = /^\/jobs\/(.+)\/log$/.exec(request.url)?.[1];
      if (job === undefined) return response.end(lines.map(({ job_id }) => JSON.stringify({ job_id, position: '1-1' })).join('\n'));
      requests += 1;
      authorized.push(request.headers.authorization);
      const isTaken = status === 200 || !body.includes(only);
      if (isTaken) log.push(...lines.map((line) => [job, line]));
      void Promise.resolve(hold).then(() => response.writeHead(isTaken ? 200 : status).end(isTaken ? '{}' : said));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${server.address().port}`;
});
afterEach(() => new Promise((resolve) => {
  server.closeAllConnections();
  server.close(resolve);
}));

const texts = (job) => log.filter(([of]) => of === job).map(([, { text }]) => text);
const ended = (stream) => new Promise((resolve) => stream.end(resolve));

test('in a worker thread, as a transport of pino', async () => {
  const transport = pino.transport({ target: 'milepost/pino', options: { url, job: 'export-7', token: 'secret' } });
  const logger = pino({ level: 'debug' }, transport);
  logger.info({ rows: 400 }, 'opened the file');
  logger.child({ job: 'export-8' }).warn('of another job');
  logger.error(new Error('no space left'), 'it failed');
  await until('the lines', () => texts('export-7').length > 2 && texts('export-8').length);
  assert.deepEqual(texts('export-7').slice(0, 3), ['INFO opened the file rows=400', 'ERROR it failed', 'Error: no space left']);
  assert.deepEqual(texts('export-8'), ['WARN of another job']);
  assert.deepEqual([...new Set(authorized)], ['Bearer secret']);
  assert.match(log[0][1].at, /^\d{4}-\d\d-\d\dT.*Z$/);
  transport.end();
});

test('in the same thread, as a stream, which sends the rest when it ends', async () => {
  const stream = milepostLog({ url, job: 'a', minLevel: 40 });
  const logger = pino({ timestamp: pino.stdTimeFunctions.isoTime }, stream);
  logger.info('too little');
  logger.warn({ why: { code: 7 } }, 'line\nand line');
  await ended(stream);
  assert.deepEqual(texts('a'), ['WARN line', 'and line why={"code":7}']);
});

test('what is no record, and a record of no job, is left out', async () => {
  const stream = milepostLog({ url });
  stream.write('not JSON\n{"level":30,"msg":"of no job"}\n{"level":30,"job":"../x","msg":"no id"}\n{"level":30,"jo');
  stream.write('b":"a","msg":"in two pieces"}\n{"broken\n');
  await ended(stream);
  assert.deepEqual(log.map(([job, { text }]) => [job, text]), [['a', 'INFO in two pieces']]);
});

test('lines survive an outage, and those that do not fit are counted', async () => {
  status = 503;
  const stream = milepostLog({ url, job: 'a' });
  for (let n = 0; n < 600; n += 1) stream.write(`{"level":30,"msg":"line ${n}"}\n`);
  await until('a request', () => requests > 0);
  status = 200;
  await until('the lines', () => log.length >= 513);
  assert.deepEqual([texts('a')[0], texts('a')[1], texts('a').at(-1)], ['(milepost: 88 lines are left out here)', 'INFO line 88', 'INFO line 599']);
  await ended(stream);
});

for (const refusal of [404, 405, 400]) test(`lines survive another program's ${refusal}`, async () => {
  status = refusal;
  const stream = milepostLog({ url, job: 'a' });
  stream.write('{"level":30,"msg":"kept"}\n');
  await until('a request', () => requests > 0);
  status = 200;
  await until('the line', () => log.length > 0);
  assert.deepEqual(texts('a'), ['INFO kept']);
  await ended(stream);
});

for (const [refusal, name] of [[503, 'broker-full'], [503, 'server-full'], [429, 'too-many-requests'], [401, 'unauthenticated'], [502, '']]) {
  test(`lines survive ${refusal} ${name}, also at the job’s end`, async () => {
    const warned = [];
    [status, said] = [refusal, name ? JSON.stringify({ type: `urn:milepost:problem:${name}`, status: refusal, detail: 'not now' }) : '<html>'];
    const job = new Job('export', { url, id: 'a', warn: (text) => warned.push(text) });
    for (let n = 0; n < 600; n += 1) job.log(`line ${n}`);
    const ended = job.complete();
    await until('two requests', () => requests > 1);
    status = 200;
    await ended;
    assert.deepEqual([texts('a')[0], texts('a')[1], texts('a').at(-1)], ['(milepost: 88 lines are left out here)', 'line 88', 'line 599']);
    assert.deepEqual(warned, []);
  });
}

test('a job that may not write a log delays no other one', async () => {
  [status, said, only] = [403, JSON.stringify({ type: 'urn:milepost:problem:forbidden', status: 403, detail: 'not this job' }), 'of a'];
  const [a, b] = ['a', 'b'].map((id) => new Job('export', { url, id }));
  a.log('of a');
  b.log('of b');
  await until('the other one’s line', () => texts('b').length > 0);
  status = 200;
  await Promise.all([a.complete(), b.complete()]);
  assert.deepEqual([texts('a'), texts('b')], [['of a'], ['of b']]);
});

test('lines that the server refuses leave a gap that is marked', async () => {
  const warned = [];
  [status, said] = [413, ''];
  const job = new Job('export', { url, id: 'a', warn: (text) => warned.push(text) });
  for (const n of [1, 2, 3]) job.log(`line ${n}`);
  await until('both are refused, the lines and their number', () => requests === 2);
  job.log('line 4');
  await until('this one as well', () => requests === 4);
  status = 200;
  job.log('line 5');
  await job.complete();
  assert.deepEqual(texts('a'), ['line 5']);
  assert.deepEqual(warned, ['milepost: lines of the log of a are left out: the server answered 413']);
});

test('of lines, only those that are refused are left out', async () => {
  const job = new Job('export', { url, id: 'a', warn: () => {} });
  [status, said, only] = [422, JSON.stringify({ type: 'urn:milepost:problem:invalid-update', status: 422, detail: 'no' }), 'line 1'];
  job.log('line 1');
  await until('it is refused', () => requests > 0);
  job.log('line 2');
  await job.complete();
  assert.deepEqual(texts('a'), ['(milepost: 1 lines are left out here)', 'line 2']);
});

test('a server that is not there ends the stream all the same', async () => {
  status = 500;
  const stream = milepostLog({ url, job: 'a' });
  stream.write('{"level":30,"msg":"nowhere"}\n');
  await ended(stream);
  await ended(milepostLog({ job: 'a', url: 'http://127.0.0.1:1' }).on('error', assert.fail));
});

test('who ends breaks off no request with lines of those that go on', async () => {
  let answer;
  hold = new Promise((resolve) => (answer = resolve));
  const sender = LogSender.to({ base: url }, assert.fail);
  const [ending, running] = [{}, {}];
  sender.write(ending, 'a', { text: 'last', at: 0 });
  sender.write(running, 'b', { text: 'first', at: 0 });
  await until('a request', () => requests > 0);
  await sender.flush(ending, 0);
  answer();
  hold = undefined;
  await sender.flush(running, 2000);
  assert.deepEqual(log.map(([job, { text }]) => [job, text]), [['a', 'last'], ['b', 'first']]);
  assert.equal(requests, 2);
});

test('job.log writes to the log of the job', async () => {
  const job = new Job('export', { url, id: 'a' });
  job.log('opened the file\n400 of 1000 rows');
  await job.complete();
  assert.deepEqual(texts('a'), ['opened the file', '400 of 1000 rows']);
});
