"""--mode=inspect: its lines, by logs in which each problem was put, its exit codes, its JSON."""

import json
import time

import numpy as np
import pytest

from tests.helpers.runs import PLANTED, read, run
from tests.test_architecture import loaded_after
from ufnrec_tf.reading.inspection.log_profile import gini, profile, transitions, what_ifs
from ufnrec_tf.reading.readers import read_interactions

FINE = "user,item,timestamp\n" + "".join(
    f"u{user},i{(user + event) % 6},{1_546_300_800 + 60 * (10 * event + user)}\n"
    for event in range(5)
    for user in range(8)
)


def inspect(log, *arguments, output=None):
    """Returns what --mode=inspect writes as JSON."""
    output = output or log.with_name("found.json")
    assert run("--mode=inspect", f"--data={log}", f"--output={output}", *arguments) == 0
    return read(output)


def problems(found) -> dict[str, dict]:
    return {problem["name"]: problem for problem in found["problems"]}


def test_a_log_without_problems(write, capsys):
    found = inspect(write(FINE, "fine log.csv"))
    assert found["problems"] == []
    assert found["reading"]["columns"] == {"user": "user", "item": "item", "time": "timestamp"}
    assert found["first_rows"][0] == {"user": "u0", "item": "i0", "time": "2019-01-01T00:00:00Z"}
    out = capsys.readouterr().out
    for part in (
        "Problems: none found",
        "columns: user=user, item=item, time=timestamp (seconds since 1970)",
        "8 users, 6 items, 40 events; density 83.3333%; Gini of items",
        "from 2019-01-01T00:00:00Z to 2019-01-01T00:47:00Z, 0 days",
        "What each filter would leave",
        f"python main.py '--data={write(FINE, 'fine log.csv')}' '--workdir=runs/fine log'",
    ):
        assert part in out, out
    assert out.index("Problems") < out.index("What would be read") < out.index("In numbers")


@pytest.mark.parametrize(
    ("name", "text", "share", "remedy"),
    [
        # Two of 42 events share user and time.
        ("ties", FINE + "u8,i0,1546300800\nu8,i1,1546300800\n", 2 / 42, "split.name=temporal"),
        ("repeats", FINE + "u7,i1,1546309999\n", 1 / 41, "--config.data.repeats=drop"),
        ("duplicate_rows", FINE + FINE.splitlines()[-1] + "\n", 1 / 41, "duplicates=drop"),
        ("short_users", FINE + "u8,i0,1546305000\n", 1 / 9, "--config.data.min_length=3"),
        ("float_item_ids", FINE.replace("i", "").replace("ser,tem,tmestamp", ""), None, None),
        ("item_ids_alike", FINE + "u7,I0,1546309999\n", 2 / 7, "alike in the file"),
        ("user_ids_alike", FINE + '"u0\u00a0",i0,1546309999\n', 2 / 9, "alike in the file"),
        ("future_times", FINE + f"u7,i5,{time.time() + 9e6:.0f}\n", 1 / 41, "--config.data.end="),
        ("unsorted", FINE + "u7,i5,1546300000\n", 1 / 40, "--config.data.time_column=NAME"),
        ("mixed_times", FINE + "u7,i5,0\n", 1 / 41, "--config.data.time_unit=s"),
        ("no_times", "u a b c d\nv a b c\n", 1, "a file with a time column"),
        ("no_times", "user,item,when\nu,a,1\nu,b,2\nu,c,3\nv,a,2\n", 1, "not read: when"),
        (
            "unused_ratings",
            "user,item,rating\n" + "".join(f"u{n % 4},i{n % 7},{n % 5}\n" for n in range(20)),
            2 / 5,
            "--config.data.min_rating=2",
        ),
    ],
)
def test_problems_are_found(write, capsys, name, text, share, remedy):
    if name == "float_item_ids":
        rows = FINE.splitlines()
        text = "\n".join([rows[0], *(row.replace("i5", "5.0") for row in rows[1:])]) + "\n"
        share, remedy = 6 / 40, "whole numbers"
    found = problems(inspect(write(text, "log.csv")))
    assert name in found, found
    assert found[name]["share"] == pytest.approx(share)
    assert any(remedy in line for line in found[name]["remedies"])
    out = capsys.readouterr().out
    assert out.index(found[name]["words"][:40]) < out.index("What would be read")


@pytest.mark.parametrize("value", ["1970-01-01", "1969-07-20T20:17:00Z"])
def test_times_of_1970(write, value):
    rows = "".join(f"u{n % 3},i{n},2019-01-{n + 1:02}\n" for n in range(12))
    found = problems(inspect(write(f"user,item,date\n{rows}u0,i1,{value}\n")))
    assert found["times_of_1970"]["share"] == pytest.approx(1 / 13)
    assert "--config.data.start=1971-01-01" in found["times_of_1970"]["remedies"]


def test_a_user_with_a_huge_share(write):
    rows = "".join(f"u{n},a\nu{n},b\n" for n in range(50)) + "bot,a\nbot,b\n" * 10
    found = problems(inspect(write("user,item\n" + rows)))
    assert found["huge_user"]["share"] == pytest.approx(20 / 120)
    assert "'bot'" in found["huge_user"]["words"]


def test_items_without_a_title(write):
    titles = write("item,title\ni0,Nought\n", "titles.csv")
    found = problems(inspect(write(FINE), f"--config.data.titles={titles}"))
    assert found["items_without_title"]["share"] == pytest.approx(5 / 6)


def test_a_run_that_would_be_refused_is_said_first(write):
    found = inspect(write("user,item,timestamp\nu,a,1\nv,b,2\n"))
    assert found["problems"][0]["name"] == "refused"
    assert "no user has 3 events" in found["problems"][0]["words"]


