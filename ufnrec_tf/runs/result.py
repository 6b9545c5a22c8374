"""The result of a run in Python: the content of result.json, which shows its main numbers."""

from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.data.interactions import short_source
from ufnrec_tf.runs.run_files import RESULT, read_result

_MAIN = ("hr@10", "ndcg@10", "mrr")


class RunResult(Shown, dict[str, Any]):
    """The content of result.json: a dict that shows itself on one screen."""

    def _show(self, display: Display) -> None:
        data, protocol, test = self["data"], self["protocol"], self["test"]
        names = [name for name in self.get("compared", _MAIN) if name in test]
        display.heading(f"{self['label']}: test, ranked among all items")
        display.table(
            ("", *map(str.upper, names)),
            [
                [row["label"], *(f"{row[name]:.4f}" if name in row else "" for name in names)]
                for row in self["table"]
            ],
        )
        early = ", stopped early" if self.get("stopped_early") else ""
        display.block(
            [
                f"data     {short_source(data['source'])}: {data['users']:,} users, "
                f"{data['items']:,} items, {data['interactions']:,} events",
                f"trained  {self['epochs']} epochs{early}; seed {self['seed']}",
                f"weights  {protocol['weights']}, of epoch {protocol['selected_epoch']}, selected "
                f"by {protocol.get('selected_by')}",
                *(f"leaks    {line}" for line in protocol.get("leaks", ())),
                f"keys     {', '.join(self)}",
            ]
        )


def run_lines(path: Path) -> list[str]:
    """Returns what a run says of itself, in a few lines; never raises."""
    if not (path / RESULT).is_file():
        return [f"Run {path}: not finished; the same call of train continues it"]
    try:
        result = read_result(path)
        data, protocol = result["data"], result["protocol"]
        metrics = ", ".join(f"{name.upper()} {result['test'][name]:.4f}" for name in _MAIN)
        return [
            f"Run {path}: {result['label']} on {short_source(data['source'])}, {data['users']:,} "
            f"users, {data['items']:,} items, {data['interactions']:,} events",
            f"  test: {metrics}, by the {protocol['weights']} weights of epoch "
            f"{protocol['selected_epoch']} of {result['epochs']}; seed {result['seed']}",
        ]
    except (UserError, LookupError, TypeError, ValueError) as error:
        return [f"Run {path}: {error}"]
