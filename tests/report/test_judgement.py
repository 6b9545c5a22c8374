"""Comparisons of older versions, judged again from their files."""

import copy
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.pages import Page
from tests.helpers.runs import run
from ufnrec_tf.comparison.markdown import markdown
from ufnrec_tf.evaluation.statistics import crossed_mean, half_widths, p_values
from ufnrec_tf.report.comparison_page import page
from ufnrec_tf.report.judgement import FORMAT_VERSION, current, flips_words

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
METRICS = ("hr@10", "ndcg@10", "mrr")


def older_run(seed: int, value: float, *, gate: int | None, epoch: int, flips: float) -> dict:
    return {
        "seed": seed,
        "test": dict.fromkeys(METRICS, value),
        "validation": dict.fromkeys(METRICS, value),
        "weights": "teacher",
        "selected_epoch": epoch,
        "epochs": 9,
        "gate_epoch": gate,
        "flips": flips,
        "cpu_seconds_per_1000_users": 1.0,
    }


def older_arm(name: str, values: np.ndarray, difference: dict | None, **first: Any) -> dict:
    """An arm as version 1 has it; the reported weights of its first seed are `first`'s."""
    shut = {"gate": 3, "epoch": 2, "flips": 9.0 if difference else 0.0}
    runs = [
        older_run(seed, value, **(shut if seed else {**shut, **first}))
        for seed, value in enumerate(values)
    ]
    safe = {"memory.policy": "ufnrec_safe", "teacher.always": True}
    return {
        "name": name,
        "label": name,
        "overrides": safe if difference else {"memory.policy": "keep", "teacher.always": True},
        "runs": runs,
        "mean": dict.fromkeys(METRICS, float(values.mean())),
        "sd": dict.fromkeys(METRICS, float(values.std(ddof=1))) if len(values) > 1 else None,
        "difference": difference and dict.fromkeys(METRICS, difference),
        "cost": {"cpu_seconds_per_1000_users": 1.0, "ratio": 1.0},
        "flips": 1.0,
        "beyond_accuracy": None,
        "detection": None,
        "future": {"num_flagged": 10.0, "hits": 4.0, "rate": 0.4},
        "curve": {key: [] for key in ("epoch", "mean", "low", "high", "seeds", "flips")},
    }


def older_summary(arm: np.ndarray, reference: np.ndarray, *, weights: str = "better") -> dict:
    """A comparison.json of version 1, of the values [U, S] of two arms."""
    moved = arm - reference
    by_user = moved.mean(axis=1)
    estimate = float(moved.mean())
    interval = {"estimate": estimate, "low": estimate - 1e-4, "high": estimate + 1e-4}
    size = float(by_user.mean() / by_user.std(ddof=1)) if moved.any() else 0.0
    found = {
        "absolute": interval,
        "relative": {key: value / reference.mean() for key, value in interval.items()},
        "p": 0.012,
        "p_holm": 0.012,
        "effect_size": size,
        "verdict": "better",
        "seeds": list(range(moved.shape[1])),
        "users": len(moved),
    }
    cell = {"mean": 0.1, "absolute": interval, "relative": found["relative"]}
    return {
        "format_version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "verdict": "NDCG@10 against ema. Better: safe (+4.1%, +1.0% to +7.2%).",
        "reference": "ema",
        "seeds": found["seeds"],
        "arms": [
            older_arm("ema", reference.mean(axis=0), None),
            older_arm("safe", arm.mean(axis=0), found, epoch=6),
        ],
        "slices": [
            {
                "family": "history length",
                "label": f"{users} items",
                "users": users,
                "metric": "ndcg@10",
                "arms": {"ema": {**cell, "absolute": None, "relative": None}, "safe": cell},
            }
            for users in (499, 500)
        ],
        "missing": [],
        "data": {
            "source": "x.csv",
            "sha256": "0" * 64,
            "users": 9,
            "items": 9,
            "interactions": 9,
            "evaluated_users": len(moved),
        },
        "split": "leave_one_out",
        "protocol": {"candidates": 9, "masked": "nothing", "ties": "against the target"},
        "selection": {"metric": "ndcg@10", "every_epochs": 2, "weights": weights},
        "budget": {"num_epochs": 9, "max_steps": 0, "patience": 0},
        "stop_hopeless": 0.0,
        "statistics": {"interval": "old", "test": "old", "correction": "Holm", "resamples": 9},
        "versions": {"ufnrec_tf": "0.1.0", "tensorflow": "2", "keras": "3"},
        "git_commit": "",
        "command_line": ["main.py"],
        "config": {"memory": {"policy": "ufnrec"}},
    }


