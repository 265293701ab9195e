// @ts-check
/** The page's icon: a bar as long as the job is far, in the colour of how it is. */

/** As in `look.css`, for light pages: an icon is drawn on the browser's own ground. */
const TONES = { run: '#2a6ea6', good: '#2c7a4b', bad: '#b5372d', warn: '#b07a10', gone: '#6b7178' };

let shown = '';

/**
 * @param {keyof typeof TONES} tone
 * @param {number} share how long the bar is, 0…1
 */
export function paintFavicon(tone, share) {
  const width = Math.round(Math.max(2, share * 16));
  const name = `${tone} ${width}`;
  if (name === shown) return;
  shown = name;
  const icon = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect y='6' width='16' height='5' rx='2.5' fill='#a9b4bf'/><rect y='6' width='${width}' height='5' rx='2.5' fill='${TONES[tone]}'/></svg>`;
  document.querySelector('link[rel="icon"]')?.setAttribute('href', `data:image/svg+xml,${encodeURIComponent(icon)}`);
}
