"""A run by a loss and a metric of the user's own: its files, its pages, and a missing file."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.runs import LIGHT, metric_lines, read, run, train
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.training.checks import check_names

CODE = """
import numpy as np
from ufnrec_tf.objectives.softmax import SampledSoftmax


class Mine(SampledSoftmax):
    pass


def log_rank(ranks):
    return -np.log(ranks)


def share(ranks, cutoff):
    return -np.minimum(ranks, cutoff) / cutoff
"""


@pytest.mark.slow
@pytest.mark.usefixtures("without_graphs", "without_export")
def test_a_run_by_a_loss_and_metrics_of_ones_own(tmp_path, write, capsys):
    path, workdir = write(CODE, "mine.py"), tmp_path / "w"
    settings = (
        *LIGHT,
        f"--config.loss.name={path}:Mine",
        f"--config.evaluation.metrics=hr,recall,{path}:log_rank,{path}:share",
        "--config.evaluation.cutoffs=3,30",
        "--config.training.monitor=share@30",
        "--config.training.num_epochs=1",
    )
    assert train(workdir, *settings) == 0
    assert "HR@10    NDCG@10       MRR    RECALL@30    LOG_RANK    SHARE@30" in (
        capsys.readouterr().out
    )
    names = ["hr@3", "hr@30", "recall@3", "recall@30", "log_rank", "share@3", "share@30"]
    names += ["hr@10", "ndcg@10", "mrr"]
    assert list(metric_lines(workdir)[0])[-len(names) :] == names
    result, config = read(workdir / "result.json"), read(workdir / "config.json")["config"]
    assert list(result["test"]) == names
    assert config["loss"]["name"] == f"{path}:Mine"
    ranks = pd.read_parquet(workdir / "ranks.parquet")["rank"]
    assert result["test"]["log_rank"] == pytest.approx(-np.log(ranks).mean())
    assert result["protocol"]["selected_by"] == "share@30"
    assert run("--mode=report", f"--workdir={workdir}") == 0
    assert "LOG_RANK" in (workdir / "report.html").read_text(encoding="utf-8")
    # A finished run says what it has not computed; without its file nothing is evaluated.
    assert train(workdir, *settings, "--config.evaluation.cutoffs=3,30,40") == 0
    assert "not computed by this run: hr@40, recall@40, share@40" in capsys.readouterr().out
    path.unlink()
    assert run("--mode=evaluate", f"--workdir={workdir}") == 1
    assert f"`evaluation.metrics`: {path}: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([("training.monitor", "hr@50")], r"`training\.monitor` must be one of hr@1.*'hr@5'"),
        ([("training.monitor", "log_rnk"), ("evaluation.metrics", "hr,FILE:log_rank")], "log_rank"),
        ([("evaluation.cutoffs", "0,5")], r"`evaluation\.cutoffs` must be .* 1"),
        ([("evaluation.cutoffs", "5,a")], r"evaluation\.cutoffs must be a whole number"),
        ([("evaluation.metrics", "hr,recal")], "Did you mean 'recall'"),
        ([("loss.name", "FILE:Mone")], "Did you mean 'Mine'"),
        ([("comparison.arms", "a:loss.name=FILE:Mone")], "arm 'a'.*Did you mean 'Mine'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_built(write, settings, message):
    path = str(write(CODE, "mine.py"))
    with pytest.raises(UserError, match=message) as caught:
        check_names(load_config("", [(key, text.replace("FILE", path)) for key, text in settings]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        [("training.monitor", "hr@50"), ("evaluation.cutoffs", "50")],
        [("training.monitor", "map@10"), ("evaluation.metrics", "map")],
        [("training.monitor", "log_rank"), ("evaluation.metrics", "FILE:log_rank")],
        [("training.monitor", "ndcg@10"), ("evaluation.cutoffs", "7")],
        [("loss.name", "FILE:Mine")],
        [("comparison.arms", "a:loss.name=FILE:Mine")],
    ],
)
def test_names_that_a_run_may_use(write, settings):
    path = str(write(CODE, "mine.py"))
    check_names(load_config("", [(key, text.replace("FILE", path)) for key, text in settings]))
