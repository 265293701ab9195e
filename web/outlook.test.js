// Run by `node --test`, without anything to install. Time is passed in.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { ago, duration, stopwatch } from './durations.js';
import { Job } from './job.js';
import { Outlook } from './milepost/outlook.js';

const at = (ms) => new Date(ms).toISOString();
const state = (progress, more) => ({ job_id: 'a', status: 'processing', stage: 'x', attempt: 1, position: 'a-1', timestamp: '', progress, ...more });

test('the time left is what the server estimates, and nothing else', () => {
  const outlook = new Outlook();
  assert.equal(outlook.timeLeft(0), null);
  for (let now = 0; now <= 50_000; now += 1000) outlook.note(state(now / 100_000), now);
  assert.deepEqual([outlook.timeLeft(50_000), outlook.remaining(50_000), outlook.rate(50_000)], [null, null, null]);
  outlook.note(state(0.5, { eta: at(100_000), progressed_at: at(50_000), eta_basis: 'rate' }), 51_000);
  assert.deepEqual([outlook.timeLeft(60_000), outlook.rate(60_000)], [40_000, 0.01]);
  assert.equal(outlook.timeLeft(101_000), null, 'never negative');
  // A worker's own estimate says nothing of the rate, and a worker's own field is no estimate.
  outlook.note(state(0.5, { eta: at(100_000), progressed_at: at(50_000), eta_basis: 'worker' }), 51_000);
  assert.deepEqual([outlook.timeLeft(60_000), outlook.rate(60_000)], [40_000, null]);
  for (const eta of [75, '75', '1:15', null, {}]) {
    outlook.note(state(0.5, { eta }), 51_000);
    assert.deepEqual([outlook.timeLeft(51_000), outlook.remaining(51_000)], [null, null]);
    const job = new Job('a');
    job.update(state(0.5, { eta, eta_high: eta }), 51_000);
    assert.equal(job.isOverdue(51_000), false, `${eta}`);
  }
  outlook.note(state(0.5, { eta: '1970-01-01T00:01:40' }), 51_000);
  assert.equal(outlook.timeLeft(60_000), 40_000, 'without a zone it is UTC');
});

test('a silent worker has no time left', () => {
  const outlook = new Outlook();
  outlook.note(state(0.5, { eta: at(900_000) }), 50_000);
  assert.equal(outlook.health(80_000), 'ok');
  assert.equal(outlook.health(80_001), 'lost');
  assert.equal(outlook.silentFor(770_000), 720_000);
  assert.deepEqual([outlook.timeLeft(80_000), outlook.timeLeft(90_000)], [820_000, null]);
  outlook.note(state(0.5, { status: 'completed', eta: at(900_000) }), 90_000);
  assert.deepEqual([outlook.health(900_000), outlook.silentFor(900_000), outlook.timeLeft(90_000)], ['ok', null, null]);
});

test('a parent with running children is silent only by health', () => {
  const outlook = new Outlook();
  outlook.note(state(0.5, { children: { expected: 2, processing: 1 } }), 0);
  assert.equal(outlook.health(100_000), 'ok');
  outlook.note(state(0.5, { children: { expected: 2, processing: 1 }, health: 'lost' }), 100_000);
  assert.equal(outlook.health(100_000), 'lost');
  outlook.note(state(1, { children: { expected: 2, processing: 0 } }), 100_000);
  assert.equal(outlook.health(131_000), 'lost');
});

test('the server’s clock counts, and its health', () => {
  const outlook = new Outlook();
  // The worker's clock is an hour behind; the server's is what counts.
  outlook.note(state(0.5, { timestamp: at(0), last_seen_at: at(3_600_000), progressed_at: at(3_500_000), health: 'ok' }), 3_600_500);
  assert.deepEqual([outlook.silentFor(3_601_000), outlook.standsFor(3_601_000)], [1000, 101_000]);
  assert.equal(outlook.health(9_000_000), 'ok');
  outlook.note(state(0.5, { health: 'stalled', eta: at(9_500_000) }), 9_000_000);
  assert.deepEqual([outlook.health(9_000_000), outlook.timeLeft(9_000_000)], ['stalled', null]);
});

test('time-left.json: the time left in words', () => {
  const { cases } = JSON.parse(readFileSync(new URL('../spec/fixtures/time-left.json', import.meta.url), 'utf8'));
  const now = 1_780_000_000_000;
  for (const { eta, eta_high, words } of cases) {
    const job = new Job('a');
    job.update(state(0.5, { eta: at(now + eta * 1000), ...(eta_high !== null && { eta_high: at(now + eta_high * 1000) }) }), now);
    assert.equal(job.outlook(now).left, words, `${eta} ${eta_high}`);
  }
});

test('rate.json: how fast a job advances, in words', () => {
  const { cases } = JSON.parse(readFileSync(new URL('../spec/fixtures/rate.json', import.meta.url), 'utf8'));
  const now = 1_780_000_000_000;
  for (const { progress, seconds, words } of cases) {
    const job = new Job('a');
    job.update(state(progress, { eta: at(now + seconds * 1000), eta_basis: 'rate', progressed_at: at(now) }), now);
    assert.equal(job.outlook(now).rate.replace('\u202f', ' '), words ?? '', `${progress} ${seconds}`);
  }
});

test('durations.json: what took, lasts and was, in words', () => {
  const { took, since, ago: past } = JSON.parse(readFileSync(new URL('../spec/fixtures/durations.json', import.meta.url), 'utf8'));
  for (const [cases, inWords] of [[took, stopwatch], [since, duration], [past, ago]]) {
    for (const { ms, words } of cases) assert.equal(inWords(ms), words, `${ms}`);
  }
});

test('a job says in words how fast it is, what is left, and what is wrong', () => {
  const job = new Job('a');
  const estimate = (seconds) => ({ eta: at(10_000 + seconds * 1000), eta_high: at(10_000 + seconds * 1200), eta_basis: 'rate', progressed_at: at(10_000) });
  job.update(state(0.25, estimate(30)), 10_000);
  assert.deepEqual(job.outlook(10_000), { rate: '2.5\u202f%/s', left: 'about 30 s left' });
  assert.equal(job.trouble(10_000), '');
  assert.deepEqual(job.outlook(730_000), { rate: '', left: '' });
  assert.equal(job.trouble(730_000), 'Silent for 12 min');
  // By earlier jobs alone: what was measured says how fast it is, while it moves.
  const usual = new Job('a');
  usual.update(state(0.25, { ...estimate(30), eta_basis: 'history' }), 10_000);
  assert.deepEqual(usual.outlook(10_000, 0.02), { rate: '2.0\u202f%/s', left: 'about 30 s left' });
  assert.deepEqual(usual.outlook(730_000, 0.02).rate, '');
  usual.update(state(0.25, { paused: true }), 10_000);
  assert.deepEqual(usual.outlook(10_000, 0.02).rate, '');
  const slow = new Job('a');
  slow.update(state(0.5, estimate(350)), 10_000);
  assert.equal(slow.outlook(10_000).rate, '8.6\u202f%/min');
  job.update(state(0.1, { attempt: 2 }), 11_000);
  assert.deepEqual(job.outlook(11_000), { rate: '', left: '' });
  job.update(state(1, { attempt: 2, status: 'completed' }), 12_000);
  assert.deepEqual(job.outlook(12_000), { rate: '', left: '' });
});
