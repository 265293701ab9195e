// Run by `node --test`, without anything to install.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Job } from './job.js';
import { Pace } from './pace.js';

test('a rate is told once there is enough to tell it from', () => {
  const pace = new Pace();
  assert.equal(pace.rate(0), null);
  pace.note(0, 0.1);
  pace.note(4000, 0.2);
  assert.equal(pace.rate(4000), null);
  pace.note(5000, 0.35);
  assert.equal(pace.rate(5000).toFixed(3), '0.050');
});

test('no rate is told of what does not move, or has not for long', () => {
  const pace = new Pace();
  for (let at = 0; at <= 10_000; at += 1000) pace.note(at, 0.5);
  assert.equal(pace.rate(10_000), null);
  const quick = new Pace();
  for (let at = 0; at <= 10_000; at += 1000) quick.note(at, at / 20_000);
  assert.equal(quick.rate(10_000).toFixed(3), '0.050');
  assert.equal(quick.rate(60_000), null);
});

test('a progress that is set back is counted from there', () => {
  const pace = new Pace();
  for (let at = 0; at <= 10_000; at += 1000) pace.note(at, 0.9);
  pace.note(11_000, 0.1);
  assert.equal(pace.rate(11_000), null);
  pace.note(13_000, 0.2);
  pace.note(15_000, 0.3);
  assert.equal(pace.rate(15_000).toFixed(3), '0.050');
});

test('many samples are thinned, and tell the same', () => {
  const pace = new Pace();
  for (let at = 0; at <= 20_000; at += 20) pace.note(at, at / 100_000);
  assert.equal(pace.rate(20_000).toFixed(3), '0.010');
});

test('a job tells how fast it is and what is left, while it runs and is heard of', () => {
  const job = new Job('a');
  const state = (progress, more) => ({ job_id: 'a', status: 'processing', stage: 'x', attempt: 1, position: 'a-1', timestamp: '', progress, ...more });
  for (let at = 0; at <= 10_000; at += 1000) job.update(state(at / 40_000), at);
  assert.deepEqual(job.outlook(10_000), { rate: '2.5\u202f%/s', left: '30 s left' });
  assert.deepEqual(job.outlook(30_000), { rate: '', left: '' });
  for (const [perSecond, rate] of [[1 / 8, '13\u202f%/s'], [1 / 700, '8.6\u202f%/min'], [1 / 60_000, '6.0\u202f%/h']]) {
    const another = new Job('a');
    for (let at = 0; at <= 5; at += 1) another.update(state(at * perSecond), at * 1000);
    assert.equal(another.outlook(5000).rate, rate);
  }
  job.update(state(0.1, { attempt: 2 }), 11_000);
  assert.deepEqual(job.outlook(11_000), { rate: '', left: '' });
  job.update(state(1, { attempt: 2, status: 'completed' }), 12_000);
  assert.deepEqual(job.outlook(12_000), { rate: '', left: '' });
});
