// Run by `node --test`, without anything to install. Time is passed in.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Job } from './job.js';
import { Outlook } from './milepost/outlook.js';

const state = (progress, more) => ({ job_id: 'a', status: 'processing', stage: 'x', attempt: 1, position: 'a-1', timestamp: '', progress, ...more });
/** A job that advances evenly until it is done at `end` ms, reported each `gap` ms up to `until`. */
function steady(end, gap, until) {
  const outlook = new Outlook();
  for (let at = 0; at <= until; at += gap) outlook.note(state(at / end), at);
  return outlook;
}
const near = (found, expected, what) => assert.ok(found !== null && Math.abs(found - expected) <= expected * 0.02, `${what}: ${found}, not ${expected}`);

test('a time left is told once there is enough to tell it from', () => {
  assert.equal(new Outlook().timeLeft(0), null);
  assert.equal(steady(100_000, 1000, 2000).timeLeft(2000), null, 'too short');
  assert.equal(steady(100_000, 10_000, 20_000).timeLeft(20_000), null, 'too few changes');
  assert.equal(steady(10_000_000, 1000, 20_000).timeLeft(20_000), null, 'too little progress');
  near(steady(100_000, 1000, 20_000).timeLeft(20_000), 80_000, 'once a second');
  near(steady(3_600_000, 60_000, 600_000).timeLeft(600_000), 3_000_000, 'once a minute');
});

test('between reports the time left counts down to zero', () => {
  const outlook = steady(100_000, 10_000, 90_000);
  near(outlook.timeLeft(95_000), 5000, 'half a gap later');
  assert.equal(outlook.timeLeft(101_000), null);
  assert.equal(outlook.timeLeft(125_000), null);
});

test('a stalled job has no rate, and a reset begins again', () => {
  const still = new Outlook();
  for (let at = 0; at <= 10_000; at += 1000) still.note(state(0.5), at);
  assert.equal(still.rate(10_000), null);
  const back = steady(20_000, 1000, 15_000);
  for (let at = 16_000; at <= 30_000; at += 1000) back.note(state((at - 16_000) / 140_000), at);
  near(back.rate(30_000), 1 / 140, 'a second');
});

test('a rate follows a job that slows down', () => {
  const outlook = steady(100_000, 1000, 50_000);
  for (let at = 51_000; at <= 250_000; at += 1000) outlook.note(state(0.5 + (at - 50_000) / 1_000_000), at);
  const rate = outlook.rate(250_000);
  assert.ok(rate < 1 / 500 && rate >= 1 / 1000, `${rate} a second`);
});

test('a silent worker has no time left', () => {
  const outlook = steady(100_000, 1000, 50_000);
  assert.equal(outlook.health(80_000), 'ok');
  assert.equal(outlook.health(80_001), 'lost');
  assert.equal(outlook.silentFor(770_000), 720_000);
  assert.equal(outlook.timeLeft(90_000), null);
  assert.equal(outlook.rate(90_000), null);
  outlook.note(state(0.5, { status: 'completed' }), 90_000);
  assert.deepEqual([outlook.health(900_000), outlook.silentFor(900_000)], ['ok', null]);
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

test('the outlook of the server overrides what a page sees', () => {
  const at = (ms) => new Date(ms).toISOString();
  const outlook = new Outlook();
  // The worker's clock is an hour behind; the server's is what counts.
  outlook.note(state(0.5, { timestamp: at(0), last_seen_at: at(3_600_000), progressed_at: at(3_500_000), health: 'ok' }), 3_600_500);
  assert.deepEqual([outlook.silentFor(3_601_000), outlook.standsFor(3_601_000)], [1000, 101_000]);
  assert.equal(outlook.health(9_000_000), 'ok');
  outlook.note(state(0.5, { health: 'stalled', eta: at(9_500_000) }), 9_000_000);
  assert.deepEqual([outlook.health(9_000_000), outlook.timeLeft(9_000_000)], ['stalled', null]);
  outlook.note(state(0.5, { health: 'ok', eta: at(9_500_000) }), 9_000_000);
  assert.deepEqual([outlook.timeLeft(9_100_000), outlook.timeLeft(9_600_000)], [400_000, null]);
});

test('rate, time left and problems as text', () => {
  const job = new Job('a');
  for (let at = 0; at <= 10_000; at += 1000) job.update(state(at / 40_000), at);
  assert.deepEqual(job.outlook(10_000), { rate: '2.5\u202f%/s', left: '30 s left' });
  assert.equal(job.trouble(10_000), '');
  assert.deepEqual(job.outlook(730_000), { rate: '', left: '' });
  assert.equal(job.trouble(730_000), 'Silent for 12 min');
  const slow = new Job('a');
  for (let at = 0; at <= 20; at += 1) slow.update(state(at / 700), at * 1000);
  assert.equal(slow.outlook(20_000).rate, '8.6\u202f%/min');
  job.update(state(0.1, { attempt: 2 }), 11_000);
  assert.deepEqual(job.outlook(11_000), { rate: '', left: '' });
  job.update(state(1, { attempt: 2, status: 'completed' }), 12_000);
  assert.deepEqual(job.outlook(12_000), { rate: '', left: '' });
});
