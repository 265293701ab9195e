// @ts-check
/** What the component consists of. It is made without markup, which a page's policy may forbid. */

/** The parts, by class. `dir`: a worker's texts have a direction of their own. */
export const body = () => [
  make('div', { class: 'row head', part: 'head' },
    make('slot', { name: 'label' }),
    make('span', { class: 'outcome', part: 'outcome', hidden: '' }),
    make('span', { class: 'stage', part: 'stage', dir: 'auto' }),
    make('span', { class: 'percent', part: 'percent' })),
  make('div', { class: 'bar', part: 'bar', role: 'progressbar' }, make('div', { class: 'fill', part: 'fill' })),
  make('div', { class: 'row foot', part: 'foot' },
    make('span', { class: 'message', part: 'message', dir: 'auto' }),
    make('span', { class: 'aside', part: 'aside' })),
  make('ol', { class: 'stages', part: 'stages', hidden: '' }),
  make('p', { class: 'error', part: 'error', dir: 'auto', hidden: '' }),
  make('details', { class: 'trace', part: 'trace', hidden: '' },
    make('summary', {}), make('pre', { tabindex: '0', dir: 'auto' }), make('button', { type: 'button' })),
  make('p', { class: 'result', part: 'result', dir: 'auto', hidden: '' }),
  make('p', { class: 'ears', role: 'status', 'aria-live': 'polite' }),
  make('slot', {}),
];

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {Node[]} children
 */
function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * @param {Element | undefined} part
 * @param {string} said
 */
export function write(part, said) {
  if (part && part.textContent !== said) part.textContent = said;
}
