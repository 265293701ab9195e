// A job that the server cannot read for a while stays watched.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { watch } from 'milepost';

/** The sockets that the module has opened. */
const sockets = [];
globalThis.WebSocket = class {
  sent = [];
  constructor() {
    sockets.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {}
  receive(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
};

const state = (number, status = 'processing') => ({ job_id: 'a', status, stage: 's', attempt: 1, position: `e-${number}` });

test('a warning is given once, and the states go on', async () => {
  const [warnings, errors] = [[], []];
  const job = watch('a', { url: 'http://127.0.0.1:1', onWarning: (text) => warnings.push(text), onError: (error) => errors.push(error) });
  await new Promise((resolve) => setImmediate(resolve));
  const [socket] = sockets;
  socket.receive({ type: 'connected', timestamp: new Date().toISOString() });
  socket.receive({ type: 'subscribed', job_id: 'a', known: true });
  socket.receive(state(1));
  socket.receive({ type: 'error', problem: 'unreadable-job', message: 'states may be missing', job_id: 'a' });
  assert.deepEqual(warnings, ['the server cannot read a: states may be missing']);
  assert.deepEqual([job.connection, job.error, job.state.position], ['open', null, 'e-1']);
  socket.receive(state(2, 'completed'));
  assert.equal(job.state.position, 'e-2');
  assert.deepEqual([errors, warnings.length, sockets.length], [[], 1, 1]);
  assert.deepEqual(socket.sent.map(({ type }) => type).filter((type) => type === 'subscribe'), ['subscribe']);
});
