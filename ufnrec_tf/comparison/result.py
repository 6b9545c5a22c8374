"""A finished comparison in Python: a table, verdicts in words, and where its files are."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.report.shown_page import Page
from ufnrec_tf.report.wording import with_spread


class ComparisonResult(Shown):
    """The findings of a comparison.

    Args:
        path: The comparison's directory.
        summary: The contents of its comparison.json.

    Attributes:
        path: The directory.
        summary: The contents of comparison.json.
    """

    def __init__(self, path: Path, summary: dict[str, Any]) -> None:
        self.path = path
        self.summary = summary

    @cached_property
    def table(self) -> pd.DataFrame:
        """An arm in a row: test metrics, mean and sd over seeds; the difference on NDCG@10.

        `difference`, `low` and `high` are relative to the reference's mean, with the ends of the
        95% interval; `p_holm` is corrected for the number of arms; `cost` is the ratio of the CPU
        seconds to the reference's. The reference has no difference.
        """
        rows = []
        for arm in self.summary["arms"]:
            means, spreads = arm["mean"] or {}, arm["sd"] or {}
            found = (arm["difference"] or {}).get(MAIN)
            relative = found["relative"] if found else {}
            rows.append(
                {
                    "arm": arm["name"],
                    **{name: means.get(name) for name in self._metrics},
                    **{f"{name}_sd": spreads.get(name) for name in self._metrics},
                    "difference": relative.get("estimate"),
                    "low": relative.get("low"),
                    "high": relative.get("high"),
                    "p_holm": found["p_holm"] if found else None,
                    "verdict": found["verdict"] if found else None,
                    "cost": arm["cost"]["ratio"],
                    "seeds": len(arm["runs"]),
                }
            )
        frame = pd.DataFrame(rows).set_index("arm")
        return frame.astype({name: float for name in frame if name not in ("verdict", "seeds")})

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each arm's NDCG@10 against the reference, in words."""
        return {
            arm["name"]: arm["difference"][MAIN]["words"]
            for arm in self.summary["arms"]
            if arm["difference"]
        }

    def report(self) -> Page:
        """Returns the path of the comparison's page, which a notebook shows inline."""
        return Page(self.path / "report.html")

    @property
    def _metrics(self) -> tuple[str, ...]:
        return tuple(self.summary.get("compared", COMPARED))

    def _show(self, display: Display) -> None:
        reference, seeds = self.summary["reference"], self.summary["seeds"]
        display.heading(f"{MAIN.upper()} against {reference}, {len(seeds)} seeds")
        display.block([f"{name}: {words}" for name, words in self.verdicts.items()])
        display.block(
            [
                f"missing: {gap['arm']}, seed {gap['seed']}: {gap['why']}"
                for gap in self.summary["missing"]
            ]
        )
        display.line()
        display.table(
            ("arm", *map(str.upper, self._metrics), "cost", "seeds"),
            [
                [
                    arm["name"],
                    *(with_spread(arm, name) for name in self._metrics),
                    f"x {arm['cost']['ratio']:.2f}" if arm["cost"]["ratio"] else "",
                    str(len(arm["runs"])),
                ]
                for arm in self.summary["arms"]
            ],
        )
        display.line()
        display.block([f"{self.path}/report.html, comparison.md, comparison.json"], wraps=False)
