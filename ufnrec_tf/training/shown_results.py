"""The results of a finished run on the screen."""

import os
import sys
from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.evaluation.metrics import COMPARED
from ufnrec_tf.evaluation.protocol import (
    heldout_targets_lines,
    masked_targets_lines,
    newcomers_lines,
    request_time_lines,
    target_rule_text,
)
from ufnrec_tf.evaluation.run_verdict import verdict_lines
from ufnrec_tf.evaluation.teacher_words import taken_later, teacher_lines
from ufnrec_tf.export.versions import versions
from ufnrec_tf.runs.run_files import read_result


def show_finished(path: Path, display: Display) -> None:
    """Shows verdict, table, sample recommendations, the files written and the next commands."""
    result = read_result(path)
    protocol = result["protocol"]
    first, *others = verdict_lines(result)
    display.heading(first)
    for line in others:
        display.line(line)
    display.heading(f"Test, full ranking, {target_rule_text(result)}")
    names = result.get("compared", COMPARED)
    display.table(
        ["", *(name.upper() for name in names)],
        [[row["label"], *(_cell(row.get(name)) for name in names)] for row in result["table"]],
    )
    display.block(
        [
            f"{protocol['candidates']:,} candidates, masked: {protocol['masked']}; ties "
            f"{protocol['ties']}; {result['label']}: {protocol['weights']} weights of epoch "
            f"{protocol['selected_epoch']}, selected by {protocol['selected_by']}; "
            f"seed {result['seed']}; data {result['data']['sha256'][:12]}",
        ]
    )
    display.block(
        [
            *masked_targets_lines(protocol),
            *heldout_targets_lines(protocol),
            *newcomers_lines(protocol),
            *request_time_lines(protocol),
        ]
    )
    _show_ceiling(result, display)
    _show_teacher(result, display)
    _show_false_negatives(path, result, display)
    if result["samples"]:
        display.heading("Recommendations")
    for sample in result["samples"]:
        display.line(f"  user {sample['user']}: ... {', '.join(sample['history'])}")
        display.line(f"    next: {', '.join(sample['recommended'])}")
        display.line(f"    took: {sample['taken_next']}")
    _show_next(path, display, is_own_log="reading" in result["data"])


def _cell(value: float | None) -> str:
    """Returns a metric; blank for a baseline that was trained before the metric was asked for."""
    return "" if value is None else f"{value:.4f}"


def _show_ceiling(result: dict[str, Any], display: Display) -> None:
    for key, words in (
        ("ceiling", "ceiling, by the true probabilities"),
        ("ceiling_without_noise", "without the noise, which nothing can learn"),
    ):
        if found := result.get(key):
            names = [name for name in result.get("compared", COMPARED) if name in found]
            values = ", ".join(f"{name.upper()} {found[name]:.4f}" for name in names)
            display.line(f"  {words}: {values}")


def _show_teacher(result: dict[str, Any], display: Display) -> None:
    """Shows what the teacher cost, what it knows, and whether its labels are taken later."""
    teacher, found = result.get("teacher"), result["false_negatives"]
    if not teacher:
        return
    display.heading("What the teacher found")
    lines = teacher_lines(teacher)
    if "future" in found:
        matched = found["future"]["matched_on_popularity_and_score"]
        lines.append(taken_later(found["ripe_pairs"], matched))
    display.block(lines)


def _show_false_negatives(path: Path, result: dict[str, Any], display: Display) -> None:
    runs = [result]
    for folder in sorted((path / "baselines").glob("*/result.json")):
        runs.append(read_result(folder.parent))
    rows = []
    for run in runs:
        found = run["false_negatives"].get("detection")
        if found:
            rows.append(
                [
                    run["label"],
                    f"{int(found['num_flagged']):,}",
                    f"{found['precision']:.3f}",
                    f"{found['recall']:.4f}",
                    f"{found['base_rate']:.3f}",
                    f"{found['lift']:.2f}",
                ]
            )
    if rows:
        which = "pairs whose count passed the patience"
        if "found_by" in result["false_negatives"]:
            which = "pairs above the observed item"
        display.heading(f"Planted false negatives: {which}")
        display.table(["", "pairs", "precision", "recall", "base rate", "lift"], rows)
    elif result["memory"]["slots"]:
        found = result["false_negatives"]
        opened = found["gate_epoch"]
        when = "the gate stayed shut" if opened is None else f"gate opened after epoch {opened}"
        display.line(
            f"  {when}; {found['flips']:,.0f} labels flipped in {result['steps']:,} steps; "
            f"{result['memory']['evictions']:,} evictions"
        )


def _own_command() -> str:
    """Returns the command that calls this program again from the same directory."""
    program = Path(sys.argv[0]).name
    if program != "main.py":
        return program
    # An environment that was not activated, such as the one of `make demo`, has to be named.
    in_hidden_environment = sys.prefix != sys.base_prefix and "VIRTUAL_ENV" not in os.environ
    python = os.path.relpath(sys.executable) if in_hidden_environment else "python"
    return f"{python} {sys.argv[0]}"


def _show_next(path: Path, display: Display, *, is_own_log: bool) -> None:
    found = versions(path / "export")
    newest = found[max(found)] if found else None
    display = display.notes
    display.heading("Where things are")
    display.block(
        [
            f"{path}/result.json, metrics.jsonl, ranks.parquet, checkpoints/",
            f"{newest or path / 'export'}   SavedModel for serving",
        ],
        wraps=False,
    )
    display.heading("Next")
    steps = _python_steps(path) if display.in_python else _commands(path)
    if not (is_own_log or display.in_python):
        own = f"{_own_command()} --data=YOUR_FILE --workdir=runs/mine"
        steps.append(f"{own}     (user, item, time)")
    display.block(steps, wraps=False)


def _commands(path: Path) -> list[str]:
    """Returns the next commands; `make tensorboard` only where our Makefile is."""
    makefile = Path("Makefile")
    has_target = makefile.is_file() and "\ntensorboard:" in makefile.read_text(errors="replace")
    return [
        f"make tensorboard LOGDIR={path}"
        if has_target
        else f"{_own_command()} --mode=board --workdir={path}     (curves)",
        f"{_own_command()} --mode=recommend --workdir={path} --histories=FILE --output=out.csv",
        f"{_own_command()} --mode=serve --workdir={path}     (a page to try it, and requests)",
        f"{_own_command()} --mode=report --workdir={path}     (report.html and pictures)",
    ]


def _python_steps(path: Path) -> list[str]:
    """Returns the next steps in Python."""
    return [
        f"run = ufnrec_tf.Run({str(path)!r})     (opens this run again)",
        'run.recommend({"someone": ["ITEM", "ITEM"]}, top_k=10)     (item ids, oldest first)',
        "run.metrics, run.curve, run.ranks, run.evaluate(data), run.report(data)",
        f"tensorboard --logdir={path}     (in a notebook: %load_ext tensorboard, then "
        f"%tensorboard --logdir={path})",
    ]
