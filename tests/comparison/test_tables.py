"""The table of a comparison on narrow screens, in LaTeX and as CSV; the strongest baseline."""

import io
from typing import Any

import pandas as pd

from ufnrec_tf.comparison.baselines import baseline_verdict
from ufnrec_tf.comparison.markdown import table_lines
from ufnrec_tf.comparison.tables import GAP, csv, latex, screen_table
from ufnrec_tf.report.judgement import course_lines

NAMES = ("hr@10", "ndcg@10", "mrr")


def arm(name: str, *, estimate: float | None = None) -> dict[str, Any]:
    relative = {"estimate": estimate, "low": -0.0075, "high": 0.1125}
    found = {"relative": relative, "p": 0.01, "p_holm": 0.31, "words": "undecided: +1%"}
    found["interval_over"] = "users and seeds"
    return {
        "name": name,
        "mean": dict.fromkeys(NAMES, 0.1474),
        "sd": dict.fromkeys(NAMES, 0.003),
        "difference": None if estimate is None else dict.fromkeys(NAMES, found),
        "cost": {"ratio": 1.11},
        "runs": [{}] * 5,
    }


SUMMARY: dict[str, Any] = {
    "reference": "ema",
    "arms": [arm("ema"), arm("a_longer_name_100%", estimate=0.009)],
    "baselines": [{"name": "Last-item Markov", "mean": dict.fromkeys(NAMES, 0.0828)}],
}


def test_columns_that_do_not_fit_are_left_out_the_least_important_first():
    heads, rows = screen_table(SUMMARY, 80)
    assert heads == ["", "NDCG@10", "to ema", "Holm p", "cost"]
    assert rows == [
        ["Last-item Markov", ".0828", "", "", ""],
        ["ema", ".1474 ± .0030", "reference", "", "x 1.11"],
        ["a_longer_name_100%", ".1474 ± .0030", "+0.9% (-0.8% to +11.2%)", ".310", "x 1.11"],
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    assert sum(widths) + GAP * (len(widths) - 1) <= 80
    assert screen_table(SUMMARY, 10)[0] == ["", "NDCG@10"]
    whole = ["", "HR@10", "NDCG@10", "MRR", "to ema", "Holm p", "cost", "seeds"]
    assert screen_table(SUMMARY, 200)[0] == whole
    assert table_lines(SUMMARY)[2].startswith("| Last-item Markov   | .0828 ")


def test_latex_has_rules_and_escapes_names():
    text = latex(SUMMARY)
    assert r"\begin{tabular}{lrrrrrrr}" in text and text.count(r"\midrule") == 2
    assert r"a\_longer\_name\_100\% & .1474 $\pm$ .0030 &" in text
    assert r" & +0.9\% (-0.8\% to +11.2\%) & .310 & x 1.11 & 5 \\" in text


def test_csv_has_the_numbers_themselves():
    frame = pd.read_csv(io.StringIO(csv(SUMMARY)))
    assert list(frame["kind"]) == ["baseline"] * 3 + ["reference"] * 3 + ["arm"] * 3
    last = frame.iloc[-1]
    assert (last["name"], last["metric"], last["difference"]) == (
        "a_longer_name_100%",
        "mrr",
        0.009,
    )
    assert (last["low"], last["p_holm"], last["seeds"]) == (-0.0075, 0.31, 5)


def test_arms_that_should_train_longer_or_never_acted_are_named():
    runs = [{"seed": seed, "is_rising": seed > 0, "is_inactive": seed == 2} for seed in range(3)]
    rows = [{"name": "a", "label": "SASRec+UFNRec", "runs": runs}, {"name": "b", "runs": [{}]}]
    assert course_lines({"arms": rows}) == [
        "a: validation was still rising at the end of 2 of 3 runs: train longer.",
        "a: UFNRec never became active in 1 of 3 runs, which are plain SASRec.",
    ]


def test_the_arms_that_a_baseline_beats_on_validation_are_named():
    def row(name: str, run: float) -> dict[str, Any]:
        part = {"run": run, "baseline": 0.1, "estimate": run / 0.1 - 1, "low": -0.9, "high": 0.9}
        return {
            "name": name,
            "against_baseline": {"label": "KNN", "validation": part, "test": part},
        }

    better, worse = row("good", 0.12), row("bad", 0.05)
    assert baseline_verdict([better]) == (
        "Against KNN, the strongest baseline, with NDCG@10 0.1000 on test: good +20.0% (-90.0% to "
        "+90.0%); 95% intervals."
    )
    assert baseline_verdict([better, worse]) == (
        "KNN, a baseline, has NDCG@10 0.1000 on validation, more than some arms: bad -50.0% "
        "(-90.0% to +90.0%); 95% intervals."
    )
    assert "more than every arm" in baseline_verdict([worse])
    assert baseline_verdict([{"name": "a", "against_baseline": None}]) == ""
