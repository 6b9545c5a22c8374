"""The Python API: from a frame of events to recommendations, and back to a trained run."""

import inspect
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

import ufnrec_tf as ufn
from tests.helpers.runs import LIGHT, PLANTED, ROOT, TINY, read
from ufnrec_tf.cli.main import main
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.sources import load
from ufnrec_tf.recommend.recommender import Recommender
from ufnrec_tf.runs.child_process import Ended

pytestmark = pytest.mark.usefixtures("eagerly")

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


class Recorder(keras.callbacks.Callback):
    """What a user's callback gets, as those of MLflow and W&B do."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, dict(logs)))


RECORDER = Recorder()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {**SETTINGS, "data.time_column": "ordered"}
    return ufn.train(
        events(),
        workdir=tmp_path_factory.mktemp("api") / "w",
        items=items(),
        settings=settings,
        shows=False,
        callbacks=[RECORDER],
    )


def test_importing_brings_no_tensorflow_and_names_what_there_is():
    code = (
        "import sys, ufnrec_tf as ufn; assert not {'tensorflow', 'pandas'} & set(sys.modules); "
        "shown = repr(ufn.inspect({'user': [1, 1, 1, 2], 'item': [1, 1, 2, 1]})); "
        "assert 'tensorflow' not in sys.modules and 'Problems: ' in shown; print(*dir(ufn))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert set(ufn.__all__) == set(done.stdout.split())
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = ufn.nothing_such


def test_settings_of_another_run_and_those_without_use(trained, monkeypatch, capsys):
    found = []
    monkeypatch.setattr(
        "ufnrec_tf.training.train.train", lambda config, *_, **named: found.append(config)
    )
    settings = {"data.time_column": "ordered", "memory.policy": "plain", "memory.slots": 3}
    ufn.train(events(), workdir=trained, config=trained, settings=settings)
    assert found[0].backbone.width == 8
    assert found[0].data.name == ""
    shown = capsys.readouterr().out
    assert "data.name planted" in shown and "other data are given" in shown
    assert "given but not used: memory.slots (memory.policy is plain)" in shown
    settings = {"training.warm_start": str(trained), "backbone.width": 9}
    with pytest.raises(ufn.UserError, match=r"backbone\.width 8, now 9"):
        ufn.train(events(), workdir="new", settings=settings)


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
    with pytest.raises(ufn.UserError, match=r'unknown key settings\["backbone\.widht"\]'):
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


def test_callbacks_of_the_user_get_loss_and_validation(run):
    ((epoch, logs),) = RECORDER.epochs
    assert epoch == 0 and logs["loss"] > 0
    assert logs["val_ndcg_10"] == run.curve["ndcg@10"][0]
    with pytest.raises(ufn.UserError, match=r"keras\.callbacks\.Callback objects\. Received: 3"):
        ufn.train(events(), workdir="unused", callbacks=[3], shows=False)


def test_what_is_returned_shows_itself_in_a_few_plain_words(run):
    log = ufn.read(events(), settings={"data.time_column": "ordered"})
    shown = {
        log: "Interactions of DataFrame: 30 users, 9 items, 180 events from 2024-01-01T08",
        ufn.split(log): "Split leave_one_out of DataFrame: 120 train events, 30 targets in vali",
        run: f"Run {run.path}: SASRec",
        run.recommender: f"Recommender {run.path}/export/1: 9 items, histories of up to 10 items",
    }
    for value, words in shown.items():
        assert " ".join(repr(value).split()).startswith(words), repr(value)
        assert repr(value).count("\n") < 8 and "--" not in repr(value)
    assert "SASRec" in repr(run.result) and "--config" not in repr(run.result)
    assert "<td" in run.result._repr_html_() and run.result == dict(run.result)


def test_inspecting_names_settings_and_no_flags():
    found = ufn.inspect(
        pd.concat([events(), events()[:3]]), settings={"data.time_column": "ordered"}
    )
    (remedies,) = found.problems.set_index("name").loc[["duplicate_rows"], "remedies"]
    assert remedies == ['settings={"data.duplicates": "drop"}']
    assert found.result["profile"]["events"] == 183
    for text in (repr(found), found._repr_html_()):
        assert "--" not in text.replace("----", "") and "ufn.train(data, workdir=" in text
    assert "<strong>Problems: " in found._repr_html_()


def test_a_report_is_a_path_that_a_notebook_shows(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("ufnrec_tf.report.write.write_pictures", lambda *_: [])
    page = run.report(events(), output=tmp_path / "page.html")
    assert page == tmp_path / "page.html" and "lacks" not in page.read_text(encoding="utf-8")
    assert page._repr_html_().count("<iframe") == 1 and page.parent._repr_html_() is None
    assert "page.html: written" in capsys.readouterr().out
    with pytest.raises(ufn.UserError, match="sha256"):
        run.report(events()[1:], shows=False)
    with pytest.raises(ufn.UserError, match=r"run\.report\(data, items=items\)"):
        run.report(items=items())
    named: dict[str, str] = {}
    monkeypatch.setattr(
        "ufnrec_tf.report.write.with_titles", lambda arms, names: named.update(names) or arms
    )
    assert run.report(events(), items=items(), output=page, shows=False) == page
    assert "No 4" in named["é,4"]


def test_one_notion_has_one_name_in_all_methods_of_a_run():
    """What `explain` and `recommend` have in common stands for the same, in the same order."""
    named = {
        name: list(inspect.signature(getattr(ufn.Run, name)).parameters)[1:]
        for name in ("recommend", "similar", "explain", "evaluate", "report")
    }
    assert named["recommend"][:3] == ["histories", "users", "top_k"]
    assert named["explain"][:5] == ["histories", "items", "users", "top_k", "times"]
    assert named["similar"] == ["items", "top_k", "exclude", "allow"]
    assert named["evaluate"][0] == named["report"][0] == "data"
    for name in ("recommend", "similar", "explain"):
        own = inspect.signature(getattr(Recommender, name)).parameters
        assert [key for key in named[name] if key != "users"] == list(own)[1:]


@pytest.mark.slow
def test_comparing_a_table(tmp_path, monkeypatch, capsys):
    def run_here(arguments, log_path, **_):
        assert main(["main.py", *arguments]) == 0
        return Ended(0, "", 1.0)

    monkeypatch.setattr("ufnrec_tf.comparison.compare.run_child", run_here)
    monkeypatch.setattr("ufnrec_tf.training.finish.export", lambda *_: None)
    settings = {**SETTINGS, "data.time_column": "ordered", "comparison.resamples": 100}
    arms = {"plain": None, "wide": {"backbone.width": 12}}
    given = {"workdir": tmp_path / "c", "arms": arms, "seeds": range(1), "settings": settings}
    with pytest.raises(ufn.UserError, match="no user column"):
        ufn.compare({"a": [1], "b": [2]}, **given)
    assert not (tmp_path / "c").exists()
    found = ufn.compare(events(), **given)
    assert list(found.table.index) == ["plain", "wide"] and found.table["ndcg@10"].notna().all()
    assert list(found.verdicts) == ["wide"] and "one seed: not a finding" in repr(found)
    assert found.report().is_file() and "<td" in found._repr_html_()
    assert "--" not in capsys.readouterr().out.partition("wide, seed 0: ")[2]
    assert ufn.compare(events(), **given).table.equals(found.table)  # nothing is trained again
    with pytest.raises(ufn.UserError, match="holds runs of other data"):
        ufn.compare(events()[1:], **given)


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
    with pytest.warns(UserWarning, match="1 of 2 histories have no known item.*'b'") as caught:
        found = run.recommend(histories, top_k=3)
    assert caught[0].filename == __file__
    assert "1 of 3 item ids are unknown to the model, such as 'unknown'" in str(caught[0].message)
    assert list(found.columns) == ["user", "rank", "item", "title", "score", "known_items"]
    assert list(found["user"]) == ["a"] * 3 + ["b"] * 3
    assert list(found["rank"]) == [1, 2, 3] * 2
    assert list(found["known_items"]) == [2] * 3 + [0] * 3
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


def test_reasons_are_of_histories_or_of_users(run):
    of_user = run.explain(users="user 3", top_k=2)
    assert list(of_user["user"]) == ["user 3"] * 2
    assert list(of_user["explained"].unique()) == list(
        run.recommend(users="user 3", top_k=1)["item"]
    )
    assert len(run.explain(history=["é,0", "é,1"], item="é,5")) == 2
    with pytest.raises(ufn.UserError, match="either `histories` or `users`"):
        run.explain(["é,0"], "é,5", users="user 3")


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


def test_one_id_bounds_what_is_recommended_and_no_other_type_does(run):
    first, second, *rest = run.recommend([["é,0"]], top_k=20, exclude=None)["item"]
    for one in (first, first.encode(), np.array([first]), pd.Series([f" {first}"])):
        assert list(run.recommend([["é,0"]], top_k=20, exclude=one)["item"]) == [second, *rest]
    assert list(run.recommend([["é,0"]], allow=second)["item"]) == [second]
    with pytest.warns(UserWarning, match="`exclude`: 1 of 2 item ids are unknown.*'x'"):
        found = run.recommend([["é,0"]], top_k=20, exclude=[first, "x"])
    assert list(found["item"]) == [second, *rest]
    for wrong in ({1: [first]}, items(), [[first]]):
        with pytest.raises(ufn.UserError, match="`exclude`"):
            run.recommend([["é,0"]], exclude=wrong)
    with pytest.raises(ufn.UserError, match="`allow`: 1 of 1 item ids are unknown"):
        run.recommend([["é,0"]], allow="x")


def test_histories_of_other_types(run):
    expected = run.recommend([["é,0", "é,1"]], top_k=3)
    for histories in (
        np.array([["é,0", "é,1"]]),
        [["é,0".encode(), " é,1"]],
        pd.Series([np.array(["é,0", "é,1"])]),
        pa.array([["é,0", "é,1"]]),
        tf.constant([["é,0", "é,1", ""]]),
    ):
        pd.testing.assert_frame_equal(run.recommend(histories, top_k=np.int64(3)), expected)
    assert list(run.recommend([[]])["known_items"].unique()) == [0]
    with pytest.raises(ufn.UserError, match=r"2 of 2 item ids are unknown to the model.*such as"):
        run.recommend([["x"], ["y"], []])
    with pytest.raises(ufn.UserError, match="unknown to the model"):
        run.recommender.encode([["x"]])
    for top_k in (0, True, "3"):
        with pytest.raises(ufn.UserError, match="`top_k` must be a whole number of 1 or more"):
            run.recommend([["é,0"]], top_k=top_k)


def test_tables_of_other_kinds_and_paths(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = {"data.time_column": "ordered"}
    expected = ufn.read(events(), settings=settings)
    events().to_csv(tmp_path / "log.csv", index=False)
    items().to_csv(tmp_path / "items.csv", index=False)
    log: Any
    for table in (pa.Table.from_pandas(events()), events().to_dict("list"), "~/log.csv"):
        log = ufn.read(table, items=pa.Table.from_pandas(items()), settings=settings)
        np.testing.assert_array_equal(log.items, expected.items)
        np.testing.assert_array_equal(log.timestamps, expected.timestamps)
        assert set(log.item_titles[1:]) == set(items()["title"])
    log = ufn.read(Path("~/log.csv"), items=Path("~/items.csv"), settings=settings)
    assert set(log.item_titles[1:]) == set(items()["title"])
    assert run.evaluate(pa.Table.from_pandas(events())) == pytest.approx(run.metrics)
    (tmp_path / "link").symlink_to(run.path)
    assert ufn.Run("~/link").path == tmp_path / "link"
    assert ufn.load_export("~/link/export").path == tmp_path / "link" / "export" / "1"


def test_items_may_have_missing_values():
    table = pd.DataFrame({"sku": ["é,0", "é,1"], "title": pd.array(["No 0", pd.NA], "string")})
    table["price"] = pd.array([pd.NA, 2], "Int64")
    log: Any = ufn.read(events(), items=table)
    facts = dict(zip(log.item_ids, zip(log.item_titles, log.item_prices, strict=True), strict=True))
    assert facts["é,0"][0] == "No 0" and np.isnan(facts["é,0"][1])
    assert facts["é,1"] == ("", 2.0)


LOG = events()
api: Any = ufn  # which takes what its types forbid
WRONG = {
    "`data` must be a table": lambda: api.read(LOG["sku"]),
    "no data. Give data=FILE": lambda: api.read(None),
    "`items` must be a table": lambda: api.read(LOG, items=3),
    "`items` has no effect on Interactions": lambda: api.read(api.read(LOG), items=items()),
    "both name the items": lambda: api.read(LOG, items=items(), settings={"data.titles": "x"}),
    "`settings` must be a dict": lambda: api.read(LOG, settings="data.k_core=3"),
    'settings["data"] is a section': lambda: api.read(LOG, settings={"data": {"k_core": 3}}),
    'settings["data.k_core"] must be a text': lambda: api.read(LOG, settings={"data.k_core": None}),
    'settings["data.k_core"] must be a whole': lambda: api.read(LOG, settings={"data.k_core": "x"}),
    "write the key 'data.k_core'": lambda: api.read(LOG, settings={"--config.data.k_core": 3}),
    'unknown key settings["k_core"]': lambda: api.read(LOG, settings={"k_core": 3}),
    'Give settings={"split.name": "leave_last_n"}': lambda: api.split(
        LOG, settings={"split.num_targets": 2}
    ),
    "`workdir` must be a path": lambda: api.train(LOG, workdir=None),
    "no home folder of 'nobody_such'": lambda: api.train(LOG, workdir="~nobody_such/x"),
    "`seed` must be a whole number from 0": lambda: api.train(LOG, workdir="unused", seed=-1),
    "`shows` must be True or False": lambda: api.train(LOG, workdir="unused", shows="no"),
    "`config` must be a path": lambda: api.train(LOG, workdir="unused", config={"a": 1}),
    "config=nope.py: no such file": lambda: api.train(LOG, workdir="unused", config="nope.py"),
    "`workdir` must be": lambda: api.Run(LOG),
    "that ufnrec_tf.train has finished": lambda: api.Run("nowhere"),
    "`path` must be a path": lambda: api.load_export(None),
    "Run ufnrec_tf.train or the command line's": lambda: api.load_export("nowhere"),
    "`arms` must be a list": lambda: api.compare(LOG, workdir="unused", arms="ema"),
    "the settings of 'a' must be a dict": lambda: api.compare(LOG, workdir="x", arms={"a": 3}),
    "each run reads the log again": lambda: api.compare(api.read(LOG), workdir="unused"),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_arguments_are_told_in_the_terms_of_python(words):
    with pytest.raises(ufn.UserError) as caught:
        WRONG[words]()
    assert words in str(caught.value)
    assert "--config" not in str(caught.value)


def test_settings_of_data_that_were_read_already_are_told():
    with pytest.warns(UserWarning, match=r"data\.k_core of `settings` had no effect"):
        ufn.split(ufn.read(LOG), settings={"data.k_core": 2})


def test_wrong_arguments_of_evaluate(run):
    with pytest.raises(ufn.UserError, match=r"trained with a table.*run\.evaluate\(data\)"):
        run.evaluate()
    with pytest.raises(ufn.UserError, match="`part` must be one of validation, test"):
        run.evaluate(events(), part="tset")


def test_damaged_files_of_a_run_are_named(run, tmp_path):
    shutil.copy(run.path / "config.json", tmp_path)
    for name in ("result.json", "metrics.jsonl", "ranks.parquet"):
        (tmp_path / name).write_text("{")
    damaged = ufn.Run(tmp_path)
    for name in ("result", "metrics", "curve", "ranks"):
        with pytest.raises(ufn.UserError, match=f"{tmp_path}/.*: (is damaged|cannot be read)"):
            getattr(damaged, name)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(ufn.UserError, match=r"metrics\.jsonl: not found"):
        _ = damaged.curve


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
    shown = capsys.readouterr().out
    assert "This run is done" in shown and "30 users, 9 items" in shown
    steps = shown.partition("\nNext\n")[2]
    assert f"run = ufnrec_tf.Run('{run.path}')" in steps and "run.recommend({" in steps
    assert "%tensorboard --logdir=" in steps
    assert "--mode" not in shown and "make " not in shown and "--config" not in shown


def test_items_that_would_not_be_read_are_refused():
    data = ufn.read(events(), settings={"data.time_column": "ordered"})
    with pytest.raises(ufn.UserError, match="`items` has no effect on Interactions"):
        ufn.read(data, items=items())
    with pytest.raises(ufn.UserError, match="`items` has no effect on the planted log"):
        ufn.read("", items=items(), settings={"data.name": "planted"})
    for key, value in {"titles": "x.csv", "title_column": "name"}.items():
        with pytest.raises(ufn.UserError, match=rf"data\.{key}.* has no effect on the plan"):
            ufn.read("", settings={"data.name": "planted", f"data.{key}": value})


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
