"""Sections, tables, the style sheet."""

from collections.abc import Sequence
from html import escape

from ufnrec_tf.evaluation.statistics import BETTER, WORSE

COLOURS = (
    "#6b7280",
    "#0067a5",
    "#c94f00",
    "#00805c",
    "#9b3f8c",
    "#8a6d00",
    "#2f9bd6",
    "#b01f4f",
)
"""Of lines on a light ground, by place; the first is the reference's."""

_LIGHT = "".join(f"--c{place}: {value}; " for place, value in enumerate(COLOURS))

STYLE = (
    f":root {{ {_LIGHT}}}"
    + """
:root { --ground: #ffffff; --card: #f6f7f9; --text: #1b1f24; --faint: #5b6470; --rule: #d8dde3;
  --better: #1a7f37; --worse: #b3261e; --better-ground: #dcf3e2; --worse-ground: #fbe1df; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --card: #1d2126; --text: #e6e9ed; --faint: #9aa4b0; --rule: #343b44;
    --better: #5fd38a; --worse: #ff8d83; --better-ground: #17391f; --worse-ground: #4a1f1c;
    --c0: #a3abb6; --c1: #58b0ee; --c2: #ff9a52; --c3: #3ccf9f; --c4: #dd8fd0; --c5: #e0c14a;
    --c6: #8fd3ff; --c7: #ff7fa5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 1.45rem; line-height: 1.35; margin: 0 0 8px; }
h2 { font-size: 1.1rem; margin: 36px 0 4px; }
h3 { font-size: .95rem; margin: 16px 0 2px; }
.kicker { color: var(--faint); margin: 0 0 4px; font-size: .9rem; overflow-wrap: anywhere; }
.note { color: var(--faint); margin: 2px 0 10px; max-width: 75ch; font-size: .9rem; }
.wide { overflow-x: auto; margin: 8px 0 16px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--faint); vertical-align: bottom; }
th, td { padding: 6px 18px 6px 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--ground); }
.text td { white-space: normal; overflow-wrap: anywhere; }
.text td:first-child { min-width: 8.5em; }
td small { color: var(--faint); }
td small.better { color: var(--better); font-weight: 600; }
td small.worse { color: var(--worse); font-weight: 600; }
code { font-size: .85rem; white-space: normal; overflow-wrap: anywhere; }
.chip { padding: 1px 9px; border-radius: 9px; background: var(--card); color: var(--faint);
  border: 1px solid var(--rule); white-space: nowrap; }
.chip.better { background: var(--better-ground); color: var(--better); border-color: currentColor; }
.chip.worse { background: var(--worse-ground); color: var(--worse); border-color: currentColor; }
.forest { font-variant-numeric: tabular-nums; font-size: .9rem; }
.forest .row { display: grid; grid-template: "name plot value" / 8.5em 1fr 13.5em; gap: 0 14px;
  align-items: center; }
.forest .name { grid-area: name; font-weight: 600; overflow-wrap: anywhere; }
.forest .value { grid-area: value; }
.forest svg { grid-area: plot; width: 100%; display: block; }
.forest .axis { border-top: 1px solid var(--rule); overflow: visible; }
.zero { stroke: var(--faint); stroke-width: 1; }
.interval { stroke-width: 3; }
.mark { stroke: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr));
  gap: 18px; }
figure { margin: 0; }
figcaption { font-weight: 600; font-size: .95rem; }
figure > svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--faint); font-size: 12px; }
.grid { stroke: var(--rule); stroke-width: 1; }
.moment { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 3 3; }
.curve { fill: none; stroke-width: 2.2; }
.band { opacity: .13; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: .88rem; }
.legend span { overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 150px), 1fr));
  gap: 10px; margin: 12px 0; }
.facts div { background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 8px 12px; overflow-wrap: anywhere; }
.facts b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.facts span { color: var(--faint); font-size: .85rem; }
p { overflow-wrap: anywhere; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--faint); }
ul { padding-left: 20px; font-size: .9rem; }
li { overflow-wrap: anywhere; }
@media (max-width: 640px) {
  main { padding: 16px 12px 40px; }
  h1 { font-size: 1.2rem; }
  .forest .row { grid-template: "name value" "plot plot" / 1fr max-content; }
  .facts { grid-template-columns: 1fr 1fr; }
  td:first-child, th:first-child { min-width: 30vw; max-width: 46vw; white-space: normal;
    overflow-wrap: anywhere; }
}
"""
    + "".join(
        f".curve.c{n}, .interval.c{n} {{ stroke: var(--c{n}); }}\n"
        f".mark.c{n}, .band.c{n} {{ fill: var(--c{n}); }}\n"
        for n in range(8)
    )
)

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
"""What the page may do: nothing is fetched, no script runs, whatever an id may hold."""

VERDICT_CLASSES = {BETTER: "better", WORSE: "worse"}


def document(title: str, body: str) -> str:
    """Returns the page; the body is HTML already, the title is not."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title>"
        f"<style>{STYLE}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def section(title: str, body: str, note: str = "") -> str:
    """Returns a section; title, body and note are HTML already."""
    text = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{title}</h2>{text}{body}</section>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, wraps: bool = False) -> str:
    """Returns a table, to be scrolled where it is too wide; the cells are HTML already.

    Args:
        columns: Heads, or none.
        rows: As many cells each as there are columns.
        wraps: Whether cells are text, to be broken into lines rather than scrolled.
    """
    head = "".join(f"<th>{column}</th>" for column in columns)
    lines = "".join("<tr>" + "".join(f"<td>{x}</td>" for x in row) + "</tr>" for row in rows)
    body = (f"<thead><tr>{head}</tr></thead>" if columns else "") + f"<tbody>{lines}</tbody>"
    kind = "wide text" if wraps else "wide"
    return f'<div class="{kind}"><table>{body}</table></div>'


def chip(word: str) -> str:
    """Returns a verdict in its colour."""
    return f'<span class="chip {VERDICT_CLASSES.get(word, "none")}">{escape(word)}</span>'


def number(value: float | None, digits: int) -> str:
    """Returns a number, blank where it is not known."""
    return "" if value is None else f"{value:,.{digits}f}"
