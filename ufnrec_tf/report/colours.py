"""The colours of pages and pictures."""

COLOURS = {
    "ground": ("#ffffff", "#14171b"),
    "card": ("#f6f7f9", "#1d2126"),
    "text": ("#1b1f24", "#e6e9ed"),
    "faint": ("#5b6470", "#9aa4b0"),
    "rule": ("#d8dde3", "#343b44"),
    "better": ("#1a7f37", "#5fd38a"),
    "worse": ("#b3261e", "#ff8d83"),
    "better-ground": ("#dcf3e2", "#17391f"),
    "worse-ground": ("#fbe1df", "#4a1f1c"),
    "c0": ("#6b7280", "#a3abb6"),
    "c1": ("#0067a5", "#58b0ee"),
    "c2": ("#c94f00", "#ff9a52"),
    "c3": ("#00805c", "#3ccf9f"),
    "c4": ("#9b3f8c", "#dd8fd0"),
    "c5": ("#8a6d00", "#e0c14a"),
    "c6": ("#2f9bd6", "#8fd3ff"),
    "c7": ("#b01f4f", "#ff7fa5"),
}
"""Name of the style sheet's variable -> its value on a light and on a dark ground.

Charts are drawn in the light ones, each different, by which the page finds the variable.
"""

LINE_COLOURS = [light for name, (light, _) in COLOURS.items() if name[1:].isdigit()]
"""Colours of lines on a light ground, by place; the first is the reference's."""
