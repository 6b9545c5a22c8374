"""--mode=report: the page and the pictures of a run, finished or not, whatever it is called."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pages import Page, assert_harmless
from tests.helpers.runs import contents, metric_lines, read, rewrite, run
from tests.helpers.same_run import points
from ufnrec_tf.evaluation.run_verdict import verdict_lines
from ufnrec_tf.evaluation.statistics import Interval, mean_intervals, resampled_user_means
from ufnrec_tf.evaluation.user_values import user_means
from ufnrec_tf.report import write as reporting
from ufnrec_tf.report.run_facts import ArmFacts, read_arms, target_keys, with_titles
from ufnrec_tf.report.run_numbers import Numbers, ScoreRow
from ufnrec_tf.report.run_page import _older_lead
from ufnrec_tf.runs.event_files import current_tag, read_scalars
from ufnrec_tf.runs.run_files import renew_hashes
from ufnrec_tf.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("eagerly")

HARM = "<img src=x onerror=alert(1)>\"'</td></p><script>alert(2)</script>$x_$ & \n"


@pytest.fixture
def workdir(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "w")
    return tmp_path / "w"


@pytest.fixture
def no_pictures(monkeypatch):
    """Half the time of a page goes into drawing."""
    monkeypatch.setattr(reporting, "write_pictures", lambda folder, charts: [])


def page_of(workdir):
    page = Page((workdir / "report.html").read_text(encoding="utf-8"))
    assert_harmless(page)
    return page


def test_the_numbers_are_those_of_the_run(workdir, no_pictures, capsys):
    assert run("--mode=report", f"--workdir={workdir}") == 0
    assert f"{workdir / 'report.html'}: written" in capsys.readouterr().out
    page, result = page_of(workdir), read(workdir / "result.json")
    scores = page.rows("HR@10")
    for row in result["table"]:
        for cell, name in zip(scores[row["label"]], ("hr@10", "ndcg@10", "mrr"), strict=False):
            mean, low, _, high = cell.split()
            assert mean == f"{row[name]:.4f}".removeprefix("0")
            assert float(low) <= float(mean) <= float(high)
    assert next(iter(scores)) == "Popularity" and "ItemKNN" in scores  # not among the run's own
    assert list(scores)[-3:] == [
        result["label"],
        "ceiling: the true probabilities",
        "the same without the noise, which nothing can learn",
    ]
    assert 0 < result["ceiling_without_noise"]["ndcg@10"] < result["ceiling"]["ndcg@10"]
    costs = page.rows(result["label"])
    assert costs["steps"] == [f"{result['steps']:,}"]
    assert costs["evictions"] == [f"{result['memory']['evictions']:,}"]
    changed = page.rows("value")
    assert changed["backbone.width"] == ["8", "50"] and "loss.name" not in changed
    assert result["data"]["sha256"] in page.text
    assert "python main.py" in page.text
    for line in verdict_lines(result):
        assert line in page.text
    assert result["against_baseline"]["label"] in verdict_lines(result)[0]


def test_a_run_of_an_older_version_is_led_by_the_baseline_that_is_best_on_test():
    def row(label, value, lead):
        return ScoreRow(label, {"ndcg@10": Interval(value, 0.0, 1.0)}, lead, lead is None)

    rows = [
        row("Popularity", 0.1, Interval(1.0, 0.9, 1.1)),
        row("ItemKNN", 0.4, Interval(-0.5, -0.6, -0.4)),
        row("SASRec, plain", 0.5, Interval(-0.6, -0.7, -0.5)),  # an arm is no baseline
        row("SASRec+UFNRec", 0.2, None),
    ]
    (line,) = _older_lead(Numbers(rows, [], 9))
    assert "0.2000 on test, -50.0% against ItemKNN" in line
    assert _older_lead(Numbers(rows[2:], [], 9)) == []


def test_an_arm_like_the_run_has_a_name_of_its_own(workdir, no_pictures, trained):
    shutil.copytree(trained, workdir / "baselines" / "ufnrec")
    assert run("--mode=report", f"--workdir={workdir}") == 0
    scores = page_of(workdir).rows("HR@10")
    own, arm = scores["SASRec+UFNRec"], scores["SASRec+UFNRec, ufnrec"]
    assert own[:3] == arm[:3] and own[3] == "this run"
    assert arm[3].split() == ["+0.0%", "+0.0%", "to", "+0.0%"]  # paired: the same users


def test_users_with_several_targets_count_once():
    users = np.array(["b", "b", "a", "c", "c"], object)
    assert target_keys(users).tolist() == [("b", 0), ("b", 1), ("a", 0), ("c", 0), ("c", 1)]
    values = np.array([[1.0], [0.0], [0.25], [1.0], [1.0]])
    assert user_means(values, users).tolist() == [[0.5], [0.25], [1.0]]


def test_what_filters_left_and_what_leaks_is_told(workdir, no_pictures):
    result = read(workdir / "result.json")
    counts = {"events": 1200, "users": 60, "items": 40}
    step = {"name": "k_core", "words": "5-core", "before": counts, "after": {"events": 7}}
    columns = {"user": "userId", "item": "movieId"}
    result["data"]["reading"] = {"format": "csv", "columns": columns, "filters": [step]}
    result["protocol"]["leaks"] = ["63% of targets are older", "<b>"]
    rewrite(workdir / "result.json", **result)
    assert run("--mode=report", f"--workdir={workdir}") == 0
    page = page_of(workdir)
    assert "csv; user userId, item movieId" in page.text
    assert "events 1,200, users 60, items 40" in page.text and "63% of targets" in page.text


def test_slices_are_means_over_their_users(workdir, no_pictures):
    run("--mode=report", f"--workdir={workdir}")
    page, result = page_of(workdir), read(workdir / "result.json")
    tables = [table for table in page.tables if table[0][0].strip() == "history length"]
    (head, *rows) = tables[0]
    sizes = [int(cell.split()[-2]) for cell in head[1:]]
    assert sum(sizes) == 60
    own = next(row for row in rows if row[0].strip() == result["label"])
    means = [float(cell.split()[0]) for cell in own[1:]]
    assert np.dot(sizes, means) / 60 == pytest.approx(result["test"]["ndcg@10"], abs=1e-4)


@pytest.mark.slow
def test_pictures_are_images_and_the_same_again(workdir):
    assert run("--mode=report", f"--workdir={workdir}") == 0
    before = contents(workdir)
    pictures = sorted(path.name for path in (workdir / "plots").iterdir())
    assert {"validation_ndcg_10.png", "loss.png", "lengths.png", "popularity.png"} <= set(pictures)
    for name in pictures:
        with Image.open(workdir / "plots" / name) as image:
            image.load()
            assert image.format == "PNG" and min(image.size) >= 500
            assert len(set(image.convert("RGB").tobytes()[::7])) > 10  # it shows something
    assert run("--mode=report", f"--workdir={workdir}") == 0
    assert contents(workdir) == before


def harmful(value):
    """The same JSON with something harmful after every text that is shown as it is."""
    if isinstance(value, dict):
        return {key: harmful(member) for key, member in value.items()}
    if isinstance(value, list):
        return [harmful(member) for member in value]
    return value + HARM if isinstance(value, str) else value


@pytest.mark.slow
def test_names_do_no_harm(workdir):
    result, record = read(workdir / "result.json"), read(workdir / "config.json")
    rewrite(workdir / "result.json", **harmful(result) | {"files": result["files"]})
    rewrite(workdir / "config.json", command_line=["main.py", HARM], git_commit=HARM)
    lines = metric_lines(workdir)
    text = "".join(json.dumps({**line, "weights": line["weights"] + HARM}) + "\n" for line in lines)
    (workdir / "metrics.jsonl").write_text(text, encoding="utf-8")
    renew_hashes(workdir, "metrics.jsonl")
    assert run("--mode=report", f"--workdir={workdir}") == 0
    page = page_of(workdir)
    shown = HARM.strip()
    assert page.text.count(shown.split("\n")[0]) > 10
    assert record["versions"]["keras"] in page.text


@pytest.mark.slow
def test_a_run_that_has_not_finished(workdir, capsys):
    (workdir / "result.json").unlink()
    with Workdir(workdir):  # as while it trains
        assert run("--mode=report", f"--workdir={workdir}") == 0
    assert "A process is at work on it: 3 of 3 epochs scored" in page_of(workdir).text
    (workdir / "metrics.jsonl").unlink()
    shutil.rmtree(workdir / "tensorboard")
    assert run("--mode=report", f"--workdir={workdir}") == 0
    assert "Not finished: nothing scored yet" in page_of(workdir).text
    assert "has not finished" in capsys.readouterr().out
    assert not (workdir / "plots" / "loss.png").exists()  # nothing of before stays


def test_a_finished_run_that_is_being_changed_is_left_alone(workdir, capsys):
    with Workdir(workdir):
        assert run("--mode=report", f"--workdir={workdir}") == 1
    assert "another run is using it" in capsys.readouterr().err
    assert not (workdir / "report.html").exists()


def test_without_its_data_the_rest_is_shown(workdir, no_pictures, tmp_path, capsys):
    config = read(workdir / "config.json")["config"]
    config["data"]["name"] = ""
    rewrite(workdir / "config.json", config=config, data_path=str(tmp_path / "gone.csv"))
    assert run("--mode=report", f"--workdir={workdir}") == 0
    page, result = page_of(workdir), read(workdir / "result.json")
    assert "gone.csv" in page.text and "could not be read again" in page.text
    scores = page.rows("HR@10")
    popularity = f"{result['table'][0]['hr@10']:.4f}".removeprefix("0")
    assert scores["Popularity"][0] == popularity  # as the run has it, without an interval
    assert scores[result["label"]][0].count("to") == 1
    other = tmp_path / "other.csv"
    other.write_text("user,item\na,b\na,c\na,d\n", encoding="utf-8")
    capsys.readouterr()
    assert run("--mode=report", f"--workdir={workdir}", f"--data={other}") == 1
    assert "other.csv: has sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--mode=report needs --workdir"),
        (("--workdir=nowhere",), "nowhere/config.json: not found"),
        (("--workdir=nowhere", "--config.export.top_k=3"), "has no effect with --mode=report"),
    ],
)
def test_wrong_calls(arguments, words, capsys):
    assert run("--mode=report", *arguments) == 1
    assert words in capsys.readouterr().err


def test_scalars_are_read_as_tensorflow_reads_them(workdir):
    folder = workdir / "tensorboard" / "curves"
    scalars = read_scalars(folder)
    others = ("ufnrec_memory/counts",)
    shown = {key[1:] for key in points(workdir / "tensorboard") if key[0] == "curves"}
    found = {(tag, step) for tag, values in scalars.items() for step in values}
    assert found == {(tag, step) for tag, step in shown if tag not in others}
    flips = scalars["ufnrec/flips_per_epoch"]
    assert sum(flips.values()) == read(workdir / "result.json")["totals"]["flips"]
    first = min(folder.iterdir())
    first.write_bytes(first.read_bytes() + b"\x40\0\0\0\0\0\0\0half")  # killed in mid-write
    assert read_scalars(folder) == scalars
    assert read_scalars(workdir / "nowhere") == {}
    folder.rename(folder.with_name("train"))  # where an older version wrote them
    assert read_arms(workdir)[-1].scalars == scalars
    assert current_tag("false_negatives/flips_per_epoch") == "ufnrec/flips_per_epoch"
    assert current_tag("gate/is_open") == "ufnrec/gate_is_open"
    assert {current_tag(tag) for tag in scalars} == scalars.keys()


def test_intervals_agree_with_the_normal_approximation():
    values = np.zeros((1000, 2))
    values[:300, 0] = 1
    means = resampled_user_means(values, num_resamples=2000, seed=0)
    first, second = mean_intervals(values, means)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert first.estimate == pytest.approx(0.3)
    assert (first.low, first.high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.003)
    assert tuple(second) == (0, 0, 0)


def test_titles_that_came_after_training_name_the_items():
    result = {
        "samples": [{"user": "7", "history": ["7", "8 (Old)"], "taken_next": "7"}],
        "false_negatives": {"most_flagged": [{"item": "7", "name": "7", "users": 7}]},
        "label": "7",
    }
    arm = ArmFacts("a", result, [], {}, None)
    (named,) = with_titles((arm,), {"7": "7 (Seven)", "8": "8 (Eight)"})
    assert named.result is not None
    assert named.result["samples"] == [
        {"user": "7", "history": ["7 (Seven)", "8 (Old)"], "taken_next": "7 (Seven)"}
    ]
    assert named.result["false_negatives"]["most_flagged"][0]["name"] == "7 (Seven)"
    assert named.result["label"] == "7"
    assert with_titles((arm,), {}) == (arm,)
