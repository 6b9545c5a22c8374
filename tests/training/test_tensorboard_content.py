"""What TensorBoard gets at a run's end, read back by TensorBoard's own code."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from tests.helpers.logs import build_interactions
from tests.helpers.runs import read
from ufnrec_tf.common.text import one_line
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.runs.event_files import read_scalars
from ufnrec_tf.runs.tensorboard_files import Board
from ufnrec_tf.training.tensorboard_content import item_columns, settings_card

HARM = "a\tb\nc\r\u2028d\u202eetc <b>|`*_x_"


def hparams_of(logdir):
    """What the HParams tab is made of: names of settings that differ, results, rows."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    context = Context(SimpleNamespace(data_provider=provider, logdir=str(logdir)))
    request = RequestContext()
    tags = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(
        request, "", True, tags, context.hparams_from_data_provider(request, "", limit=0)
    )
    ask = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[{"metric": info.name} for info in experiment.metric_infos],
        include_metrics=True,
    )
    rows = Handler(
        request_context=request, backend_context=context, experiment_id="", request=ask
    ).run()
    return experiment, rows.session_groups


def test_runs_stand_beside_each_other(tmp_path):
    for rate in (0.1, 0.2):
        board = Board(tmp_path / str(rate) / "tensorboard")
        settings = {"name": "sasrec", "rate": rate, "is_on": True, "items": (1, 2)}
        board.scalars("test", {"ranking/mrr": 10 * rate, "ranking/bad": np.nan}, step=6)
        board.session(settings, step=7)
        board.close()
    experiment, rows = hparams_of(tmp_path)
    assert {info.name: info.differs for info in experiment.hparam_infos} == {
        "rate": True,
        "name": False,
        "is_on": False,
        "items": False,
    }
    assert experiment.hparam_infos[0].name == "rate"  # what differs comes first
    assert [info.name.tag for info in experiment.metric_infos] == ["ranking/mrr"]
    assert [row.name for row in rows] == [str(tmp_path / rate) for rate in ("0.1", "0.2")]
    found = {
        row.hparams["rate"].number_value: {m.name.tag: m.value for m in row.metric_values}
        for row in rows
    }
    assert found == {0.1: {"ranking/mrr": 1.0}, 0.2: {"ranking/mrr": 2.0}}


def test_a_finished_run_is_a_row_of_its_settings_and_results(trained):
    _, (row,) = hparams_of(trained)
    assert row.hparams["optimizer.learning_rate"].number_value == 0.01
    assert row.hparams["memory.policy"].string_value == "ufnrec"
    assert row.hparams["teacher.always"].bool_value is False
    result = read(trained / "result.json")
    values = {metric.name.tag: metric.value for metric in row.metric_values}
    assert values == pytest.approx({f"ranking/{k}": v for k, v in result["test"].items()})
    for name in ("hr@10", "ndcg@10", "mrr"):
        value = row.hparams[f"result.validation_{name}"].number_value
        assert value == pytest.approx(result["validation"][name])
    assert row.hparams["result.flips"].number_value == result["false_negatives"]["flips"]
    # Another process of the tests may have trained it, in its own folder.
    assert Path(row.name).parts[-2:] == trained.parts[-2:]


def test_a_training_has_two_folders_loss_and_ranking_first_and_no_chart_of_one_dot(trained):
    folder = trained / "tensorboard"
    assert sorted(path.name for path in folder.iterdir()) == ["curves", "test"]
    scalars = read_scalars(folder / "curves")
    assert not [tag for tag, values in scalars.items() if len(values) < 2]
    groups = {tag.partition("/")[0] for tag in scalars}
    assert sorted(groups)[:2] == ["loss", "ranking"] and len(groups) > 3
    assert read_scalars(folder / "test").keys() <= scalars.keys()


