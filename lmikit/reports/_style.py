"""The look of a report: light and dark by the reader's setting, black on white in print."""

__all__ = ["STYLE"]

STYLE = """\
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #5c6670; --page: #ffffff;
  --card: #f4f6f8; --line: #d7dce1; --good: #116b36; --bad: #9a2b2b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --quiet: #a0aab4; --page: #15181b; --card: #1f2428; --line: #3a4148;
    --good: #6fd398; --bad: #f09a9a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 0.5rem; font-size: 1.2rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.2rem 0 0.3rem; font-size: 1rem; }
.quiet { color: var(--quiet); font-size: 0.9rem; margin: 0; }
.cards { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 0.8rem 1.2rem; }
.big { font-size: 1.7rem; font-variant-numeric: tabular-nums; }
.claim { background: var(--card); border-left: 4px solid var(--good); padding: 0.6rem 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.6rem 0; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th[scope="row"] { font-weight: 600; }
.number { font-variant-numeric: tabular-nums; }
td.number, th.number { text-align: right; }
td.proven { color: var(--good); }
td.failed { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 0.85em; overflow-wrap: anywhere; }
figure { margin: 1rem 0; background: #ffffff; border: 1px solid var(--line); border-radius: 8px;
  padding: 0.5rem; }
img { max-width: 100%; display: block; margin: 0 auto; }
@media print {
  :root { color-scheme: light; --ink: #000000; --quiet: #444444; --page: #ffffff; --card: #ffffff;
    --line: #999999; --good: #000000; --bad: #000000; }
  main { max-width: none; padding: 0; }
  section, figure, tr { break-inside: avoid; }
}
"""