def values_of(num_seeds: int, *, effect: float = 0.0, spread: float = 0.02) -> tuple:
    generator = np.random.default_rng(num_seeds)
    reference = generator.uniform(0.2, 0.4, size=(300, num_seeds))
    of_seeds = generator.normal(effect, spread, size=(1, num_seeds))
    return reference + of_seeds + generator.normal(0, 0.05, size=(300, 1)), reference


def test_one_seed_that_was_better_is_no_finding_any_more():
    before = older_summary(*values_of(1, effect=0.02))
    kept = copy.deepcopy(before)
    found = current(before)
    assert before == kept
    assert found["format_version"] == 1  # the file's own
    row = found["arms"][1]["difference"]["ndcg@10"]
    assert row["verdict"] == "not a finding"
    assert found["verdict"].startswith("NDCG@10 against ema. safe: one seed: not a finding; ")
    assert "users only" in found["verdict"]
    arm, reference = values_of(1, effect=0.02)
    assert row["p"] == pytest.approx(float(p_values(crossed_mean(arm - reference))), rel=1e-6)


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_users_and_seeds_are_both_in_the_interval_of_an_older_file(num_seeds):
    arm, reference = values_of(num_seeds)
    row = current(older_summary(arm, reference))["arms"][1]["difference"]["ndcg@10"]
    mean = crossed_mean(arm - reference)
    half = row["absolute"]["high"] - row["absolute"]["estimate"]
    assert half >= float(half_widths(mean)) * 0.999  # C, which the file lacks, is in it twice
    assert half == pytest.approx(float(half_widths(mean)), rel=0.1)
    assert (row["p"] < 0.05) == (row["absolute"]["low"] > 0 or row["absolute"]["high"] < 0)
    assert row["seed_differences"] == pytest.approx((arm - reference).mean(axis=0))


def test_a_clear_gain_stays_one():
    found = current(older_summary(*values_of(5, effect=0.1, spread=0.001)))
    assert found["verdict"].startswith("NDCG@10 against ema. safe: better by ")


def test_seeds_whose_weights_saw_flips_are_told_apart():
    arm, reference = values_of(4, effect=0.02)
    arm[:, 1:] = reference[:, 1:]
    seen = current(older_summary(arm, reference))["arms"][1]["saw_flips"]
    assert (seen["seeds"], seen["of"]) == ([0], [0, 1, 2, 3])
    assert flips_words(seen).startswith("reported weights saw flips: 1 of 4 seeds; among those one")
    among = seen["difference"]["ndcg@10"]["absolute"]["estimate"]
    assert among == pytest.approx((arm - reference)[:, 0].mean())


def test_unequal_sets_of_weights_are_said():
    values = values_of(3)
    (note,) = current(older_summary(*values, weights="auto"))["weights_notes"]
    assert note.startswith("ema, the reference, was scored by one set of weights, safe by the")
    assert current(older_summary(*values))["weights_notes"] == []


def test_the_page_of_an_older_file():
    summary = older_summary(*values_of(3))
    text = Page(page(summary)).text
    assert current(summary)["verdict"] in text and "Better: safe" not in text
    assert "older version" in text and "judged again" in text
    assert 'class="better"' not in page(summary) and 'class="worse"' not in page(summary)
    table = next(t for t in Page(page(summary)).tables if t[0][0].strip() == "history length")
    assert [bool(cell.strip()) for cell in table[1][1:]] == [False, True]  # 49 hits, 50 hits


