// The examples for Vue, Svelte and Solid, compiled and bundled as their users do it, in a document of jsdom, with a fake socket.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';

import { build } from 'esbuild';
import { JSDOM } from 'jsdom';

const { window } = new JSDOM('<div id="root"></div>', { url: 'http://page/', pretendToBeVisual: true });
for (const name of ['window', 'document', 'location', 'Node', 'Element', 'HTMLElement', 'SVGElement', 'MathMLElement', 'Text', 'Comment', 'DocumentFragment', 'Event', 'CustomEvent']) {
  globalThis[name] = name === 'window' ? window : window[name];
}
globalThis.MathMLElement ??= class {};
Object.defineProperty(globalThis, 'navigator', { value: window.navigator, configurable: true });
globalThis.requestAnimationFrame = window.requestAnimationFrame;
globalThis.cancelAnimationFrame = window.cancelAnimationFrame;
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

/**
 * What a module exports once it is bundled for browsers, in a folder of this package, so that it finds what it imports.
 * @param {string} code of the module
 * @param {Record<string, string>} files beside it
 */
async function load(code, files = {}) {
  const folder = mkdtempSync(new URL('../.example-', import.meta.url).pathname);
  try {
    for (const [name, text] of Object.entries({ ...files, 'entry.js': code })) writeFileSync(`${folder}/${name}`, text);
    await build({
      entryPoints: [`${folder}/entry.js`], outfile: `${folder}/bundle.mjs`, bundle: true, format: 'esm', conditions: ['browser'],
      define: { 'process.env.NODE_ENV': '"production"' }, logLevel: 'error',
    });
    return await import(`${folder}/bundle.mjs`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

beforeEach(() => (FakeSocket.all = []));

/** After the next frame, in which a store shows what has changed. */
const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

/** Watches a job and then another, whatever the framework. */
async function check(flush, change, unmount) {
  const settle = async () => {
    await flush();
    await frame();
    await flush();
  };
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
  const { compileScript, parse } = await import('vue/compiler-sfc');
  const { descriptor, errors } = parse(example('Job.vue'));
  assert.deepEqual(errors, []);
  const { Job, createApp, h, nextTick, ref } = await load(
    "export { default as Job } from './Job.js'; export * from 'vue';",
    { 'Job.js': compileScript(descriptor, { id: 'job', inlineTemplate: true }).content },
  );
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
  const holder = compile('<script>import Job from "./Job.js"; let { ids } = $props(); let id = $state("a"); ids.change = (next) => (id = next);</script><Job {id} />', { generate: 'client', runes: true });
  const { Holder, flushSync, mount, unmount } = await load(
    "export { default as Holder } from './Holder.js'; export { flushSync, mount, unmount } from 'svelte';",
    { 'Job.js': js.code, 'Holder.js': holder.js.code },
  );
  const ids = {};
  const app = mount(Holder, { target: root, props: { ids } });
  t.after(() => unmount(app).catch(() => {}));
  await check(async () => flushSync(), (next) => ids.change(next), () => unmount(app));
});

test('Solid: examples/SolidJob.jsx', async (t) => {
  const { transformAsync } = (await import('@babel/core')).default;
  const { code } = await transformAsync(example('SolidJob.jsx'), { presets: ['babel-preset-solid'], configFile: false, babelrc: false, filename: 'SolidJob.jsx' });
  const { Job, createComponent, createSignal, render } = await load(
    "export { default as Job } from './Job.js'; export { createSignal } from 'solid-js'; export { createComponent, render } from 'solid-js/web';",
    { 'Job.js': code },
  );
  const [id, setId] = createSignal('a');
  const dispose = render(() => createComponent(Job, { get id() { return id(); } }), root);
  t.after(dispose);
  await check(async () => {}, setId, dispose);
});
