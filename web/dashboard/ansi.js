// @ts-check
/**
 * A line with a terminal's colours, as pieces of text. Sixteen colours, bold, italic, underlined, dim and inverse are kept; of
 * the others the nearest of the sixteen is taken, which can be read on a light and on a dark page. Every other control sequence
 * and character is left out. A line's looks depend on that line alone.
 */

/** @typedef {{ text: string, look: string }} Piece `look`: class names, or empty */

const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
/** What is not a colour: SGR's code, and the code that ends it. @type {Record<number, string>} */
const STYLES = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'underline', 7: 'inverse' };
/** @type {Record<number, string[]>} */
const ENDS = { 22: ['bold', 'dim'], 23: ['italic'], 24: ['underline'], 27: ['inverse'] };

// CSI with its parameters and its final byte; OSC, DCS and other strings up to their end; any other escape; any other control character but the tab.
const SEQUENCE = /\x1b\[([\x20-\x3f]*)([\x40-\x7e])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[\x20-\x3f]*|\x1b[\x20-\x2f]*[\x30-\x5a\x5c\x5e-\x7e]?|[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]/g;

/**
 * @param {string} line
 * @returns {Piece[]} none of them empty
 */
export function piecesOf(line) {
  /** @type {Piece[]} */
  const pieces = [];
  const looks = new Looks();
  let from = 0;
  const add = (/** @type {string} */ text) => {
    const last = pieces.at(-1);
    const look = looks.classes;
    if (last?.look === look) last.text += text;
    else if (text) pieces.push({ text, look });
  };
  for (const found of line.matchAll(SEQUENCE)) {
    add(line.slice(from, found.index));
    from = found.index + found[0].length;
    if (found[2] === 'm') looks.change(found[1]);
  }
  add(line.slice(from));
  return pieces;
}

/** The line as it can be read, without colours. @param {string} line */
export const plainText = (line) => line.replace(SEQUENCE, '');

class Looks {
  #colour = '';
  #ground = '';
  /** @type {Set<string>} */
  #styles = new Set();

  get classes() {
    const ground = this.#ground && `ansi-on-${this.#ground}`;
    const names = [this.#colour && `ansi-${this.#colour}`, ground, ...[...this.#styles].map((style) => `ansi-${style}`)];
    return names.filter(Boolean).join(' ');
  }

  /** @param {string} parameters of SGR: `1;31` */
  change(parameters) {
    const codes = parameters.split(/[;:]/).map(Number);
    while (codes.length) {
      const code = codes.shift() ?? 0;
      if (code === 0) {
        [this.#colour, this.#ground] = ['', ''];
        this.#styles.clear();
      } else if (STYLES[code]) this.#styles.add(STYLES[code]);
      else if (ENDS[code]) ENDS[code].forEach((style) => this.#styles.delete(style));
      else if (code === 39) this.#colour = '';
      else if (code === 49) this.#ground = '';
      else if (code === 38) this.#colour = extended(codes);
      else if (code === 48) this.#ground = extended(codes);
      else if ((code >= 30 && code < 38) || (code >= 90 && code < 98)) this.#colour = COLOURS[code % 10];
      else if ((code >= 40 && code < 48) || (code >= 100 && code < 108)) this.#ground = COLOURS[code % 10];
    }
  }
}

/**
 * The colour that follows 38 or 48, taken off the codes: `5;n`, or `2;r;g;b`.
 * @param {number[]} codes
 */
function extended(codes) {
  const kind = codes.shift();
  if (kind === 2) return nearest(codes.shift() ?? 0, codes.shift() ?? 0, codes.shift() ?? 0);
  if (kind !== 5) return '';
  const colour = codes.shift() ?? 0;
  if (colour < 16) return COLOURS[colour % 8];
  if (colour >= 232) return colour < 244 ? 'black' : 'white';
  const step = (/** @type {number} */ of) => (Math.floor((colour - 16) / of) % 6) * 51;
  return nearest(step(36), step(6), step(1));
}

/**
 * @param {number} red 0…255
 * @param {number} green
 * @param {number} blue
 */
function nearest(red, green, blue) {
  const most = Math.max(red, green, blue);
  const least = Math.min(red, green, blue);
  if (most - least < 48) return most < 128 ? 'black' : 'white';
  const middle = (most + least) / 2;
  return COLOURS[Number(red > middle) + 2 * Number(green > middle) + 4 * Number(blue > middle)];
}
