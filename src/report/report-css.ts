/** What only the report has: charts, sheets of thumbnails, the map of the tree. */

/** After the page's own sheet. */
export const REPORT_CSS = `
data { font-variant-numeric: tabular-nums; }
.lead { font-size: 1.12rem; }
.from { margin-top: 20px; color: var(--muted); }
.chart svg { display: block; width: 100%; max-width: 520px; height: auto; color: var(--ink); overflow: visible; }
.chart figcaption b, .sheet figcaption b { color: var(--ink); }
.keys { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 0; margin: 4px 0; }
.key::before { content: ""; display: inline-block; width: 22px; height: 0; border-top: 3px solid var(--ink); margin-right: 6px; vertical-align: .3em; }
.key.dashed::before { border-top-style: dashed; }
.key.pool::before { border-color: var(--pool); } .key.selection::before { border-color: var(--selection); }
.key.random::before { border-color: var(--random); } .key.muted::before { border-color: var(--muted); }
.thumbs.dense { grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 3px; }
.thumbs.strip { grid-template-columns: repeat(auto-fill, minmax(62px, 1fr)); max-width: 1100px; }
.thumbs.one { grid-template-columns: 84px; margin: 0; flex: none; }
.thumbs.pair { grid-template-columns: 96px 96px; margin: 0; }
.cell { position: relative; min-width: 0; }
.cell small { display: block; text-align: center; }
.cell.kept .thumb, .cell.keeper .thumb { border-bottom: 6px solid var(--selection); }
.cell.crowded .thumb { border-bottom: 6px solid var(--pool); }
.thumb.missing { font-size: .62rem; line-height: 1.15; color: var(--muted); background: var(--surface); border: 1px solid var(--line); padding: 3px; overflow: hidden; overflow-wrap: anywhere; }
.sheet { margin: 8px 0; }
.big b { font-size: 1.5rem; }
.cluster { margin: 10px 0 18px; }
.cluster figcaption { margin-bottom: 2px; max-width: none; }
.query { display: flex; align-items: center; gap: 12px; margin: 8px 0; }
.query .strip { flex: 1; min-width: 0; margin: 0; grid-template-columns: repeat(auto-fill, minmax(54px, 84px)); }
.query .prompt { flex: none; width: 150px; margin: 0; }
.query .arrow { color: var(--muted); font-size: 1.4rem; }
.pairs { display: flex; flex-wrap: wrap; gap: 12px 20px; }
.pairs figure { margin: 0; }
.pairs figcaption { text-align: center; }
.map fieldset { border: 0; padding: 0; margin: 8px 0; display: flex; flex-wrap: wrap; gap: 4px 20px; }
.map legend { float: left; margin-right: 16px; color: var(--muted); }
.map-path { display: flex; flex-wrap: wrap; gap: 6px; margin: 8px 0; min-height: 34px; }
.map-path button[aria-current] { font-weight: 600; border-color: var(--accent); }
.map-field { position: relative; height: min(560px, 76vh); background: var(--surface); }
.map-said { min-height: 1.5em; color: var(--muted); }
.map-cell { position: absolute; overflow: hidden; display: flex; flex-direction: column; gap: 2px; padding: 4px; text-align: left; line-height: 1.2; font-size: .8rem; color: var(--ink); background: var(--paper); border: 2px solid var(--paper); border-radius: 5px; outline-offset: -3px; }
.map-pictures { display: flex; flex-wrap: wrap; gap: 3px; flex: none; overflow: hidden; }
.map-cell img { border-radius: 3px; display: block; flex: none; }
.map-words b, .map-words span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.map-cell.more { background: color-mix(in srgb, var(--selection) 20%, var(--paper)); }
.map-cell.less { background: color-mix(in srgb, var(--pool) 20%, var(--paper)); }
.map-cell.same, .map-cell.rest { background: var(--surface); }
button.map-cell:hover { border-color: var(--accent); }
@media (max-width: 560px) { .thumbs.dense { grid-template-columns: repeat(8, minmax(0, 1fr)); } .query { gap: 6px; } .map-field { height: 70vh; } }
@media print { details { display: none; } }
`;
