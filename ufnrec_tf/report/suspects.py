"""What a comparison's page says of the suspects: how right they are, which items, for whom."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ufnrec_tf.common.text import plain
from ufnrec_tf.report.html_parts import number, section, table

_MOST_ITEMS = 8
_MOST_USERS = 3
_NEWEST = 6

MATCHES = {
    "matched_on_popularity": "as popular",
    "matched_on_popularity_and_score": "as popular, scored alike",
}
"""Key in a run's `future` to what the unflagged pairs beside the flagged ones share with them."""


def suspects_section(
    summary: dict[str, Any], *, averaged: str = "Means over seeds; examples of one run."
) -> str:
    """Returns the section on suspects, empty where no arm has any.

    Args:
        summary: Its `arms` are looked at.
        averaged: What to say of several runs behind a number.
    """
    tables = [_truth(summary), _future(summary), *_examples(summary)]
    if not any(tables):
        return ""
    note = (
        "Pairs (user, item) that the memory suspects. Against the planted truth, where the data is "
        "planted: precision, recall, and the lift over pairs at random. Against the future: how "
        "often the user took the item in held-out events, beside unflagged pairs that are like it, "
        "and the ratio with its 95% interval over users. "
        f"{averaged}"
    )
    return section("Are the suspects false negatives?", "".join(tables), note)


def _truth(summary: dict[str, Any]) -> str:
    keys = (("num_flagged", 0), ("precision", 3), ("recall", 4), ("base_rate", 3), ("lift", 2))
    rows = [
        [
            f"<b>{escape(row['name'])}</b>",
            *(number(row["detection"].get(key), digits) for key, digits in keys),
        ]
        for row in summary["arms"]
        if row["detection"]
    ]
    columns = ("arm", "pairs flagged", "precision", "recall", "base rate", "lift")
    return table(columns, rows) if rows else ""


def _future(summary: dict[str, Any]) -> str:
    rows = []
    for row in summary["arms"]:
        for match, words in MATCHES.items():
            found = {
                key: (row["future"] or {}).get(f"{match}.{key}")
                for key in ("rate", "lift", "low", "high")
            }
            if found["lift"] is None:
                continue
            rows.append(
                [
                    f"<b>{escape(row['name'])}</b>",
                    number(row["future"].get("rate"), 4),
                    words,
                    number(found["rate"], 4),
                    f"{number(found['lift'], 2)}, {number(found['low'], 2)} to "
                    f"{number(found['high'], 2)}",
                ]
            )
    columns = ("arm", "flagged, taken later", "unflagged that are", "taken later", "lift")
    return table(columns, rows) if rows else ""


def _examples(summary: dict[str, Any]) -> list[str]:
    """Returns, of the last arm with suspects, the most flagged items and a few users."""
    arms = [row for row in summary["arms"] if row.get("suspects")]
    if not arms:
        return []
    found = arms[-1]["suspects"]
    items = [
        [escape(item["name"]), f"{item['users']:,}", f"{item['train_events']:,}"]
        for item in found["most_flagged"][:_MOST_ITEMS]
    ]
    users = [_user(user) for user in found["examples"][:_MOST_USERS]]
    name = escape(arms[-1]["name"])
    parts = []
    if items:
        parts.append(table((f"most flagged by {name}", "users", "train events"), items))
    return [*parts, *users]


def _user(user: dict[str, Any]) -> str:
    """Returns a paragraph on a user; what was taken later stands out."""
    flagged = ", ".join(
        f"<b>{escape(each['item'])}</b>" if each["taken_later"] else escape(each["item"])
        for each in user["flagged"]
    )
    later = escape(", ".join(user["later"]))
    return user_paragraph(user["user"], user["history"], {"flagged": flagged, "took later": later})


def user_paragraph(user: str, history: Sequence[str], lines: Mapping[str, str]) -> str:
    """Returns a paragraph on a user.

    Args:
        user: Raw id.
        history: Names of items, newest last; the last few are shown.
        lines: What to say, label to HTML.
    """
    said = "".join(f"<br>{label}: {text}" for label, text in lines.items())
    newest = escape(", ".join(history[-_NEWEST:]))
    return f"<p>User <b>{escape(plain(user))}</b>, newest: {newest}{said}</p>"
