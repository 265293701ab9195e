// The fixtures of the protocol, as far as the package implements it: what is read is tested beside the modules
// (web/fixtures.test.js), what is reported here.
//
// Left out: fold.json but for its states, position.json and timestamp.json: neither the reporter nor its types read
// or order anything. Of update.json what is given as text or bytes, and what is refused: the reporter writes
// JSON.stringify's text of fields that TypeScript has checked, and no other.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterEach, mock, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { watch } from 'milepost';
import { Job, ProgressReporter } from 'milepost/reporter';

import { skip, withServer } from './server.js';

const fixture = (name) => JSON.parse(readFileSync(new URL(`../../../spec/fixtures/${name}.json`, import.meta.url), 'utf8'));
const { accepted } = fixture('update');

/** The requests that were made. */
let requests = [];
function answerAll(status, text) {
  mock.restoreAll();
  requests = [];
  mock.method(globalThis, 'fetch', async (url, { body }) => {
    const update = JSON.parse(body);
    requests.push({ url, update });
    return new Response(text ?? JSON.stringify({ job_id: update.job_id, position: '1-1' }), { status });
  });
}
afterEach(() => mock.restoreAll());

test('fold.json and update.json: every state is a `State`', () => {
  const steps = fixture('fold').cases.flatMap((each) => each.steps);
  const states = [...steps, ...accepted].flatMap(({ state, state_text: text }) => (state ?? text ? JSON.stringify(state ?? JSON.parse(text)) : []));
  assert.ok(states.length > 150);
  const folder = mkdtempSync(new URL('../.types-', import.meta.url).pathname);
  try {
    writeFileSync(`${folder}/states.ts`, `import type { State } from 'milepost';\nexport const states: State[] = [\n${states.join(',\n')}\n];\n`);
    const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
    const options = '--strict --exactOptionalPropertyTypes --noEmit --skipLibCheck false --target es2022 --module nodenext --types node';
    execFileSync(process.execPath, [tsc, ...options.split(' '), `${folder}/states.ts`], { encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** The fields that a `Job` can set. */
const SAID = ['job_id', 'status', 'stage', 'progress', 'message', 'metadata', 'result', 'error', 'attempt', 'ttl'];

test('update.json: the fields of a job are reported as they were set', async () => {
  let reported = 0;
  for (const { name, update, state } of accepted) {
    const given = Object.entries(update ?? { not: 'as a value' }).filter(([, value]) => value !== null || 'progress' in (update ?? {}));
    if (!given.every(([field]) => SAID.includes(field)) || update.status === 'queued') continue;
    // Fields that only an end has.
    if (('result' in update && update.status !== 'completed') || ('error' in update && update.status !== 'failed')) continue;
    answerAll(200);
    const { stage, message, metadata, attempt, ttl, status = 'processing', result, error } = update;
    const more = Object.fromEntries(Object.entries({ stage, message, metadata, attempt, ttl }).filter(([, value]) => value != null));
    const j = new Job('x', { url: `http://x${reported}`, id: 'j1', ...more });
    if ('progress' in update) j.progress = update.progress;
    if (status === 'completed') await j.complete(result);
    else if (status === 'failed') await j.fail(error ?? '');
    else if (status === 'cancelled') await j.cancel();
    else for (let turns = 0; turns < 50 && !requests.length; turns += 1) await pause(1);
    const { update: received } = requests.at(-1);
    for (const [field, value] of given) {
      // The reporter knows that what is complete is.
      if (field === 'progress') assert.equal(received.progress, status === 'completed' ? 1 : state.progress, name);
      else if (field === 'message' && status === 'failed') assert.equal(received.message, `Error: ${error}`, name);
      else assert.deepEqual(received[field], value, `${name}: ${field}`);
    }
    assert.equal(received.job_id, 'j1');
    await j.cancel();
    reported += 1;
  }
  assert.ok(reported >= 14, `${reported}`);
});

test('update.json: by legacy names too', async () => {
  let reported = 0;
  for (const { name, update } of accepted.filter((each) => each.name.startsWith("a legacy worker") && each.update.stage)) {
    answerAll(200);
    const reporter = new ProgressReporter({ url: `http://y${(reported += 1)}` });
    const { status, stage, progress, message, metadata, result, error } = update;
    if (status === 'completed') await reporter.reportComplete('j1', result);
    else if (status === 'failed') await reporter.reportError('j1', error, stage);
    else await reporter.report('j1', stage, progress, message, metadata);
    await reporter.close();
    const { timestamp: _, progress: far, ...received } = requests.at(-1).update;
    const { timestamp: __, progress: wanted, ...expected } = update;
    assert.deepEqual(received, expected, name);
    // A failure leaves the bar where it was: the fold keeps it.
    if (status !== 'failed') assert.equal(far, wanted, name);
  }
  assert.equal(reported, 3);
});

test('problems.json: rejections warn once, server faults retry', async () => {
  for (const { type, status, title } of fixture('problems').problems) {
    const warned = [];
    answerAll(status, JSON.stringify({ type, status, title, detail: `${title}: because` }));
    mock.method(Math, 'random', () => 0);
    const j = new Job('x', { url: `http://${type.split(':').at(-1)}`, id: 'j', warn: (text) => warned.push(text) });
    for (let turns = 0; turns < 400 && !(warned.length && (status < 500 || requests.length > 3)); turns += 1) await pause(1);
    const isPassing = status === 408 || status === 429;
    const isRefusal = status < 500 && !isPassing;
    assert.equal(warned.length, 1, warned.join());
    const isCredential = status === 401 || status === 403;
    assert.match(warned[0], isCredential ? /refuses the credential/ : isRefusal ? /was rejected|is no longer reported/ : /the job continues|retrying/);
    assert.ok(warned[0].endsWith(`: ${title}: because`), warned[0]);
    if (isRefusal) assert.equal(requests.length, 1, type);
    else if (!isPassing) assert.ok(requests.length > 1, type);
    // An end is kept until it has arrived.
    answerAll(200);
    await j.cancel();
    mock.restoreAll();
  }
});

test('job-id.json: an id reaches the server, or is rejected', { skip }, () => withServer(async (url) => {
  const { accepted: good, refused } = fixture('job-id');
  for (const id of good) {
    await new Job('x', { url, id }).complete(id);
    let last;
    for await (const state of watch(id, { url })) last = state;
    assert.deepEqual([last.job_id, last.result], [id, id]);
  }
  for (const { text, character } of refused) {
    const warned = [];
    await new Job('x', { url, id: text, warn: (why) => warned.push(why) }).complete();
    assert.equal(warned.length, 1, text);
    assert.match(warned[0], /is not reported/);
    if (!character) continue;
    assert.ok(warned[0].includes(`'${character}'`), `${text}: ${warned[0]}`);
    await assert.rejects(async () => {
      for await (const _ of watch(text, { url }));
    }, /not allowed/, text);
  }
}));
