// The examples for Vue and Svelte, compiled as their users do it, in a document of jsdom, with a fake socket.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';

import { JSDOM } from 'jsdom';

const { window } = new JSDOM('<div id="root"></div>', { url: 'http://page/', pretendToBeVisual: true });
for (const name of ['window', 'document', 'location', 'Node', 'Element', 'HTMLElement', 'SVGElement', 'MathMLElement', 'Text', 'Comment', 'DocumentFragment', 'Event', 'CustomEvent']) {
  globalThis[name] = name === 'window' ? window : window[name];
}
globalThis.MathMLElement ??= class {};
Object.defineProperty(globalThis, 'navigator', { value: window.navigator, configurable: true });
globalThis.addEventListener = window.addEventListener.bind(window);
after(() => window.close());

class FakeSocket {
  static all = [];
  sent = [];
  constructor() {
    FakeSocket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.isClosed = true;
  }
  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
}
globalThis.WebSocket = FakeSocket;

const root = document.getElementById('root');
const example = (name) => readFileSync(new URL(`../examples/${name}`, import.meta.url), 'utf8');
const shown = () => root.textContent.replace(/\s+/g, ' ').trim();

/** What a compiled module exports; in a folder of this package, so that it finds what it imports. */
async function load(code) {
  const folder = mkdtempSync(new URL('../.example-', import.meta.url).pathname);
  try {
    writeFileSync(`${folder}/example.mjs`, code);
    return (await import(`${folder}/example.mjs`)).default;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

beforeEach(() => (FakeSocket.all = []));

/** Watches a job and then another, whatever the framework. */
async function check(settle, change, unmount) {
  const state = (job, number, more) => ({ job_id: job, status: 'processing', stage: 'rendering', attempt: 1, timestamp: 't', position: `e-${number}`, ...more });
  await settle();
  const [socket] = FakeSocket.all;
  assert.equal(shown(), 'Waiting connecting');
  const bar = () => root.querySelector('progress');
  assert.equal(bar().hasAttribute('value'), false);
  socket.say({ type: 'connected' });
  assert.deepEqual(socket.sent.map(({ type, job_id: job }) => `${type} ${job}`), ['subscribe a']);
  socket.say(state('a', 1, { progress: 0.5 }));
  await settle();
  assert.equal(shown(), 'rendering');
  assert.equal(bar().value, 0.5);
  socket.say(state('a', 2, { progress: null, stage: 'counting' }));
  await settle();
  assert.equal(shown(), 'counting');
  assert.equal(bar().hasAttribute('value'), false);

  await change('b');
  await settle();
  assert.match(shown(), /^Waiting/);
  socket.say(state('a', 3, { progress: 0.9 }));
  socket.say(state('b', 1, { progress: 0.1 }));
  await settle();
  assert.equal(bar().value, 0.1);
  await unmount();
  await settle();
  assert.equal(root.childElementCount, 0);
  assert.deepEqual(socket.sent.map(({ type, job_id: job }) => `${type} ${job}`).sort(), ['subscribe a', 'subscribe b', 'unsubscribe a', 'unsubscribe b']);
  assert.equal(FakeSocket.all.length, 1);
  for (let n = 0; n < 100 && !socket.isClosed; n += 1) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(socket.isClosed, 'the socket rests when nothing is watched any more');
}

test('Vue: examples/Job.vue', async (t) => {
  const { createApp, h, nextTick, ref } = await import('vue');
  const { compileScript, parse } = await import('vue/compiler-sfc');
  const { descriptor, errors } = parse(example('Job.vue'));
  assert.deepEqual(errors, []);
  const Job = await load(compileScript(descriptor, { id: 'job', inlineTemplate: true }).content);
  const id = ref('a');
  const app = createApp({ render: () => h(Job, { id: id.value }) });
  app.config.warnHandler = (warning) => assert.fail(warning);
  app.mount(root);
  t.after(() => app.unmount());
  await check(nextTick, (next) => (id.value = next), () => app.unmount());
});

test('Svelte: examples/Job.svelte', async (t) => {
  const { compile } = await import('svelte/compiler');
  const { js, warnings } = compile(example('Job.svelte'), { generate: 'client', runes: true });
  assert.deepEqual(warnings, []);
  // What a bundler finds by the condition `browser`.
  const { flushSync, mount, unmount } = await import(new URL('../node_modules/svelte/src/index-client.js', import.meta.url).href);
  const Job = await load(js.code);
  const holder = compile('<script>let { Job, ids } = $props(); let id = $state("a"); ids.change = (next) => (id = next);</script><Job {id} />', { generate: 'client', runes: true });
  const Holder = await load(holder.js.code);
  const ids = {};
  const app = mount(Holder, { target: root, props: { Job, ids } });
  t.after(() => unmount(app).catch(() => {}));
  await check(async () => flushSync(), (next) => ids.change(next), () => unmount(app));
});