def test_remedies_mend(write, capsys):
    log = write(FINE + FINE.splitlines()[-1] + "\nu8,i0,1546305000\n")
    found = inspect(log, "--config.data.repeats=drop", "--config.data.min_length=3")
    assert {"repeats", "ties", "short_users"}.isdisjoint(problems(found))
    assert [step["name"] for step in found["reading"]["filters"]] == ["repeats", "min_length"]
    command = found["next"]
    assert "--config.data.repeats=drop --config.data.min_length=3" in command
    assert "inspect" not in command and "--output" not in command
    assert "filter   users of at least 3 events: 41 -> 40 events, 9 -> 8" in capsys.readouterr().out


def test_columns_that_might_have_been_meant(write, capsys):
    rows = "u,x,a,1,2\nu,x,b,2,3\nv,x,a,3,4\n"
    found = inspect(write("user_id,session,item,time,date\n" + rows))
    assert found["reading"]["columns"] == {"user": "user_id", "item": "item", "time": "time"}
    assert found["other_columns"] == {"user": ["session"], "time": ["date"]}
    assert (
        "user might also be: session  (--config.data.user_column=NAME)" in capsys.readouterr().out
    )


def test_titles_and_ids_cannot_act(write, capsys):
    text = 'user,item\nu,"a\x1b[31m\nb"\n' + "".join(f"u,i{n}\nv,i{n}\n" for n in range(4))
    inspect(write(text))
    out = capsys.readouterr().out
    assert "a\\x1b[31m\\nb" in out and "\x1b" not in out


@pytest.mark.parametrize(
    ("text", "flags", "part"),
    [
        (None, (), "no such file"),
        ("", (), "the file is empty"),
        ("user,item,time\nu,a,noon\n", (), "line 2: time 'noon' is not a number"),
        (FINE, ("--config.data.start=2030-01-01",), "no event is left"),
        (FINE, ("--config.data.min_rating=3",), "no rating column"),
        (FINE, ("--config.data.time_column=when",), "no column 'when'"),
    ],
)
def test_a_bad_file_is_told_in_one_line(write, tmp_path, capsys, text, flags, part):
    path = tmp_path / "none.csv" if text is None else write(text)
    assert run("--mode=inspect", f"--data={path}", *flags) == 1
    screen = capsys.readouterr()
    assert screen.out == ""
    assert screen.err.startswith("error: ") and screen.err.count("\n") == 1
    assert part in screen.err


def test_no_data(capsys):
    assert run("--mode=inspect") == 1
    assert "no data" in capsys.readouterr().err
    assert run("--mode=inspect", "--config.data.k_cor=3", "--data=x") == 2
    assert "data.k_core" in capsys.readouterr().err


def test_rating_column_of_text_is_not_read(tmp_path):
    import pandas as pd

    path = tmp_path / "log.parquet"
    rows = {"user": ["u", "v"], "item": ["a", "b"], "rating": ["good", "bad"]}
    pd.DataFrame(rows).to_parquet(path)
    assert inspect(path)["profile"]["events"] == 2


def test_prepared_and_planted(write, tmp_path, capsys):
    folder, output = tmp_path / "folder", tmp_path / "found.json"
    assert run("--mode=prepare", f"--data={write(FINE)}", f"--workdir={folder}") == 0
    found = inspect(folder, "--config.split.name=temporal", output=output)
    assert found["profile"]["events"] == 40 and found["reading"]["is_epoch"]
    assert run("--mode=inspect", *PLANTED, f"--output={output}") == 0
    assert read(output)["profile"]["users"] == 60
    assert "python main.py --config.data.name=planted" in capsys.readouterr().out


def test_inspecting_needs_no_tensorflow(tmp_path, write):
    arguments = json.dumps(["main.py", "--mode=inspect", f"--data={write(FINE)}"])
    loaded = loaded_after(f"from ufnrec_tf.cli.main import main\nassert main({arguments}) == 0")
    assert "pandas" in loaded and not loaded & {"tensorflow", "keras"}


# ---- numbers


def test_profile_by_hand(write):
    data = read_interactions(write("u a\nu b\nu a\nv a\n"))
    numbers = profile(data)
    assert (numbers["users"], numbers["items"], numbers["events"]) == (2, 2, 4)
    assert numbers["density"] == 3 / 4
    assert (numbers["lengths"][0], numbers["lengths"][-1]) == (1, 3)
    assert numbers["item_events"] == pytest.approx([1, 1.5, 2, 2.5, 2.8, 2.98, 3])
    found = {what_if.flag.rpartition(".")[2]: what_if.counts for what_if in what_ifs(data)}
    assert found["repeats=drop"] == {"events": 3, "users": 2, "items": 2}
    assert found["min_length=3"] == {"events": 3, "users": 1, "items": 2}
    assert found["k_core=5"] == {"events": 0, "users": 0, "items": 0}


def test_gini():
    # Mean absolute difference over twice the mean, over all ordered pairs.
    counts = np.array([1, 2, 3, 10])
    differences = np.abs(counts[:, None] - counts[None, :])
    assert gini(counts) == pytest.approx(differences.mean() / (2 * counts.mean()))
    assert gini(np.array([4, 4, 4])) == pytest.approx(0)
    assert gini(np.array([0, 0, 9])) == pytest.approx(2 / 3)


def test_rows_of_a_memory(write):
    # Of 5 events 3 train, which are 2 transitions; of 2 events both train, 1 transition; 1: none.
    data = read_interactions(write("u a\n" * 5 + "v a\nv b\n" + "w b\n"))
    assert transitions(data, max_length=50, takes_last=True) == 3
    assert transitions(data, max_length=1, takes_last=True) == 2
    assert transitions(data, max_length=1, takes_last=False) == 3
