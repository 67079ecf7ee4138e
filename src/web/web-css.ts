/** Shapes of the served pages, over the report's tokens. */
export const WEB_CSS = `
nav.top a[aria-current] { font-weight: 600; text-decoration: none; color: var(--ink); }
.crumbs ol { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 8px; padding: 0; margin: 20px 0 0; font-size: .9rem; }
.crumbs li + li::before { content: "›"; color: var(--muted); margin-right: 8px; }
h1 { margin-top: 12px; }
.row { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: end; margin: 10px 0; }
.row label { min-width: 0; max-width: 100%; display: inline-flex; flex-direction: column; gap: 2px; font-size: .86rem; color: var(--muted); }
.row input, .row select { color: var(--ink); background: var(--paper); border: 1px solid var(--muted); border-radius: 6px; padding: 6px 8px; font-size: 1rem; max-width: 100%; }
.row input[type=number] { width: 9em; }
.row button, .button { min-height: 38px; padding: 6px 14px; }
.button { display: inline-block; border: 1px solid var(--line); border-radius: 6px; background: var(--surface); }
button.main { background: var(--accent); color: var(--paper); border-color: var(--accent); }
fieldset { border: 1px solid var(--line); border-radius: var(--radius); margin: 16px 0; padding: 8px 16px 12px; min-width: 0; }
legend { font-weight: 600; padding: 0 6px; }
.nodes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); gap: 14px; list-style: none; padding: 0; margin: 12px 0; }
.nodes > li { background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); padding: 10px 12px; min-width: 0; }
.nodes > li.decided { border-left: 4px solid var(--pool); }
.nodes h3 { margin: 0 0 6px; font-size: 1rem; }
.nodes .four { display: grid; grid-template-columns: repeat(4, 1fr); gap: 3px; }
.nodes dl { display: grid; grid-template-columns: auto 1fr auto 1fr; gap: 0 8px; margin: 8px 0 0; font-size: .86rem; font-variant-numeric: tabular-nums; }
.nodes dt { color: var(--muted); } .nodes dd { margin: 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 6px; list-style: none; padding: 0; margin: 10px 0; }
.pictures a { display: block; border-radius: 4px; color: inherit; text-decoration: none; font-size: .78rem; }
.pictures img, .four img, .big { display: block; width: 100%; height: auto; aspect-ratio: 1; background: var(--surface); border-radius: 4px; object-fit: cover; }
.pictures.wide { grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); font-size: .78rem; }
.pictures span { display: block; color: var(--muted); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.big { max-width: 420px; border: 1px solid var(--line); }
.drop { border: 2px dashed var(--muted); border-radius: var(--radius); padding: 10px 16px; }
.drop.over { border-color: var(--accent); background: var(--surface); }
.changed { color: var(--pool); font-weight: 600; }
.map { display: block; width: 100%; max-width: 720px; height: auto; aspect-ratio: 1; background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); }
.map circle { fill: var(--selection); fill-opacity: .55; stroke: var(--paper); stroke-width: 1; }
.map a.decided circle { fill: var(--pool); }
.map rect { fill: none; stroke: var(--line); stroke-width: 1.5; } .map a.decided rect { stroke: var(--pool); stroke-width: 4; } .map a:hover rect, .map a:focus rect { stroke: var(--accent); stroke-width: 4; }
.map a:hover circle, .map a:focus circle { fill-opacity: 1; stroke: var(--ink); stroke-width: 2.5; }
.map a:focus { outline: none; }
.pages { display: flex; flex-wrap: wrap; gap: 6px 16px; margin: 10px 0; align-items: baseline; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 18px; margin: 12px 0; }
dl.facts dt { color: var(--muted); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
progress { width: 100%; min-width: 90px; height: 12px; accent-color: var(--accent); }
.stages { width: 100%; } .stages td:first-child, .stages th:first-child { white-space: nowrap; } .stages td.bar { width: 26%; } .stages td:last-child { min-width: 13em; }
.state { display: inline-block; border: 1px solid currentColor; border-radius: 99px; padding: 0 10px; font-size: .82rem; }
.state.running { color: var(--accent); } .state.done { color: var(--good); } .state.failed { color: var(--bad); } .state.waiting, .state.kept { color: var(--muted); }
.rate { display: block; width: 100%; height: auto; aspect-ratio: 720 / 170; background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); }
.rate path { fill: none; stroke: var(--selection); stroke-width: 2; vector-effect: non-scaling-stroke; } .rate text { fill: var(--muted); font-size: 12px; } .rate line { stroke: var(--line); }
.quiet { min-height: 1.5em; }
@media (max-width: 560px) { .stages thead { display: none; } .stages, .stages tbody { display: block; } .stages tr { display: flex; flex-wrap: wrap; gap: 2px 16px; border-bottom: 1px solid var(--line); padding: 6px 0; } .stages th, .stages td { border: 0; padding: 0; } .stages th, .stages td.bar { flex: 0 0 100%; width: auto; } .stages td:last-child { min-width: 0; } .stages td:empty { display: none; } .stages td.n { text-align: left; } }
`;
