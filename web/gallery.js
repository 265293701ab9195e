// @ts-check
/** The part of `/try` for those who put `<job-progress>` into a page: each of its states, its look, and how to use it. */

import { home } from './addresses.js';
import { copy } from './dashboard/text.js';
import './job-progress.js';
import { byId, element, write } from './paint.js';
import { snippets } from './snippets.js';

const ago = (/** @type {number} */ minutes) => new Date(Date.now() - minutes * 60_000).toISOString();

/** @param {object} fields */
const state = (fields) => ({ job_id: 'export-7', status: 'processing', attempt: 1, position: '1-1', timestamp: ago(0), ...fields });
const running = { stage: 'writing', progress: 0.62, message: '620 of 1000 rows', health: 'ok' };
const stages = ['fetch', { id: 'encode', label: 'Encode the film' }, 'upload'];
const requested = (/** @type {string} */ action) => ({ requested: { action, at: ago(0) } });
const traceback = 'Traceback (most recent call last):\n  File "export.py", line 7, in write\n    file.flush()\nOSError: no space left on device';

/**
 * What the component shows, by name: a state, and attributes of the element.
 * @type {Record<string, [object | null, Record<string, string>?]>}
 */
const SCENES = {
  'No job yet': [null],
  'Queued': [{ status: 'queued', stage: 'queued' }],
  'Running': [running],
  'Total not known': [{ ...running, progress: null, message: '620 rows so far' }],
  'Stages as steps': [{ ...running, stages, stage: 'encode', message: 'Frame 620 of 1000' }, { stages: '' }],
  'Children': [{ ...running, stage: 'rendering', message: 'Part 8', children: { expected: 12, completed: 6, failed: 1, cancelled: 0, processing: 3, queued: 2, lost: 0 } }],
  'No progress': [{ ...running, health: 'stalled', progressed_at: ago(4), last_seen_at: ago(0) }],
  'Worker is silent': [{ ...running, health: 'lost', last_seen_at: ago(12) }],
  'Paused': [{ ...running, paused: true, ...requested('pause') }],
  'Cancelling': [{ ...running, ...requested('cancel') }],
  'Completed': [{ status: 'completed', stage: 'complete', progress: 1, message: '1000 rows', result: { 'export.csv': 'https://example.com/export.csv' } }],
  'Failed': [{ status: 'failed', stage: 'writing', progress: 0.62, error: traceback }],
  'Failed, errors="full"': [{ status: 'failed', stage: 'writing', progress: 0.62, error: traceback }, { errors: 'full' }],
  'Failed, errors="hidden"': [{ status: 'failed', stage: 'writing', progress: 0.62, error: traceback }, { errors: 'hidden' }],
  'Cancelled': [{ status: 'cancelled', stage: 'writing', progress: 0.62, message: 'by Ann' }],
  'Compact': [running, { compact: '' }],
  'In Arabic': [{ ...running, stage: 'الكتابة', message: '620 من 1000' }, { lang: 'ar', dir: 'rtl' }],
};

/** The custom properties that can be tried, with what their fields show at first. */
const COLOURS = { color: '#2a6ea6', success: '#2c7a4b', failure: '#b5372d', warning: '#8a5a00', cancelled: '#6a7078' };
const SIZES = { height: [0.1, 2, 0.5], radius: [0, 1, 1] };

/** The chosen ones. @type {Map<string, string>} */
const chosen = new Map();

const scenes = byId('scenes');
for (const [name, [fields, attributes = {}]] of Object.entries(SCENES)) {
  const figure = document.createElement('figure');
  const bar = document.createElement('job-progress');
  bar.setAttribute('label', name);
  for (const [attribute, value] of Object.entries(attributes)) bar.setAttribute(attribute, value);
  if (fields) /** @type {any} */ (bar).state = state(fields);
  figure.append(element('figcaption', name), bar);
  scenes.append(figure);
}

const theme = byId('theme');
for (const [name, value] of Object.entries(COLOURS)) theme.append(field(name, { type: 'color', value }));
for (const [name, [min, max, value]] of Object.entries(SIZES)) theme.append(field(name, { type: 'range', min: `${min}`, max: `${max}`, step: '0.05', value: `${value}` }, 'em'));
byId('theme-reset').addEventListener('click', () => {
  for (const input of theme.querySelectorAll('input')) input.value = input.defaultValue;
  chosen.clear();
  paintTheme();
});

/**
 * @param {string} name of the custom property, after `--job-progress-`
 * @param {Record<string, string>} attributes
 * @param {string} [unit]
 */
function field(name, attributes, unit = '') {
  const label = element('label', name);
  const input = document.createElement('input');
  for (const [attribute, value] of Object.entries(attributes)) input.setAttribute(attribute, value);
  input.addEventListener('input', () => {
    chosen.set(`--job-progress-${name}`, input.value + unit);
    paintTheme();
  });
  label.append(input);
  return label;
}

function paintTheme() {
  for (const name of [...Object.keys(COLOURS), ...Object.keys(SIZES)]) {
    const property = `--job-progress-${name}`;
    const value = chosen.get(property);
    if (value === undefined) scenes.style.removeProperty(property);
    else scenes.style.setProperty(property, value);
  }
  const lines = [...chosen].map(([property, value]) => `  ${property}: ${value};\n`);
  byId('theme-css').parentElement?.toggleAttribute('hidden', chosen.size === 0);
  write(byId('theme-css'), `job-progress {\n${lines.join('')}}`);
}
paintTheme();

const ways = /** @type {HTMLSelectElement} */ (byId('ways'));
const texts = snippets(home());
for (const name of Object.keys(texts)) ways.append(new Option(name));
const showSnippet = () => write(byId('snippet'), texts[ways.value] ?? '');
ways.addEventListener('change', showSnippet);
showSnippet();

for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-copies]'))) {
  button.addEventListener('click', () => {
    const source = byId(button.dataset.copies ?? '');
    copy(button, source.textContent ?? '', source);
  });
}
