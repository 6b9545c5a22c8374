"""What a teacher of soft labels cost, knows and found, in sentences."""

from collections.abc import Mapping
from typing import Any

FOUND_BY = "the teacher's labels"
"""`found_by` of `false_negatives` in result.json where stored labels name the pairs."""

_OF_CONTROLS = {
    "uniform": "random items",
    "popularity": "random items, by popularity",
    "later": "the user's own later items",
    "alike": "random items as popular as a teacher's labels",
}


def teacher_name(teacher: Mapping[str, Any]) -> str:
    """Returns what gives the labels, such as `hindsight, seed 0`.

    Args:
        teacher: `teacher` of result.json.
    """
    source, of_labels = teacher["labels"]["source"], _OF_CONTROLS
    known = of_labels.get(source, "")
    if source == "later":
        return known
    name = str(teacher["kind"])
    if "epochs" in teacher:
        folds = f", {len(teacher['folds'])} folds" if "folds" in teacher else ""
        name += f"{folds}, seed {teacher['identity']['seed']}"
    elif name == "runs":
        name = ", ".join(f"{run['backbone']} {run['seed']}" for run in teacher["identity"]["runs"])
        name = f"runs: {name}"
    return f"{known} ({name})" if known else name


def teacher_lines(teacher: Mapping[str, Any]) -> list[str]:
    """Returns what a teacher cost and knows, and what its labels say, each in a line.

    Args:
        teacher: `teacher` of result.json.
    """
    lines, labels = [teacher_name(teacher)], teacher["labels"]
    if "epochs" in teacher:
        left_out = teacher["left_out"]
        lines[0] += f": {teacher['epochs']:,} epochs in {teacher['cpu_seconds']:,.0f} CPU s"
        if left_out["transitions"]:
            lines[0] += (
                f"; of {left_out['transitions']:,} train transitions left out NDCG@10 "
                f"{left_out['ndcg@10']:.4f}, NLL {left_out['nll']:.2f} at entropy "
                f"{left_out['entropy']:.2f}"
            )
    above = ""
    if labels["source"] != "later":
        above = (
            f"; an item above the observed one in {labels['share_outranked']:.0%} of them, "
            f"{labels['median_outranking']:,} in the median"
        )
    lines.append(
        f"labels of {labels['labelled']:,} transitions, {labels['bytes'] / 1e6:,.1f} MB in "
        f"{labels['cpu_seconds']:,.0f} CPU s: entropy {labels['entropy']:.2f}{above}"
    )
    return lines


def taken_later(num_pairs: int, matched: Mapping[str, Any]) -> str:
    """Returns how often labelled pairs were taken later, beside pairs that are like them.

    Args:
        num_pairs: Pairs that the labels put above the observed item.
        matched: Of those matched on popularity and score: `pairs`, `hits`, `rate` of the others,
            `lift`, `low`, `high`.
    """
    text = f"{FOUND_BY} put {num_pairs:,} pairs (user, item) above the observed item"
    if matched["lift"] is None:
        return f"{text}; how often such pairs are taken later is not known"
    return (
        f"{text}; of the {matched['pairs']:,} with others as popular and scored alike "
        f"{matched['hits'] / matched['pairs']:.2%} were taken later, of those others "
        f"{matched['rate']:.2%}: lift {matched['lift']:.2f} ({matched['low']:.2f} to "
        f"{matched['high']:.2f})"
    )
