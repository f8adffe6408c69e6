"""The look of the page: light and dark, on a phone and on paper."""

CSS = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #5a6876; --ground: #ffffff; --panel: #f5f7fa;
  --rule: #dfe4ea; --accent: #2563eb; --track: #e4e9f0; --yard: #94a3b8; --dim: 1;
  --good: #12715d; --good-ground: #e3f4ef; --warn: #8a5300; --warn-ground: #fdf1dc; --bad: #a82a2a;
  --bad-ground: #fce8e8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #9fadbb; --ground: #11161c; --panel: #1a2129;
  --rule: #2d3742; --accent: #6ea0ff; --track: #26303a; --yard: #66758a; --dim: .9;
  --good: #6fd3b8; --good-ground: #12302a; --warn: #f0b75a; --warn-ground: #352910; --bad: #ff9b9b;
  --bad-ground: #3d1c1e; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 0 1.25rem 4rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
p, ul { margin: .75rem 0; max-width: 46rem; overflow-wrap: break-word; }
h1 { margin: 0; font-size: clamp(1.7rem, 5vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 0 0 1rem; font-size: 1.4rem; letter-spacing: -.01em; }
h3 { margin: 1.75rem 0 .5rem; font-size: 1.05rem; }
a { color: var(--accent); }
header { padding: 3rem 0 1rem; }
section { padding: 2.25rem 0 .5rem; border-top: 1px solid var(--rule); scroll-margin-top: 3rem; }
.kicker { margin: 0 0 .5rem; color: var(--soft); font-size: .85rem; letter-spacing: .04em; }
.lead { font-size: 1.1rem; color: var(--soft); }
.verdict { font-size: 1.2rem; font-weight: 600; }
.note, figcaption { color: var(--soft); font-size: .875rem; }
nav { position: sticky; top: 0; z-index: 1; display: flex; gap: .25rem 1rem; overflow-x: auto; padding: .6rem 0;
  background: var(--ground); font-size: .9rem; }
nav a { text-decoration: none; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
code, pre { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
p code, li code, td code { background: var(--panel); padding: .1em .3em; border-radius: .25em;
  overflow-wrap: anywhere; }
pre { margin: .75rem 0; padding: .9rem 1rem; overflow-x: auto; background: var(--panel); border-radius: .5rem; }
pre code { font-size: 1em; }
.bars { margin: 1.5rem 0; max-width: 46rem; }
.bar { display: grid; grid-template-columns: 9.5rem 1fr 3.5rem; align-items: center; gap: .75rem; margin: .4rem 0;
  font-size: .9rem; }
.bar b { text-align: right; font-variant-numeric: tabular-nums; font-weight: 500; }
.track { display: block; height: .8rem; border-radius: .4rem; background: var(--track); overflow: hidden; }
.track i { display: block; height: 100%; border-radius: .4rem; background: var(--yard); }
.own { font-weight: 650; }
.own b { font-weight: 700; }
.own .track i { background: var(--accent); }
.banner { margin: 1.25rem 0; padding: .7rem 1rem; max-width: 46rem; border-left: .3rem solid; border-radius: .3rem; }
.banner p, .banner ul { margin: .2rem 0; }
.good { color: var(--good); background: var(--good-ground); }
.warn { color: var(--warn); background: var(--warn-ground); }
.bad { color: var(--bad); background: var(--bad-ground); }
.chip { padding: .1rem .55rem; border-radius: 1rem; font-size: .8rem; font-weight: 600; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: baseline; }
th:first-child { padding-left: 0; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.first tbody tr:first-child > * { font-weight: 700; }
.monitors td:nth-child(2), .monitors td:nth-child(3) { white-space: nowrap; }
figure { margin: 1.25rem 0; }
.sheet { filter: brightness(var(--dim)); padding: .5rem; overflow-x: auto; background: #ffffff;
  border: 1px solid var(--rule); border-radius: .5rem; width: fit-content; max-width: 100%; }
.sheet img { display: block; max-width: 100%; height: auto; }
.sheet:not(.wide) img { max-height: 34rem; width: auto; }
figcaption { margin-top: .5rem; max-width: 46rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .1rem 1.5rem; margin: 1rem 0; }
dl div { padding: .4rem 0; border-bottom: 1px solid var(--rule); min-width: 0; }
dt { color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
details { margin: .4rem 0; padding: .2rem 1rem; background: var(--panel); border-radius: .5rem; }
summary { padding: .4rem 0; cursor: pointer; font-weight: 500; }
.names { columns: 13rem; font-size: .875rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 0 1rem 3rem; } header { padding-top: 1.75rem; }
  .bar { grid-template-columns: 7.5rem 1fr 3rem; font-size: .8rem; gap: .5rem; }
  th, td { padding: .4rem .5rem; } table { font-size: .82rem; } .numbers tbody th { min-width: 8rem; }
  .monitors { min-width: 46rem; } .wide img { max-width: none; width: 46rem; }
  dl { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); } }
@media print { body { max-width: none; font-size: 10pt; } nav { display: none; } header { padding-top: 0; }
  section { padding: 1rem 0 0; } figure, tr, .bars, .banner, pre { break-inside: avoid; }
  h2, h3 { break-after: avoid; } pre { white-space: pre-wrap; } .sheet img { max-height: 24cm; width: auto; }
  details::details-content { content-visibility: visible; block-size: auto; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
