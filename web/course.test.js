// Run by `node --test`, without anything to install.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Course } from './dashboard/course.js';
import { paceOf } from './dashboard/pace.js';

const state = (number, more) => ({ job_id: 'a', status: 'processing', stage: 'one', attempt: 1, position: `e-${number}`, timestamp: new Date(number * 1000).toISOString(), ...more });

test('the history of the server overrides what was received, once', () => {
  const course = new Course();
  course.add(state(4, { progress: 0.4 }));
  course.add(state(5, { progress: 0.5 }));
  course.recall({ states: [2, 3, 4, 5].map((number) => state(number, { progress: number / 10 })) });
  assert.deepEqual(course.samples.map(({ progress }) => progress), [0.2, 0.3, 0.4, 0.5]);
  assert.equal(course.countBefore, 1);
});

test('the pace is that of late, once enough of it is known', () => {
  const of = (...steps) => paceOf(steps.map(([seconds, progress, more]) => ({ time: seconds * 1000, progress, attempt: 1, status: 'processing', stage: '', epoch: 'e', number: 1, ...more })));
  assert.equal(of(), null);
  assert.equal(of([0, 0], [5, 0.1], [10, 0.2]), null, 'too few steps');
  assert.equal(of([0, 0], [1, 0.1], [2, 0.2], [3, 0.3]), null, 'too short');
  assert.equal(of([0, 0], [4, 0.005], [8, 0.01], [12, 0.015]), null, 'too little');
  assert.equal(of([0, 0], [4, 0.1], [8, 0.2], [20, 0.4]), 0.02);
  // It was fast at first; the last 30 s count.
  assert.ok(Math.abs((of([0, 0], [10, 0.5], [70, 0.5], [80, 0.51], [100, 0.53]) ?? 0) - 0.001) < 1e-9);
  assert.equal(of([0, 0.5], [4, 0.6], [8, 0.7], [20, 0.1]), null, 'it was set back');
  assert.equal(of([0, 0], [4, 0.1], [8, 0.2], [20, null]), null, 'it is unknown now');
  const second = { attempt: 2 };
  assert.equal(of([0, 0], [4, 0.1], [8, 0.2], [20, 0.4], [21, 0, second], [22, 0.1, second]), null);
});

test('a failure that is reported with 0 is shown where the job was', () => {
  const course = new Course();
  course.add(state(3, { status: 'failed', progress: 0 }));
  course.recall({ states: [state(1, { progress: 0.3 }), state(2, { progress: 0.6 }), state(3, { status: 'failed', progress: 0 })] });
  assert.equal(course.samples.at(-1).progress, 0.6);
  assert.deepEqual(course.legs.map(({ stage, from, to }) => [stage, from, to]), [['one', 0.3, 0.6], ['Failed', 0.6, 0.6]]);
});

test('states of an earlier epoch come first, whatever their numbers', () => {
  const stopped = state(160, { position: 'old-160', progress: 0.94 });
  const ended = state(161, { position: 'new-1', status: 'completed', progress: 1 });
  const progress = (course) => course.samples.map(({ progress }) => progress);
  const late = new Course();
  late.add(ended);
  late.recall({ states: [stopped, ended] });
  assert.deepEqual(progress(late), [0.94, 1]);
  // The server has kept none of the states before, or of those that the page received.
  const open = new Course();
  open.add(stopped);
  open.add(ended);
  open.recall({ states: [ended] });
  assert.deepEqual(progress(open), [0.94, 1]);
  open.recall({ states: [state(1, { position: 'first-9', progress: 0.5 }), ended] });
  assert.deepEqual(progress(open), [0.5, 0.94, 1]);
});

test('legs follow stages and attempts, and no clock goes back', () => {
  const course = new Course();
  course.add(state(10, { stage: 'one', progress: 0.1 }));
  course.add(state(11, { stage: 'two', progress: 0.2, timestamp: new Date(0).toISOString() }));
  course.add(state(12, { stage: 'two', progress: 0.3, attempt: 2 }));
  assert.deepEqual(course.legs.map(({ stage, attempt }) => [stage, attempt]), [['one', 1], ['two', 1], ['two', 2]]);
  assert.equal(course.samples[1].time, course.samples[0].time);
});

test('a long way keeps its ends, and a bound', () => {
  const course = new Course();
  for (let number = 1; number <= 5000; number += 1) course.add(state(number, { progress: number / 5000 }));
  assert.ok(course.samples.length <= 600);
  assert.equal(course.samples[0].number, 1);
  assert.equal(course.samples.at(-1).number, 5000);
});

test('a page that is opened late shows the whole attempt', () => {
  const started_at = '2026-01-01T00:00:00.000Z';
  const at = (seconds) => new Date(Date.parse(started_at) + seconds * 1000).toISOString();
  const course = new Course();
  // The worker's clock is an hour off.
  course.add(state(900, { stage: 'encode', progress: 0.9, started_at, last_seen_at: at(540), timestamp: at(4140) }));
  course.recall({
    states: [state(899, { stage: 'encode', progress: 0.89, started_at, last_seen_at: at(535) }), state(900, { stage: 'encode', started_at })],
    samples: [[0, 0], [60, 0.1], [120, 0.2], [300, 0.5], [535, 0.89]],
    stages: [
      { id: 'fetch', label: null, weight: null, started_at, ended_at: at(100), progress_from: 0, progress_to: 0.15 },
      { id: 'encode', label: null, weight: null, started_at: at(100), ended_at: null, progress_from: 0.16, progress_to: 0.9 },
    ],
  });
  const seconds = course.samples.map(({ time }) => Math.round((time - Date.parse(started_at)) / 1000));
  assert.deepEqual(seconds, [0, 60, 100, 100, 120, 300, 535, 540]);
  assert.deepEqual(course.samples.map(({ progress }) => progress), [0, 0.1, 0.15, 0.16, 0.2, 0.5, 0.89, 0.9]);
  assert.deepEqual(course.legs.map(({ stage, from, to }) => [stage, from, to]), [['fetch', 0, 0.15], ['encode', 0.16, 0.9]]);
  assert.equal(course.countBefore, 0);
});
