/** The style sheet of every page: tokens first, then the few shapes that pages share. Contrast is AA in light and in dark. */

/** Tokens: `--paper --surface --line --ink --muted --accent --pool --selection --random --bad --good --radius --gap --font --mono`. */
export const PAGE_CSS = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --surface: #f4f5f7; --line: #d5d9df; --ink: #1a1e24; --muted: #535c68; --accent: #0b57c2;
  --pool: #a8530b; --selection: #0b57c2; --random: #6a7280; --bad: #b3261e; --good: #1f7a3d;
  --radius: 8px; --gap: 16px; --measure: 72ch;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --surface: #1d2229; --line: #39414c; --ink: #e7eaee; --muted: #a9b3bf; --accent: #7cb1ff;
    --pool: #f2a65e; --selection: #7cb1ff; --random: #98a2b0; --bad: #ff8a80; --good: #6fcf8e;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { font: 16px/1.5 var(--font); color: var(--ink); background: var(--paper); -webkit-text-size-adjust: 100%; scroll-padding-top: 56px; }
body { margin: 0; overflow-wrap: break-word; }
main, .wide { max-width: 1160px; margin: 0 auto; padding: 0 20px 64px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 32px 0 8px; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 56px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 1.03rem; margin: 28px 0 6px; }
p { max-width: var(--measure); margin: 6px 0 12px; }
a { color: var(--accent); text-underline-offset: 2px; }
code, kbd, pre, .mono { font-family: var(--mono); font-size: .875em; }
pre { background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); padding: 12px; overflow-x: auto; white-space: pre; }
small, .muted { color: var(--muted); }
small { font-size: .82rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -9999px; }
.skip:focus { left: 12px; top: 8px; background: var(--paper); padding: 6px 10px; z-index: 3; }
nav.top { position: sticky; top: 0; z-index: 2; background: var(--paper); border-bottom: 1px solid var(--line); }
nav.top ul { list-style: none; display: flex; gap: 4px 18px; max-width: 1160px; margin: 0 auto; padding: 10px 20px; overflow-x: auto; white-space: nowrap; font-size: .9rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: 8px 0 16px; }
caption { text-align: left; color: var(--muted); padding: 4px 0; }
th, td { text-align: left; padding: 4px 16px 4px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th { font-weight: 600; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--muted); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0; padding: 0; list-style: none; }
.cards > * { background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); padding: 12px 14px; }
.cards b { display: block; font-size: 1.55rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.cards span { color: var(--muted); font-size: .86rem; }
figure { margin: 16px 0; }
figcaption { color: var(--muted); font-size: .88rem; max-width: var(--measure); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 8px 40px; align-items: start; }
.two > * { min-width: 0; }
.thumbs { display: grid; grid-template-columns: repeat(auto-fill, minmax(64px, 1fr)); gap: 4px; padding: 0; margin: 8px 0; list-style: none; }
.thumbs img, .thumb { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: cover; background: var(--surface); border-radius: 3px; }
button, input, select { font: inherit; color: inherit; }
button { background: var(--surface); border: 1px solid var(--line); border-radius: 6px; padding: 4px 12px; cursor: pointer; }
.note { border-left: 3px solid var(--line); padding: 2px 0 2px 12px; color: var(--muted); max-width: var(--measure); }
.warn { border-left-color: var(--pool); }
.error { border-left-color: var(--bad); color: var(--ink); }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
@media print { nav.top { display: none; } h2 { break-after: avoid; } }
`;
