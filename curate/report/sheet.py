"""The style sheet of reports: system fonts, one column on a phone and two on a desk, light and dark."""

SHEET = """
:root{/*light*/--page:#f5f6f8;--card:#ffffff;--line:#dde1e6;--wash:#eef1f4}
@media (prefers-color-scheme:dark){:root{/*dark*/--page:#0e1116;--card:#171b21;--line:#2b323b;--wash:#20262e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:30px;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:20px;line-height:1.3;margin:0 0 4px}
h3{font-size:16px;margin:26px 0 6px;overflow-wrap:anywhere}
p{margin:0 0 12px;max-width:72ch}
.soft,figcaption small{color:var(--muted)}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
a{color:var(--after);text-decoration:none}
a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--after);outline-offset:2px;border-radius:4px}
nav{margin:14px 0 22px;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:15px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 24px 24px;margin-top:20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.tiles dt{color:var(--muted);font-size:14px}
.tiles dd{margin:0;font-size:25px;font-weight:600;line-height:1.25;letter-spacing:-.01em}
.tiles dd small{display:block;font-size:13px;font-weight:400;color:var(--muted);letter-spacing:0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:26px 36px;align-items:start}
figure{margin:10px 0 0;max-width:520px}
figcaption{font-size:15px;font-weight:600;margin-bottom:4px;overflow-wrap:anywhere}
figcaption small{display:block;font-size:14px;font-weight:400}
svg{display:block;width:100%;height:auto;font-family:inherit;overflow:visible}
svg *{stroke-linejoin:round;stroke-linecap:butt}
.wide{overflow-x:auto;margin:10px 0 0}
table{border-collapse:collapse;font-size:14.5px;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:5px 12px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
tr:last-child>*{border-bottom:0}
thead th{color:var(--muted);font-weight:500;font-size:13.5px;border-bottom:1px solid var(--line)}
tbody th{font-weight:500;white-space:normal;overflow-wrap:break-word;min-width:8.5em;max-width:24em}
.n{text-align:right}
.wrap{white-space:normal;display:inline-block;min-width:12em}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
details{margin-top:12px}
summary{cursor:pointer;color:var(--muted);font-size:14.5px}
details details{margin-left:2px}
details.group>summary{color:var(--ink);font-weight:600;font-size:16px}
.funnel{list-style:none;margin:12px 0 0;padding:0}
.funnel li{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:0 16px;padding:5px 0 7px}
.funnel .what{overflow-wrap:break-word}
.funnel .total{font-weight:600}
.funnel .count{text-align:right;font-variant-numeric:tabular-nums}
.funnel .count small{color:var(--muted);font-weight:400;font-size:14px}
.funnel .count small::before{content:" · "}
.funnel .what.lost{padding-left:14px}
.track{grid-column:1/-1;display:block;position:relative;height:9px;margin-top:4px;background:var(--wash);border-radius:3px}
.track i{position:absolute;top:0;bottom:0;border-radius:3px;background:var(--after);min-width:2px}
.track i.gone{background:var(--accent)}
.track i.rest{background:var(--after);opacity:.28}
footer{color:var(--muted);font-size:14px;margin-top:26px}
@media (max-width:560px){main{padding:18px 12px 40px}section{padding:16px 14px 18px}
h1{font-size:25px}.tiles dd{font-size:21px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tiles div{padding:10px 12px}.grid{gap:22px}
.funnel .count{display:contents}.funnel .count small{grid-column:1/-1;text-align:left}
.funnel .count small::before{content:""}.funnel .lost small{padding-left:14px}}
@media print{body{background:none}section{break-inside:avoid;border:0;padding:0}nav{display:none}}
""".strip().replace("\n", "")
