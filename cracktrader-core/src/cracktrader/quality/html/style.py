"""The page's style sheet: light and dark, wide and narrow, screen and paper."""

from typing import Final

__all__ = ["STYLE"]

_LIGHT: Final = """
--page:#f5f6f8;--card:#fff;--ink:#18202b;--soft:#566173;--line:#e2e6ec;--grid:#edf0f4;--head:#f8f9fb;
--up:#3f8f86;--down:#a8574f;--volume:#c3cad5;
--error:#b3212c;--error-bg:#fdecec;--warning:#8a5200;--warning-bg:#fdf1dc;--info:#1d5d9e;--info-bg:#e6f0fa;--good:#1c7043;--good-bg:#e3f4ea;
--filled:#e5a93a;--open:#d64550;--shut:#8b96a8;--have:#6fa8a0;
--m0:#c2185b;--m1:#6a3fc4;--m2:#d35400;--m3:#0068b5;--m4:#18794e;--m5:#8d6708;--m6:#b3212c;
"""
_DARK: Final = """
--page:#0e1319;--card:#171d25;--ink:#e5eaf1;--soft:#99a5b6;--line:#2a323d;--grid:#212934;--head:#1b222b;
--up:#58b3a7;--down:#d07c73;--volume:#3a4553;
--error:#ff8d92;--error-bg:#3b1c20;--warning:#f3bd66;--warning-bg:#372a14;--info:#84bdf5;--info-bg:#16293d;--good:#73d19b;--good-bg:#15301f;
--filled:#d99e34;--open:#e4606a;--shut:#6c788a;--have:#3f7f78;
--m0:#ff6fa8;--m1:#b497ff;--m2:#ff9d4d;--m3:#62b5f7;--m4:#5fd08f;--m5:#e0bd55;--m6:#ff8d92;
"""

