"""Versions of an export: numbers, publication, what stays, and what failure leaves."""

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest

from tests.export.test_saved_model import fail_writing
from tests.helpers.runs import contents
from tests.helpers.serving import ITEM_IDS, NUM_ITEMS, FakeBackbone, model_of
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import ItemFacts, items_table
from ufnrec_tf.export.publish import publish
from ufnrec_tf.export.saved_model import VECTORS_FILE
from ufnrec_tf.export.versions import newest_version, next_version, prune, publishing, versions


def make(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)


def test_the_highest_number_is_in_force(tmp_path):
    make(tmp_path, "2", "9", "10", ".11.new", "11b", "-12", "1.5", "\u0663")
    (tmp_path / "99").write_text("no folder")
    assert newest_version(tmp_path) == tmp_path / "10"
    assert next_version(tmp_path) == tmp_path / "11"
    assert list(versions(tmp_path)) == [2, 9, 10]
    assert next_version(tmp_path / "nothing") == tmp_path / "nothing" / "1"


def test_no_version_is_one_clear_line(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="there is no exported model"):
            newest_version(folder)


@pytest.mark.parametrize(
    ("num_kept", "kept", "removed"),
    [
        (0, ["1", "2", "9", "10"], []),
        (1, ["10"], [1, 2, 9]),
        (3, ["2", "9", "10"], [1]),
        (7, ["1", "2", "9", "10"], []),
    ],
)
def test_the_newest_versions_stay(tmp_path, num_kept, kept, removed):
    make(tmp_path, "1", "2", "9", "10", "other", ".3.gone", ".4.new")
    assert prune(tmp_path, num_kept) == removed
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "other"])


def test_a_version_is_out_of_sight_before_its_files_go(tmp_path, monkeypatch):
    make(tmp_path, "1", "2")
    seen = []
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: seen.append((path, os.listdir(path))))
    prune(tmp_path, 1)
    assert seen == [(tmp_path / ".1.gone", ["file"])]
    assert list(versions(tmp_path)) == [2]


def test_publishers_take_turns(tmp_path):
    with publishing(tmp_path / "a" / "models"):
        number = os.open(tmp_path / "a" / "models", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(number)
    assert os.listdir(tmp_path / "a" / "models") == []


WHOLE = {
    "saved_model.pb",
    "variables",
    "assets.extra",
    "items.parquet",
    VECTORS_FILE,
    "ufnrec.json",
}


@contextmanager
def watched(folder):
    """Looks at the versions all the time, as a server does; each must be whole at every look."""
    seen: set[int] = set()
    torn: list[Path] = []
    is_over = threading.Event()

    def look():
        while not is_over.wait(0.001):
            for number, path in versions(folder).items():
                with suppress(FileNotFoundError):  # out of sight meanwhile, which is no harm
                    seen.add(number)
                    torn.extend(path for missing in [WHOLE - set(os.listdir(path))] if missing)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()
    assert not torn


@pytest.mark.slow
def test_publication(tmp_path, monkeypatch):
    """One model after another: new, the same again, new settings, damaged, failing."""
    folder, backbone = tmp_path / "models", FakeBackbone()
    with watched(folder) as seen:
        check_publication(folder, backbone, monkeypatch)
    assert {1, 2, 3} <= seen


def check_publication(folder, backbone, monkeypatch):
    model = model_of(backbone)
    assert publish(folder, model) == (folder / "1", True, [])
    before = contents(folder)
    assert publish(folder, model_of(backbone), versions_kept=1) == (folder / "1", False, [])
    # Dropout's own state, which training moves, changes no answer.
    backbone.dropout.seed_generator.state.assign([7, 7])
    assert not publish(folder, model_of(backbone)).is_new
    assert contents(folder) == before
    other = model_of(FakeBackbone(seed=1))
    assert publish(folder, other) == (folder / "2", True, [])
    # The model before again is a new version: what is in force is another.
    assert publish(folder, model, versions_kept=2) == (folder / "3", True, [1])
    (folder / "3" / "items.parquet").write_bytes(b"damaged")
    assert publish(folder, model, versions_kept=2) == (folder / "4", True, [2])
    before = contents(folder)
    fail_writing(monkeypatch)
    with pytest.raises(UserError, match="/5: cannot write the exported model: No space left"):
        publish(folder, other, versions_kept=1)
    assert contents(folder) == before
    assert sorted(os.listdir(folder)) == ["3", "4"]


@pytest.fixture(scope="module")
def unchanged():
    """A model of the first weights and the usual settings."""
    return model_of(FakeBackbone())


@pytest.mark.parametrize(
    "change",
    [
        {"top_k": 3},
        {"mask_seen": False},
        {"metadata": {"step": 8}},
        {"warm_up": "none"},
        {"facts": ItemFacts(pd.Series(range(NUM_ITEMS + 1)).to_numpy())},
    ],
)
def test_what_makes_another_model(unchanged, change):
    other = model_of(FakeBackbone(), **change)
    assert other.document["fingerprint"] != unchanged.document["fingerprint"]


def test_the_same_again_is_the_same_model(unchanged):
    assert model_of(FakeBackbone()).document["fingerprint"] == unchanged.document["fingerprint"]


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path, unchanged):
    Path(tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/models: cannot be published to: Not a directory"):
        publish(tmp_path / "file" / "models", unchanged)


def test_items_beside_the_model(tmp_path):
    count = NUM_ITEMS + 1
    titles = [f'"{n}", \n naïve' for n in range(count)]
    facts = ItemFacts(
        pd.Series(range(count)).to_numpy(),
        titles=pd.Series(titles, dtype=object).to_numpy(),
        prices=pd.Series([n / 4 if n % 2 else None for n in range(count)], dtype=float).to_numpy(),
    )
    path = publish(tmp_path, model_of(FakeBackbone(), facts=facts)).path
    table = pd.read_parquet(path / "items.parquet")
    assert list(table.columns) == ["item_id", "title", "category", "price", "events"]
    assert table["item_id"].tolist() == ITEM_IDS[1:].tolist()
    assert table["title"].tolist() == titles[1:]
    assert table["category"].tolist() == [""] * NUM_ITEMS
    assert table["price"].tolist()[0::2] == [n / 4 for n in range(1, count, 2)]
    assert table["price"].isna().tolist()[1::2] == [True] * (NUM_ITEMS // 2)
    assert table["events"].tolist() == list(range(1, count))
    with pytest.raises(ValueError, match="`events` must have a row an item and one for padding"):
        items_table(ITEM_IDS, ItemFacts(facts.events[1:]))