def test_report_mode_reads_an_older_folder(tmp_path, capsys):
    record = {"seed": 0, "config": {}, "identity": {"data of sha256": "0"}, "data_path": ""}
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    summary = older_summary(*values_of(2))
    (tmp_path / "comparison.json").write_text(json.dumps(summary), encoding="utf-8")
    assert run("--mode=report", f"--workdir={tmp_path}") == 0
    screen = " ".join(capsys.readouterr().out.split())
    assert "report.html: written" in screen
    assert "safe: two seeds: not a finding" in screen and "is of an older version" in screen
    assert "two seeds: not a finding" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8")) == summary


@pytest.mark.parametrize("page", ["README.md", "docs/evaluation-and-comparison.md"])
def test_figures_of_the_documentation_stand_in_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    known = set()
    for path in RESULTS.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "arms" not in found and "table" not in found:
            continue  # figures of cost, which are of another page
        if "arms" not in found:
            known |= figures([*found["table"], found["ceiling"], found["ceiling_without_noise"]])
            continue
        for row in current(found)["arms"]:
            known |= figures([row["mean"], row["sd"] or {}])
            if row["difference"] and row["mean"] != found["arms"][0]["mean"]:
                assert row["difference"]["ndcg@10"]["words"] in text or path.stem not in text
        for part in found.get("slices", []):
            known |= figures(part["arms"].values())
    shown = [row for row in text.splitlines() if row.startswith("|")]
    shown_figures = set(re.findall(r"(?<![\d\w])\.\d{4}\b", "\n".join(shown)))
    assert len(shown_figures) > 20
    assert shown_figures <= known


def figures(rows: Iterable[dict[str, Any]]) -> set[str]:
    numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
    return {f"{value:.4f}".removeprefix("0") for value in numbers}


@pytest.mark.parametrize(
    ("name", "verdict", "flips"),
    [
        ("planted_10", "undecided", "2 of 5"),
        ("ml100k_cross_entropy", "undecided", "3 of 3"),
        ("ml100k_nce", "not a finding", "0 of 1"),
        ("beauty_cross_entropy", "not a finding", "1 of 1"),
    ],
)
def test_the_files_of_the_repository(name, verdict, flips):
    summary = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    found = current(summary)
    row = found["arms"][1]
    assert {each["verdict"] for each in row["difference"].values()} == {verdict}
    assert f"{flips} seeds" in flips_words(row["saw_flips"])
    assert found["verdict"] in markdown(found)
    assert found["verdict"] in Page(page(summary)).text
    del found["statistics"]["note"]
    now = {**found, "format_version": FORMAT_VERSION}
    assert current(now) is now
    assert "older version" not in Page(page(now)).text


@pytest.mark.parametrize(
    "damage",
    [
        lambda summary: summary.pop("arms"),
        lambda summary: summary.update(reference="none"),
        lambda summary: summary.update(arms=3, margin="x"),
        lambda summary: summary["arms"][1].update(runs=None),
        lambda summary: summary["arms"][0]["runs"][0]["test"].clear(),
        lambda summary: summary["arms"][1]["difference"]["ndcg@10"].update(users=0),
        lambda summary: summary.update(format_version=2),
        lambda summary: summary.update(format_version="two"),
    ],
)
def test_a_damaged_older_file_is_named_in_one_line(tmp_path, capsys, damage):
    record = {"seed": 0, "config": {}, "identity": {"data of sha256": "0"}, "data_path": ""}
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    summary = older_summary(*values_of(2))
    damage(summary)
    (tmp_path / "comparison.json").write_text(json.dumps(summary), encoding="utf-8")
    assert run("--mode=report", f"--workdir={tmp_path}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'comparison.json'}: is damaged (")
    assert not (tmp_path / "report.html").exists()
