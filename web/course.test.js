// Run by `node --test`, without anything to install.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Course } from './dashboard/course.js';

const state = (number, more) => ({ job_id: 'a', status: 'processing', stage: 'one', attempt: 1, position: `e-${number}`, timestamp: new Date(number * 1000).toISOString(), ...more });

test('what the server kept goes before what was heard, once', () => {
  const course = new Course();
  course.add(state(4, { progress: 0.4 }));
  course.add(state(5, { progress: 0.5 }));
  course.recall([2, 3, 4, 5].map((number) => state(number, { progress: number / 10 })));
  assert.deepEqual(course.samples.map(({ progress }) => progress), [0.2, 0.3, 0.4, 0.5]);
  assert.equal(course.countBefore, 1);
});

test('a failure that is reported with 0 is shown where the job was', () => {
  const course = new Course();
  course.add(state(3, { status: 'failed', progress: 0 }));
  course.recall([state(1, { progress: 0.3 }), state(2, { progress: 0.6 }), state(3, { status: 'failed', progress: 0 })]);
  assert.equal(course.samples.at(-1).progress, 0.6);
  assert.deepEqual(course.legs.map(({ stage, from, to }) => [stage, from, to]), [['one', 0.3, 0.6], ['Failed', 0.6, 0.6]]);
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
