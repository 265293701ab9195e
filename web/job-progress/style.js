// @ts-check
/** How the component looks. The colours are custom properties of the page, or defaults that suit its colour scheme. */

export const style = /* css */ `
:host {
  --_run: var(--job-progress-color, light-dark(#2a6ea6, #5ba3dc));
  --_good: var(--job-progress-success, light-dark(#2c7a4b, #58b27d));
  --_bad: var(--job-progress-failure, light-dark(#b5372d, #ee7b6f));
  --_warn: var(--job-progress-warning, light-dark(#8a5a00, #dba94a));
  --_gone: var(--job-progress-cancelled, light-dark(#6a7078, #959ca4));
  --_soft: var(--job-progress-soft-text, color-mix(in srgb, currentColor 68%, transparent));
  --_track: var(--job-progress-track, color-mix(in srgb, currentColor 14%, transparent));
  --_color: var(--_run);
  --_stripes: repeating-linear-gradient(135deg, var(--_color) 0 0.4em, var(--_track) 0.4em 0.8em);
  display: block;
  margin-block: 1em;
  color-scheme: inherit;
  color: var(--job-progress-text, inherit);
  font-variant-numeric: tabular-nums;
  line-height: 1.4;
}
:host([hidden]) { display: none; }
:host([status="completed"]) { --_color: var(--_good); }
:host([status="failed"]) { --_color: var(--_bad); }
:host([status="cancelled"]) { --_color: var(--_gone); }
:host([health]) { --_color: var(--_warn); }
p { margin: 0; }
[hidden] { display: none !important; }
.row { display: flex; gap: 0.75em; align-items: baseline; min-block-size: 1.4em; }
.stage, .message { min-inline-size: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.percent, .aside { margin-inline-start: auto; }
.row > * { unicode-bidi: isolate; }
.stage, .outcome { font-weight: 600; }
/* A page may be dark and not say so: with the text's own colour mixed in, these can be read on it, too. */
.outcome, .error, :host([health]) .aside { color: color-mix(in srgb, var(--_color) 72%, currentColor); }
.outcome { flex: none; }
.outcome:not([hidden]) + .stage { font-weight: inherit; color: var(--_soft); }
.foot { font-size: 0.875em; color: var(--_soft); }
.aside, .percent { flex: none; }
.bar {
  block-size: var(--job-progress-height, 0.5em);
  margin-block: 0.3em;
  border-radius: var(--job-progress-radius, 1em);
  background: var(--_track);
  overflow: hidden;
}
.fill {
  block-size: 100%;
  border-radius: inherit;
  background: var(--_color);
  transition: inline-size linear;
}
.is-unknown .fill { inline-size: 30% !important; animation: pass 1.6s ease-in-out infinite; }
.is-unknown:dir(rtl) .fill { animation-direction: reverse; animation-name: pass-rtl; }
.is-none { visibility: hidden; }
.is-stale { opacity: 0.6; }
.stages { display: flex; flex-wrap: wrap; gap: 0.15em 1.1em; margin: 0.35em 0 0; padding: 0; list-style: none; font-size: 0.875em; color: var(--_soft); }
.stages .now { font-weight: 600; color: color-mix(in srgb, var(--_color) 72%, currentColor); }
.stages .skipped { text-decoration: line-through; }
.is-stale .fill { animation-play-state: paused !important; }
:host([health]) .is-unknown .fill { animation: none; inline-size: 100% !important; background: var(--_stripes); }
.error { font-size: 0.875em; overflow-wrap: anywhere; }
.trace { font-size: 0.875em; }
.trace summary { cursor: pointer; inline-size: fit-content; color: var(--_soft); }
.trace pre { margin: 0.4em 0; max-block-size: 20em; overflow: auto; padding: 0.6em 0.8em; background: color-mix(in srgb, var(--_track) 45%, transparent); white-space: pre-wrap; overflow-wrap: anywhere; }
.trace button { font: inherit; }
.result { font-size: 0.875em; overflow-wrap: anywhere; }
.result a { color: color-mix(in srgb, var(--_run) 72%, currentColor); text-underline-offset: 0.2em; }
.ears { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
:host([compact]) { display: flex; flex-wrap: wrap; align-items: center; gap: 0 0.75em; margin-block: 0; }
:host([compact]) .head { display: contents; }
:host([compact]) .stage { max-inline-size: 40%; }
:host([compact]) .bar { flex: 1 1 6em; order: 1; margin-block: 0; }
:host([compact]) .percent { order: 2; margin: 0; }
:host([compact]) .foot { order: 3; min-block-size: 0; }
:host([compact]) :is(.message, .trace, .result, .stages) { display: none; }
:host([compact]) .error { order: 4; }
:host([compact][hidden]) { display: none; }
@keyframes pass { from { transform: translateX(-100%); } to { transform: translateX(334%); } }
@keyframes pass-rtl { from { transform: translateX(-334%); } to { transform: translateX(100%); } }
@media (prefers-reduced-motion: reduce) {
  .fill { transition: none; }
  .is-unknown .fill {
    animation: none !important;
    inline-size: 100% !important;
    background: var(--_stripes);
  }
}
@media (forced-colors: active) {
  .bar { border: 1px solid; }
  .fill { background: Highlight; forced-color-adjust: none; }
}`;