STYLE: Final = (
    ":root{color-scheme:light dark;" + _LIGHT + "}"
    "@media (prefers-color-scheme:dark){:root{" + _DARK + "}}"
    "@media print{:root{color-scheme:light;" + _LIGHT + "--page:#fff}}"
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
-webkit-print-color-adjust:exact;print-color-adjust:exact}
main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}
h1{font-size:27px;line-height:1.2;margin:0;overflow-wrap:anywhere;letter-spacing:-.01em}
h1 small{font-weight:500;color:var(--soft);font-size:.72em;margin-left:.3em;letter-spacing:0}
h2{font-size:18px;margin:0 0 12px;line-height:1.3}
h2 small{font-weight:400;margin-left:.4em;font-size:.8em}
h3{font-size:16px;margin:0;line-height:1.35;overflow-wrap:anywhere}
p{margin:0 0 10px}
a{color:inherit;text-decoration-color:var(--soft);text-underline-offset:3px}
code,td,pre,.facts dd{font-variant-numeric:tabular-nums}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em}
header{display:flex;flex-wrap:wrap;gap:10px 18px;align-items:center;justify-content:space-between;margin-bottom:16px}
.soft{color:var(--soft)}
.verdict{display:inline-flex;align-items:center;gap:9px;padding:7px 15px 7px 11px;border-radius:99px;font-weight:600}
.verdict svg{flex:none}
.good{color:var(--good);background:var(--good-bg)}
.error{color:var(--error);background:var(--error-bg)}
.warning{color:var(--warning);background:var(--warning-bg)}
.info{color:var(--info);background:var(--info-bg)}
.pill{display:inline-block;padding:1px 9px;border-radius:99px;font-size:13px;font-weight:600;white-space:nowrap}
section,.facts{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:0 0 16px}
.facts{display:flex;flex-wrap:wrap;gap:14px 36px;padding:15px 20px}
.facts div{min-width:0}
.facts dt{font-size:12.5px;color:var(--soft);margin-bottom:1px}
.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.notes{margin:0 0 16px;padding:11px 20px 11px 38px;border-radius:12px;background:var(--info-bg);
color:var(--ink);overflow-wrap:anywhere}
.notes li::marker{color:var(--info)}
.scroll{overflow-x:auto;margin:0 -20px;padding:0 20px}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:600;color:var(--soft);text-align:left;font-size:12.5px;white-space:nowrap;padding:5px 14px 5px 0;
border-bottom:1px solid var(--line)}
td{padding:7px 14px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
td:last-child,th:last-child{padding-right:0}
.n{text-align:right;white-space:nowrap}
.t{white-space:nowrap}
.long{min-width:23em}
td s{color:var(--soft);text-decoration-color:var(--open)}
td b{font-weight:600;color:var(--m4)}
.odd{color:var(--error);font-weight:600}
.rows{width:auto}.rows th,.rows td{padding-right:26px}
.found td:nth-child(2){font-weight:600;overflow-wrap:anywhere;min-width:12em}
.found td:nth-child(6){min-width:9em}
.passed{margin:12px 0 0;font-size:13.5px;color:var(--soft)}
.finding>header{margin:0 0 6px;justify-content:flex-start}
.finding>p{color:var(--soft);max-width:75ch}
.zooms{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:14px 24px;margin-top:16px}
figure{margin:0;min-width:0}
figcaption{font-size:13px;color:var(--soft);margin-bottom:2px}
.chart{padding-right:70px;overflow:hidden}
.chart>svg{display:block;overflow:visible}
.defs{position:absolute;width:0;height:0}
.strip{margin-top:6px}
.in{overflow:hidden}
.chart path{vector-effect:non-scaling-stroke}
.grid line{stroke:var(--grid);shape-rendering:crispEdges}
text{font-size:11.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
.times text{text-anchor:middle}.times .first{text-anchor:start}
.w-up,.w-down,.w-fill{fill:none;stroke-width:1.2}
.w-up{stroke:var(--up)}.c-up{fill:var(--up)}
.w-down{stroke:var(--down)}.c-down{fill:var(--down)}
.w-fill{stroke:var(--filled)}.c-fill{fill:var(--filled)}
.volume{fill:var(--volume)}
.hit{fill:transparent}
.hit rect:hover{fill:var(--ink);fill-opacity:.07}
.b-filled{fill:var(--filled);fill-opacity:.2}
.b-open{fill:var(--open);fill-opacity:.13}
rect.b-open[height]{fill:url(#hatch);fill-opacity:1}
pattern rect.b-open{fill:var(--open);fill-opacity:.1}
.hatch{stroke:var(--open);stroke-width:1.6;stroke-opacity:.33}
.b-closed{fill:var(--shut);fill-opacity:.16}
.inband{text-anchor:middle;fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.ghost{fill:var(--m0);fill-opacity:.12;stroke:var(--m0);stroke-width:1.3;stroke-dasharray:3.5 2.5}
.m{stroke:var(--card);stroke-width:1.3;paint-order:stroke}
.m0{fill:var(--m0)}.m1{fill:var(--m1)}.m2{fill:var(--m2)}.m3{fill:var(--m3)}.m4{fill:var(--m4)}.m5{fill:var(--m5)}.m6{fill:var(--m6)}
.edge{fill:var(--m2)}.flip{transform:scaleY(-1)}
.v-have{fill:var(--have)}.v-fill{fill:var(--filled)}.v-shut{fill:var(--shut);fill-opacity:.45}.v-none{fill:var(--open)}
.v-repaired{fill:var(--m3)}.v-revised{fill:var(--m1)}.v-suspect{fill:var(--m2)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:12px 0 0;padding:0;font-size:13px;color:var(--soft)}
.legend li{display:inline-flex;align-items:center;gap:6px}
.key{flex:none;overflow:visible}
.swatch{display:inline-block;width:15px;height:11px;border-radius:2px;flex:none}
.s-up{background:var(--up)}.s-down{background:var(--down)}.s-fill{background:var(--filled)}
.s-filled{background:color-mix(in srgb,var(--filled) 28%,var(--card));border:1px solid var(--filled)}
.s-open{border:1px solid var(--open);background:repeating-linear-gradient(135deg,
color-mix(in srgb,var(--open) 45%,var(--card)) 0 2px,color-mix(in srgb,var(--open) 12%,var(--card)) 2px 5px)}
.s-closed{background:color-mix(in srgb,var(--shut) 25%,var(--card));border:1px solid var(--shut)}
.s-ghost{border:1.5px dashed var(--m0)}
details summary{cursor:pointer;font-weight:600}
details[open] summary{margin-bottom:10px}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;background:var(--head);border:1px solid var(--line);
border-radius:8px;padding:12px 14px}
footer{color:var(--soft);font-size:13px}
@media (max-width:680px){
body{font-size:15px}
main{padding:18px 12px 32px}
h1{font-size:23px}
section,.facts{padding:14px;border-radius:10px}
.facts{gap:10px 26px}
.scroll{margin:0 -14px;padding:0 14px}
.chart{padding-right:60px}
.alt{display:none}
.found thead{display:none}
.found tr{display:grid;grid-template-columns:auto 1fr auto;gap:2px 10px;padding:10px 0;border-bottom:1px solid var(--line)}
.found tr:last-child{border-bottom:0}
.found td,.found td:nth-child(2){border:0;padding:0;min-width:0}
.rows{width:auto}.rows th,.rows td{padding-right:26px}
.found td:nth-child(n+4){grid-column:1/-1}
.found td[data-label]:before{content:attr(data-label) " ";color:var(--soft)}
}
@media print{
main{max-width:none;padding:0}
body{font-size:12px}
section,.facts{break-inside:avoid;border-color:#ccc}
.finding{break-inside:auto}
figure,tr{break-inside:avoid}
.scroll{overflow:visible}
}
"""
)
