// The colours of a job's log: `node --test web/ansi.test.js`.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { piecesOf, plainText } from './dashboard/ansi.js';

const looks = (line) => piecesOf(line).map(({ text, look }) => [text, look]);

test('colours and styles begin and end where the line says', () => {
  assert.deepEqual(looks('plain'), [['plain', '']]);
  assert.deepEqual(looks(''), []);
  assert.deepEqual(looks('\x1b[1;31merror\x1b[0m: \x1b[92mok\x1b[39m.'), [['error', 'ansi-red ansi-bold'], [': ', ''], ['ok', 'ansi-green'], ['.', '']]);
  assert.deepEqual(looks('\x1b[mx\x1b[4my\x1b[24mz'), [['x', ''], ['y', 'ansi-underline'], ['z', '']]);
  assert.deepEqual(looks('\x1b[41mx\x1b[49m\x1b[7my\x1b[27m'), [['x', 'ansi-on-red'], ['y', 'ansi-inverse']]);
});

test('other colours become the nearest of the sixteen', () => {
  const colour = (code) => looks(`\x1b[${code}mx`)[0][1];
  assert.equal(colour('38;5;9'), 'ansi-red');
  assert.equal(colour('38;5;46'), 'ansi-green');
  assert.equal(colour('38;2;250;200;0'), 'ansi-yellow');
  assert.equal(colour('38:2:20:20:200'), 'ansi-blue');
  assert.equal(colour('38;5;250'), 'ansi-white');
  assert.equal(colour('48;2;200;0;200;1'), 'ansi-on-magenta ansi-bold');
  assert.equal(colour('38;9'), '');
  assert.equal(colour('999;31'), 'ansi-red');
});

test('what else controls a terminal is left out', () => {
  assert.equal(plainText('a\x1b[2Kb\x1b]0;title\x07c\x1b]8;;http://x\x1b\\d\x1b(Be\x08\rf\tg\x9b'), 'abcdef\tg');
  assert.equal(plainText('a\x1bP+q544e\x1b\\b\x1b_Gi=1;AAAA\x1b\\c\x1bMd'), 'abcd');
  assert.equal(plainText('cut \x1b[38;5'), 'cut ');
  assert.equal(plainText('cut \x1b'), 'cut ');
  assert.deepEqual(looks('<b>\u202e'), [['<b>\u202e', '']]);
});
