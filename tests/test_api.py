"""The Python API: from a frame of events to recommendations, and back to a trained run."""

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest

import ufnrec_tf as ufn
from tests.helpers.runs import LIGHT, PLANTED, ROOT, TINY, read
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.sources import load

SETTINGS = {
    key.removeprefix("--config."): value
    for key, _, value in (
        text.partition("=") for text in (*TINY, *LIGHT, "--config.training.num_epochs=1")
    )
}


def events():
    """Users go round a circle of items that have titles; a time column of ISO dates."""
    rows = [
        (f"user {user}", f"é,{(user + place) % 9}", f"2024-01-{place + 1:02d}T10:00:00+02:00")
        for user in range(30)
        for place in range(6)
    ]
    return pd.DataFrame(rows, columns=["customer_id", "sku", "ordered"])


def items():
    return pd.DataFrame(
        {"sku": [f"é,{n}" for n in range(9)], "title": [f"No {n}" for n in range(9)]}
    )


def load_planted():
    keys = [argument.removeprefix("--config.").partition("=")[::2] for argument in PLANTED]
    return load(load_config("", keys), "").interactions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {**SETTINGS, "data.time_column": "ordered"}
    return ufn.train(
        events(),
        workdir=tmp_path_factory.mktemp("api") / "w",
        items=items(),
        settings=settings,
        shows=False,
    )


def test_importing_brings_no_tensorflow_and_names_what_there_is():
    code = (
        "import sys, ufnrec_tf as ufn; assert not {'tensorflow', 'pandas'} & set(sys.modules); "
        "ufn.read; assert 'tensorflow' not in sys.modules; print(*dir(ufn))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert set(ufn.__all__) == set(done.stdout.split())
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = ufn.nothing_such


def test_a_frame_becomes_interactions_and_a_split():
    log = ufn.read(events(), items=items(), settings={"data.time_column": "ordered"})
    assert (log.num_users, log.num_items, log.num_events) == (30, 9, 180)
    assert log.timestamps is not None and log.item_titles is not None
    # 10:00 at +02:00 is 8:00 in UTC.
    assert log.timestamps[0] == pd.Timestamp("2024-01-01T08:00Z").timestamp()
    assert log.item_titles[list(log.item_ids).index("é,4")] == "No 4"
    parts = ufn.split(log, settings={"split.name": "leave_last_n", "split.num_targets": 2})
    assert parts.num_targets == 2 and len(parts.targets("test")) == 60
    assert ufn.read(log) is log


def test_bad_input_is_one_line():
    with pytest.raises(ufn.UserError, match="no user column"):
        ufn.read(pd.DataFrame({"a": [1], "b": [2]}))
    with pytest.raises(ufn.UserError, match=r"unknown flag --config\.backbone\.widht"):
        ufn.train(events(), workdir="unused", settings={"backbone.widht": 8})
    with pytest.raises(ufn.UserError, match=r"config\.json: not found"):
        ufn.Run("nowhere")
    with pytest.raises(ufn.UserError, match="there is no exported model"):
        ufn.load_export("nowhere")


def test_a_trained_run_says_what_the_command_line_says(run):
    result = read(run.path / "result.json")
    assert run.metrics == result["test"]
    assert list(run.curve["epoch"]) == [1]
    assert set(run.ranks["user"]) == {f"user {n}" for n in range(30)}
    assert {"user", "item", "count", "flagged"} <= set(run.false_negatives)
    assert run.record["config"]["backbone"]["num_blocks"] == 0
    assert ufn.Run(run.path).metrics == run.metrics


def test_evaluating_again_gives_the_same_and_another_protocol_another(run):
    settings = {"data.time_column": "ordered"}
    with pytest.raises(ufn.UserError, match="cannot change a trained model"):
        run.evaluate(events(), settings=settings)
    assert run.evaluate(events()) == pytest.approx(run.metrics)
    masked = run.evaluate(events(), settings={"evaluation.mask": "none"})
    assert masked["mrr"] != pytest.approx(run.metrics["mrr"])
    with pytest.raises(ufn.UserError, match="sha256"):
        run.evaluate(events().iloc[1:])


def test_recommendations_have_names_titles_and_no_seen_item(run):
    histories = {"a": ["é,0", "é,1"], "b": ["unknown"]}
    found = run.recommend(histories, top_k=3)
    assert list(found.columns) == ["user", "rank", "item", "title", "score"]
    assert list(found["user"]) == ["a"] * 3 + ["b"] * 3
    assert list(found["rank"]) == [1, 2, 3] * 2
    assert not {"é,0", "é,1"} & set(found["item"][:3])
    assert all(
        title == f"No {item[2:]}" for item, title in zip(found["item"], found["title"], strict=True)
    )
    assert (np.diff(found["score"][:3]) <= 0).all()
    series = events().groupby("customer_id")["sku"].apply(list)
    of_users = run.recommend(series, top_k=2)
    assert list(of_users["user"].unique()) == list(series.index)
    np.testing.assert_array_equal(
        of_users["item"][:2], run.recommend([series.iloc[0]], top_k=2)["item"]
    )


def test_lists_bound_what_is_recommended(run):
    all_of_them = run.recommend([["é,0"]], top_k=20)
    assert len(all_of_them) == 8  # nine items, one seen
    first = all_of_them["item"][0]
    without = run.recommend([["é,0"]], top_k=20, exclude=[first])
    assert list(without["item"]) == list(all_of_them["item"][1:])
    allowed = run.recommend([["é,0"]], top_k=20, allow=["é,0", "é,5", "é,6"])
    assert set(allowed["item"]) == {"é,5", "é,6"}
    assert len(run.recommend([], top_k=2)) == 0
    assert list(run.recommend({}).columns) == list(all_of_them.columns)


def test_vectors_are_what_scores_are_made_of(run):
    assert run.recommender.encode([["é,0"], ["é,1", "é,2"]]).shape == (2, 8)


@pytest.mark.parametrize("histories", ["é,0", [["é,0"], "é,1"], events(), {"a": 3}])
def test_what_is_no_history_is_refused(run, histories):
    with pytest.raises(ufn.UserError, match="must be"):
        run.recommend(histories)


def test_training_again_opens_the_run_in_any_thread(run, capsys):
    found = []

    def again():
        found.append(
            ufn.train(
                events(),
                workdir=run.path,
                items=items(),
                settings={**SETTINGS, "data.time_column": "ordered"},
            )
        )

    thread = threading.Thread(target=again)
    thread.start()
    thread.join()
    assert found[0].metrics == run.metrics
    assert "This run is done" in capsys.readouterr().out


def test_users_of_the_run_get_what_their_whole_histories_get(run):
    series = events().groupby("customer_id")["sku"].apply(list)
    some = ["user 7", "user 11"]
    pd.testing.assert_frame_equal(
        run.recommend(users=some, top_k=2), run.recommend(series[some], top_k=2)
    )
    assert set(run.recommend(users="user 7")["user"]) == {"user 7"}
    with pytest.raises(ufn.UserError, match=r"1 of 2 users .* 'user 77'. Did you mean 'user 7'"):
        run.recommend(users=["user 7", "user 77"])
    for wrong in ({}, {"users": "user 7", "histories": [["é,0"]]}):
        with pytest.raises(ufn.UserError, match="either `histories` or `users`"):
            run.recommend(**wrong)