def projector_of(folder):
    """Vectors and rows of the metadata, as the projector reads them: tabs and line ends alone."""
    config = ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(encoding="utf-8"), config)
    (found,) = config.embeddings
    vectors = np.loadtxt(folder / found.tensor_path, delimiter="\t", dtype=np.float32, ndmin=2)
    text = (folder / found.metadata_path).read_text(encoding="utf-8")
    assert text.endswith("\n")
    rows = [line.split("\t") for line in text[:-1].split("\n")]
    assert list(vectors.shape) == list(found.tensor_shape)
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) == 1 + len(vectors)
    return vectors, rows


def test_the_projector_shows_the_items_of_the_run(trained):
    vectors, (head, *rows) = projector_of(trained / "tensorboard" / "test")
    assert head == ["title", "item_id", "category", "train_events"]
    assert len(rows) == 40 and vectors.shape[1] == 8
    counts = [int(row[3]) for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == read(trained / "result.json")["data"]["interactions"] - 2 * 60
    model = tf.saved_model.load(str(max((trained / "export").iterdir())))
    # Vectors of the weights that are served: the same item is nearest by either.
    history = tf.constant([[rows[0][1]]])
    answer = model.signatures["recommend"](item_ids=history, k=tf.constant(1))
    encoded = model.signatures["encode"](item_ids=history)
    scores = vectors @ next(iter(encoded.values())).numpy()[0]
    scores[0] = -np.inf  # never what the history holds
    best = next(value for value in answer.values() if value.dtype == tf.string)
    assert rows[int(scores.argmax())][1] == best.numpy()[0, 0].decode()


def test_titles_end_no_line_and_no_field(tmp_path):
    items = ["x", HARM, "y\n"]
    frame = pd.DataFrame({"user": ["u"] * 3, "item": items})
    log = build_interactions(frame, sha256="", source="", items=ItemTable(titles={"x": HARM}))
    columns = item_columns(log, np.array([3, 1, 2]), np.array([0, 5, 6, 7]))
    assert columns == {
        "title": ["y\n", HARM, HARM],  # where there is none, the id
        "item_id": ["y\n", "x", HARM],
        "train_events": ["7", "5", "6"],
    }
    board = Board(tmp_path)
    board.projector(np.array([[1, 2], [3, 4], [0.1, 1e-20]], np.float32), columns)
    vectors, (_, *rows) = projector_of(tmp_path / "test")
    assert vectors.tolist() == [[1, 2], [3, 4], [np.float32(0.1), np.float32(1e-20)]]
    assert rows[1] == ["a b c  d etc <b>|`*_x_", "x", "5"]
    assert not {"\u2028", "\u202e", "\r"} & set("".join(map("".join, rows)))
    # What a run that goes on will write again is gone meanwhile.
    (tmp_path / "test" / ".items.tsv.new").write_text("half")
    Board(tmp_path).cut_after(10**9)
    assert not list((tmp_path / "test").iterdir())


def test_prices_and_categories_are_shown_where_they_are_known():
    frame = pd.DataFrame({"user": ["u"] * 2, "item": ["x", "y"]})
    log = build_interactions(frame, sha256="", source="")
    object.__setattr__(log, "item_categories", np.array(["", "Toys", ""], object))
    object.__setattr__(log, "item_prices", np.array([np.nan, 12.5, np.nan]))
    columns = item_columns(log, np.array([1, 2]), np.array([0, 1, 1]))
    assert columns["category"] == ["Toys", ""] and columns["price"] == ["12.5", ""]
    assert columns["title"] == ["x", "y"]


def test_a_worker_that_writes_nothing_writes_no_files(tmp_path):
    Board(tmp_path, is_written=False).projector(np.zeros((1, 2), np.float32), {"title": ["x"]})
    assert not list(tmp_path.iterdir())


def test_the_cards_say_what_is_not_the_default():
    from ufnrec_tf.config import load_config

    lines = settings_card(load_config("", [("backbone.width", "8")])).split("\n")
    assert "| backbone.width | **8** | 50 |" in lines
    assert "| backbone.dropout | 0.5 | 0.5 |" in lines
    assert {line.count(" | ") for line in lines[2:]} == {2}


def test_one_line():
    assert one_line("plain ü 漢 😀") == "plain ü 漢 😀"
    assert one_line("\x00\x85\x7f\ud800").isspace()
