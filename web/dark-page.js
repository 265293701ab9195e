// @ts-check
/**
 * For development: says so if `<job-progress>` is on a dark page that does not declare its colour scheme. Bundlers load this
 * beside the npm package's component while they serve for development. Servers do not serve it.
 */

/** Text that is lighter than this, 0…1, is on a dark page. */
const LIGHT = 0.6;

let hasWarned = false;

// Elements tell of their connection, out of any shadow tree.
globalThis.document?.addEventListener('job-connection', (event) => {
  const element = event.composedPath()[0];
  if (hasWarned || !(element instanceof HTMLElement) || !isDarkUndeclared(element)) return;
  hasWarned = true;
  console.warn(
    'milepost: the text around <job-progress> is light, as on a dark page, but the page declares no dark color-scheme. '
    + 'So the bar has its colours for light pages. Add `:root { color-scheme: dark }`, or `light dark`, to the page’s style.',
    element,
  );
});

/** @param {HTMLElement} element */
function isDarkUndeclared(element) {
  const probe = element.appendChild(document.createElement('span'));
  try {
    const text = luminance(getComputedStyle(probe).color);
    probe.style.color = 'light-dark(rgb(0 0 0), rgb(255 255 255))';
    return text > LIGHT && luminance(getComputedStyle(probe).color) === 0;
  } finally {
    probe.remove();
  }
}

/**
 * How light a colour is, 0…1. One that is not given in red, green and blue counts as black.
 * @param {string} colour as computed
 */
function luminance(colour) {
  const [red = 0, green = 0, blue = 0] = /^rgba?\(([^)]*)\)/.exec(colour)?.[1]?.split(/[\s,/]+/).map(Number) ?? [];
  return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
}
