"""--mode=report: the page and the pictures of a work directory, finished or not."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import TemplateError
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import is_in_use, is_writable, reading, write_text
from ufnrec_tf.common.hashes import read_hashed_json
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.report.charts import Chart, write_pictures
from ufnrec_tf.report.comparison_page import page as comparison_page
from ufnrec_tf.report.judgement import current
from ufnrec_tf.report.run_charts import data_charts, training_charts
from ufnrec_tf.report.run_facts import DataFacts, RunFacts, read_arms, read_data, with_titles
from ufnrec_tf.report.run_numbers import score
from ufnrec_tf.report.run_page import page as run_page

_DAMAGES = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, StopIteration),
    TemplateError,
)
_MEND = "Put a copy of it back, or run the --mode=compare command once more: it writes it again."
PAGE = "report.html"
PLOTS = "plots"


def report(
    path: Path,
    config: ConfigDict,
    record: dict[str, Any],
    *,
    data: str | pd.DataFrame | Interactions,
    output: str,
    display: Display,
) -> None:
    """Writes report.html and, for a run, plots/ into a work directory.

    A run that is being trained is shown up to its last evaluation; a comparison's page is written
    again from comparison.json.

    Args:
        path: The work directory.
        config: The settings of the run.
        record: The contents of its config.json.
        data: The log, if it has moved or was a table; empty: where the run read it.
        output: The page to write, beside which plots/ is; empty: report.html of the directory.
        display: The screen.

    Raises:
        UserError: If a file is damaged, `data` is not the run's data, or another process is
            changing a finished run.
    """
    page = Path(output) if output else path / PAGE
    if not is_writable(page.parent):
        raise UserError(f"{page}: cannot be written there. Give another place: --output=FILE.html.")
    is_running = is_in_use(path)
    with ExitStack() as held:
        if not is_running or (path / "result.json").exists():
            held.enter_context(reading(path))
        if "seed" not in record["identity"]:
            _report_comparison(path, page, display)
            return
        facts_of_data, why = _data_of(config, record, data)
        arms = with_titles(read_arms(path), facts_of_data.item_names if facts_of_data else {})
        facts = RunFacts(path, config, record, arms, facts_of_data, why, is_running)
        training: list[Chart] = list(training_charts(facts))
        of_data: list[Chart] = list(data_charts(facts_of_data))
        pictures = write_pictures(page.parent / PLOTS, [*training, *of_data])
        numbers = score(facts)
        write_text(page, run_page(facts, numbers, training=training, data=of_data))
    if facts.own.result is None:
        display.line("  this run has not finished; the page has what there is")
    if why:
        display.line(f"  {why}")
    display.line(f"{page}: written; {len(pictures)} pictures in {page.parent / PLOTS}/")


def _data_of(
    config: ConfigDict, record: dict[str, Any], data: str | pd.DataFrame | Interactions
) -> tuple[DataFacts | None, str]:
    """Returns the facts of the data, or None and the reason.

    Raises:
        UserError: If `data` is given and is not the run's data.
    """
    sha256 = record["identity"]["data of sha256"]
    is_given = not isinstance(data, str) or bool(data)
    try:
        return read_data(config, data if is_given else record["data_path"], sha256=sha256), ""
    except UserError as error:
        if is_given:
            raise
        return None, f"The data could not be read again, so that what needs it is missing: {error}"


def _report_comparison(path: Path, page: Path, display: Display) -> None:
    if not (path / "comparison.json").exists():
        raise UserError(
            f"{path}: a comparison of which no seed has finished. Run the same --mode=compare "
            f"command on, or give one of its runs: --workdir={path}/runs/ARM/seed_0."
        )
    summary = read_hashed_json(path / "comparison.json", mend=_MEND)
    try:
        again = current(summary)
        text = comparison_page(again)
    # What a damaged value leads to: older files have no sha256, and --verify=false checks none.
    except _DAMAGES as error:
        raise UserError(
            f"{path / 'comparison.json'}: is damaged ({own_words(error)[:200]}). {_MEND}"
        ) from error
    write_text(page, text)
    if again is not summary:
        display.line(f"  {again['verdict']}")
        display.line(
            f"  {path / 'comparison.json'} is of an older version, whose verdicts it and "
            "comparison.md still have. The page has them judged again; the same --mode=compare "
            "command writes all three."
        )
    display.line(f"{page}: written, from comparison.json")
