"""Pieces of HTML that the report is made of."""

from collections.abc import Sequence
from html import escape

from ufnrec_tf.comparison_numbers import BETTER, WORSE
from ufnrec_tf.report_style import STYLE

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
