// Scripted jobs, watched by the module itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { watch } from 'milepost';
import { TestServer } from 'milepost/testing';

import { PATIENCE } from './server.js';

/** Until it holds, or the test times out. */
async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test('a watch sees a script stall, fail and begin again', { timeout: PATIENCE }, async () => {
  const own = globalThis.WebSocket;
  const server = new TestServer();
  const seen = [];
  const watching = watch('a', { url: server.url, follow: true, onState: ({ status, progress, error, attempt }) => seen.push([attempt, status, progress, error, watching.health]) });
  await until(() => watching.known === false);
  await server.play('a', [
    { report: { stage: 'rendering', progress: 0.5 } },
    { after: 10, stall: 'lost', since: 90_000 },
    { after: 10, report: { progress: 0.6 } },
    { after: 10, fail: 'Out of memory' },
    { after: 10, report: { attempt: 2, progress: 0.1 } },
  ]);
  await until(() => seen.length === 5);
  assert.deepEqual(seen, [
    [1, 'processing', 0.5, undefined, 'ok'], [1, 'processing', 0.5, undefined, 'lost'], [1, 'processing', 0.6, undefined, 'ok'],
    [1, 'failed', 0.6, 'Out of memory', 'ok'], [2, 'processing', 0.1, undefined, 'ok'],
  ]);
  assert.throws(() => {
    server.complete('a', { rows: 3 });
    server.report('a', { progress: 0.2 });
  }, /attempt 2 of a has ended/);
  await until(() => watching.state?.status === 'completed');
  assert.deepEqual(watching.state.result, { rows: 3 });
  watching.close();
  server.close();
  assert.equal(globalThis.WebSocket, own);
});

test('a connection is lost and restored; close ends scripts', { timeout: PATIENCE }, async () => {
  const server = new TestServer();
  server.report('a', { progress: 0.5 });
  const connections = [];
  const watching = watch('a', { url: server.url, onConnection: (connection) => connections.push(connection) });
  await until(() => watching.state?.progress === 0.5);
  server.disconnect();
  server.report('a', { progress: 0.7 });
  assert.equal(watching.connection, 'reconnecting');
  server.reconnect();
  await until(() => watching.state?.progress === 0.7);
  assert.deepEqual(connections, ['open', 'reconnecting', 'open']);
  const script = server.play('a', [{ after: 3_600_000, fail: 'never' }]);
  server.close();
  await script;
  assert.equal(server.state('a').status, 'processing');
  watching.close();
});
