"""Data sets by name: each layout in miniature, from a server on 127.0.0.1 into a cache."""

import gzip
import hashlib
import io
import json
import math
import re
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
from rich.console import Console

from tests.helpers.file_server import FileServer
from tests.helpers.raw_sets import ML_1M, NAN, RAW_SETS, YELP, YELP_TAR, gzipped, zipped
from tests.helpers.runs import ROOT, environment, run
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.published import convert, download, raw_files
from ufnrec_tf.reading.published.cache import DownloadOptions, cache_folder, obtain
from ufnrec_tf.reading.published.datasets import FAMILIES, NAMES, find_dataset, known_names
from ufnrec_tf.reading.published.download import RetrySettings
from ufnrec_tf.reading.published.layouts import LAYOUTS
from ufnrec_tf.reading.published.raw_files import price_of
from ufnrec_tf.reading.sources import load

HASTE = RetrySettings(retries=0, timeout=5.0)


def sha256_of(body):
    return hashlib.sha256(body).hexdigest()


class Publisher(FileServer):
    """Serves miniatures, and obtains them by name."""

    def __init__(self, cache):
        super().__init__()
        self.cache = cache
        self.display = Display()
        self._screen = io.StringIO()
        self.display.console = Console(file=self._screen, soft_wrap=True)

    def publish(self, name, files):
        for file, body in files.items():
            self.add(f"/{name}/{file}", body)

    def obtain(self, name, **options):
        """Obtains a data set; for a miniature of one with a checksum its own is passed."""
        if name in RAW_SETS and RAW_SETS[name].is_checked and "sha256" not in options:
            options["sha256"] = sha256_of(next(iter(RAW_SETS[name].files.values())))
        wanted = DownloadOptions(str(self.cache), self.address, **options)
        return obtain(name, wanted, display=self.display, settings=HASTE)

    def text(self):
        return self._screen.getvalue()


@pytest.fixture
def publisher(tmp_path):
    with Publisher(tmp_path / "cache") as running:
        yield running


def events_of(named):
    frame = pd.read_parquet(named.interactions)
    ratings = frame["rating"] if "rating" in frame else [None] * len(frame)
    return list(zip(frame["user"], frame["item"], frame["timestamp"], ratings, strict=True))


def items_of(named):
    if named.items is None:
        return {}
    frame = pd.read_parquet(named.items)
    assert list(frame) == ["item_id", "title", "category", "price"]
    assert frame["item_id"].is_unique
    return {row[0]: tuple(row[1:]) for row in frame.itertuples(index=False)}


def same(found, expected):
    return found == expected or (math.isnan(found) and math.isnan(expected))


def test_there_is_a_miniature_of_every_data_set_and_layout():
    assert set(NAMES) <= set(RAW_SETS)
    assert all(any(name.startswith(prefix) for name in RAW_SETS) for prefix in FAMILIES)
    assert {find_dataset(name)[1].layout for name in RAW_SETS} == set(LAYOUTS)


@pytest.mark.parametrize("name", RAW_SETS)
def test_each_layout_is_read(publisher, name):
    raw = RAW_SETS[name]
    publisher.publish(name, raw.files)
    if raw.by_hand:
        (publisher.cache / name).mkdir(parents=True)
        for file, body in raw.files.items():
            (publisher.cache / name / file).write_bytes(body)
    named = publisher.obtain(name)
    assert events_of(named) == raw.events
    found = items_of(named)
    assert set(found) == set(raw.items)
    for item, (title, category, price) in raw.items.items():
        assert found[item][:2] == (title, category)
        assert same(found[item][2], price)
    manifest = json.loads((publisher.cache / name / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == named.manifest
    assert manifest["lines_left_out"] == raw.left_out
    assert manifest["interactions"] == len(raw.events)
    assert manifest["users"] == len({event[0] for event in raw.events})
    assert manifest["items"] == len({event[1] for event in raw.events})
    assert manifest["interactions_sha256"] == sha256_of(named.interactions.read_bytes())
    assert [file["sha256"] for file in manifest["files"]] == [
        sha256_of(body) for body in raw.files.values()
    ]
    assert not [path for path in (publisher.cache / name).iterdir() if path.suffix == ".part"]


def test_the_second_time_needs_no_network(publisher):
    publisher.publish("ml-1m", ML_1M.files)
    first = publisher.obtain("ml-1m")
    publisher.files.clear()
    assert publisher.obtain("ML-1M") == first
    assert len(publisher.requests) == 1
    second = publisher.text().split("ml-1m: MovieLens")[2]
    archive = ML_1M.files["ml-1m.zip"]
    assert f"from {publisher.address}/ml-1m/ml-1m.zip" in second
    assert sha256_of(archive) in second


def test_nor_does_a_cache_that_one_may_only_read(publisher):
    publisher.publish("ml-1m", ML_1M.files)
    first = publisher.obtain("ml-1m")
    (publisher.cache / "ml-1m" / ".lock").unlink()
    assert publisher.obtain("ml-1m") == first
    assert not (publisher.cache / "ml-1m" / ".lock").exists()


def test_the_licence_is_shown_before_the_first_request(publisher):
    with pytest.raises(UserError, match="no such file"):
        publisher.obtain("ml-1m")
    shown = publisher.text()
    assert "licence: for research; name MovieLens" in shown
    assert "https://files.grouplens.org/datasets/movielens/ml-1m-README.txt" in shown
    where = (
        f"from {publisher.address}/ml-1m/ml-1m.zip, 5.9 MB, to {publisher.cache}/ml-1m/ml-1m.zip"
    )
    assert shown.index("licence:") < shown.index(where)


def test_another_file_than_published_is_refused(publisher):
    publisher.publish("ml-1m", ML_1M.files)
    size = len(ML_1M.files["ml-1m.zip"])
    with pytest.raises(UserError, match=f"is {size} bytes, expected 5,917,549"):
        publisher.obtain("ml-1m", sha256="")
    raw = RAW_SETS["lastfm-2k"]
    publisher.publish("lastfm-2k", raw.files)
    own = sha256_of(next(iter(raw.files.values())))
    with pytest.raises(UserError, match=f"has sha256 {own}, expected 6738f.*data.sha256={own}"):
        publisher.obtain("lastfm-2k", sha256="")
    assert not list((publisher.cache / "lastfm-2k").glob("hetrec*"))
    assert len(events_of(publisher.obtain("lastfm-2k", sha256=own))) == 4


def test_without_a_published_checksum_the_first_download_counts(publisher):
    name = "amazon-2018-All_Beauty"
    files = RAW_SETS[name].files
    publisher.publish(name, files)
    publisher.obtain(name)
    log = publisher.cache / name / "All_Beauty_5.json.gz"
    own = sha256_of(log.read_bytes())
    assert "no published checksum" in publisher.text()
    note = log.with_name("All_Beauty_5.json.gz.sha256")
    assert note.read_text() == f"{own}  All_Beauty_5.json.gz\n"
    for path in (log, log.with_name("manifest.json")):
        path.unlink()
    publisher.add(f"/{name}/{log.name}", files[log.name] + gzipped("{}"))
    with pytest.raises(UserError, match=rf"expected {own}.*remove {note}"):
        publisher.obtain(name)
    assert not log.exists()
    note.unlink()
    assert publisher.obtain(name).manifest["lines_left_out"] == 3


def test_a_file_that_was_put_there_is_checked_and_not_downloaded(publisher):
    folder = publisher.cache / "ml-1m"
    folder.mkdir(parents=True)
    (folder / "ml-1m.zip").write_bytes(ML_1M.files["ml-1m.zip"])
    with pytest.raises(UserError, match=r"has sha256 .*, expected a6898adb.*Remove it"):
        publisher.obtain("ml-1m", sha256="")
    named = publisher.obtain("ml-1m")
    assert named.manifest["files"][0]["address"] == "put there by hand"
    assert publisher.requests == []


def test_yelp_is_not_downloaded_and_told_where_to_get(publisher):
    publisher.publish("yelp", YELP.files)
    with pytest.raises(UserError) as raised:
        publisher.obtain("yelp")
    assert publisher.requests == []
    assert "business.yelp.com" in str(raised.value)
    assert f"into {publisher.cache}/yelp" in str(raised.value)


@pytest.mark.parametrize(
    ("file", "body"),
    [
        ("Yelp-JSON.zip", zipped(**{"Yelp JSON/yelp_dataset.tar": YELP_TAR})),
        ("yelp_dataset.tgz", gzip.compress(YELP_TAR)),
    ],
)
def test_yelp_is_read_in_any_of_its_wrappings(publisher, file, body):
    (publisher.cache / "yelp").mkdir(parents=True)
    (publisher.cache / "yelp" / file).write_bytes(body)
    assert events_of(publisher.obtain("yelp")) == YELP.events


def test_titles_may_be_left_out_and_had_later(publisher):
    name = "steam"
    publisher.publish(name, RAW_SETS[name].files)
    without = publisher.obtain(name, with_titles=False)
    assert without.items is None
    assert [path for path, _ in publisher.requests] == ["/steam/steam_reviews.json.gz"]
    assert set(items_of(publisher.obtain(name))) == set(RAW_SETS[name].items)
    assert [path for path, _ in publisher.requests][1:] == ["/steam/steam_games.json.gz"]
    publisher.obtain(name, with_titles=False)
    assert len(publisher.requests) == 2


@pytest.mark.parametrize(
    ("name", "files", "match"),
    [
        (
            "steam",
            {"steam_reviews.json.gz": gzipped("{'username': print(1)}")},
            "line 1 .*no record",
        ),
        ("steam", {"steam_reviews.json.gz": gzipped("__import__('os')")}, "line 1 .*no record"),
        ("steam", {"steam_reviews.json.gz": gzipped("{}", "[" * 9000)}, "line 2 .*no record"),
        ("steam", {"steam_reviews.json.gz": gzipped("{}", "{}")}, r"no events .*\(2 lines"),
        ("steam", {"steam_reviews.json.gz": gzipped("['a']")}, "line 1 .*no record"),
        ("steam", {"steam_reviews.json.gz": b"<html>sign in</html>"}, "neither gzip nor zip"),
        ("amazon-2018-Books", {"Books_5.json.gz": gzipped("[" * 99_999)}, "line 1 .*no record"),
        ("amazon-2023-Books", {"Books.csv.gz": gzipped("a,b", "1,2")}, "no such table.*user_id"),
        (
            "amazon-2023-Books",
            {"Books.csv.gz": gzipped("user_id,parent_asin,rating,timestamp", "a,b,five,1")},
            "no such table.*five",
        ),
    ],
)
def test_a_file_that_is_not_as_published_is_one_line(publisher, name, files, match):
    publisher.publish(name, files)
    with pytest.raises(UserError, match=match) as raised:
        publisher.obtain(name, with_titles=False)
    assert "\n" not in str(raised.value)
    kept = {path.name for path in (publisher.cache / name).iterdir()}
    assert not kept & {"interactions.parquet", "items.parquet", "manifest.json"}
    assert not [file for file in kept if file.endswith(".new")]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1::2::3\n", "is no record"),
        ("1::2::3::then\n", "no user, item, time or rating"),
        ("::2::3::4\n", "no user, item, time or rating"),
        ("1::2::3::nan\n", "no user, item, time or rating"),
        ("\xff::2::3::4\n", "is no utf-8 text"),
    ],
)
def test_a_broken_line_of_movielens_is_told(publisher, line, match):
    body = zipped(**{"ml-1m/ratings.dat": b"1::2::3::4\n" + line.encode("latin-1")})
    publisher.publish("ml-1m", {"ml-1m.zip": body})
    with pytest.raises(UserError, match=f"line 2 .*{match}"):
        publisher.obtain("ml-1m", sha256=sha256_of(body))


@pytest.mark.parametrize("line", [b"\xff,b,1,2\n", b"a broken \xff row\n", b"a,b,1,2\n\xc3"])
def test_a_table_that_is_no_text_is_told_and_nothing_else(publisher, capfd, line):
    body = gzip.compress(b"user_id,parent_asin,rating,timestamp\na,b,1,2\n" + line)
    publisher.publish("amazon-2023-Books", {"Books.csv.gz": body})
    with pytest.raises(UserError, match="is no utf-8 text at byte"):
        publisher.obtain("amazon-2023-Books", with_titles=False)
    assert capfd.readouterr().err == ""


def test_half_a_pair_of_surrogates_is_marked(publisher):
    line = '{"reviewerID": "a\\ud800", "asin": "\\ud83d\\ude00", "overall": 5, "unixReviewTime": 1}'
    meta = '{"asin": "\\ud83d\\ude00", "title": "x \\udc00 y", "category": ["\\ud800"]}'
    files = {"Books_5.json.gz": gzipped(line), "meta_Books.json.gz": gzipped(meta)}
    publisher.publish("amazon-2018-Books", files)
    named = publisher.obtain("amazon-2018-Books")
    assert events_of(named) == [("a\ufffd", "\N{GRINNING FACE}", 1.0, 5.0)]
    assert items_of(named)["\N{GRINNING FACE}"][:2] == ("x \ufffd y", "\ufffd")


def test_a_line_without_end_is_refused(publisher, monkeypatch):
    monkeypatch.setattr(raw_files, "MAX_LINE", 100)
    publisher.publish("steam", {"steam_reviews.json.gz": gzipped("{}", "x" * 101)})
    with pytest.raises(UserError, match=r"line 2 .*longer than 100 bytes"):
        publisher.obtain("steam", with_titles=False)


def test_an_archive_that_leaves_its_folder_is_refused(publisher):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../escaped", "x")
        archive.writestr("ml-1m/ratings.dat", "1::2::3::4\n")
    publisher.publish("ml-1m", {"ml-1m.zip": buffer.getvalue()})
    with pytest.raises(UserError, match="outside the archive's folder"):
        publisher.obtain("ml-1m", sha256=sha256_of(buffer.getvalue()))
    assert not list(publisher.cache.parent.rglob("escaped"))


def test_a_conversion_that_was_interrupted_is_made_again(publisher, monkeypatch):
    publisher.publish("ml-1m", ML_1M.files)

    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert, "_write_items", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publisher.obtain("ml-1m")
    named = publisher.obtain("ml-1m")
    assert len(items_of(named)) == 2
    assert len(publisher.requests) == 1
    # A manifest that is damaged or of another conversion does not count either, and is gone before
    # what it tells of is written over.
    for text in ("{", json.dumps({**named.manifest, "conversion": 0})):
        manifest = publisher.cache / "ml-1m" / "manifest.json"
        manifest.write_text(text)
        with monkeypatch.context() as patch:
            patch.setattr(convert, "_write_events", interrupted)
            with pytest.raises(KeyboardInterrupt):
                publisher.obtain("ml-1m")
        assert not manifest.exists()
        manifest.write_text(text)
        assert len(items_of(publisher.obtain("ml-1m"))) == 2


def test_large_logs_are_written_in_batches(publisher, monkeypatch):
    monkeypatch.setattr(raw_files, "BATCH_ROWS", 2)
    monkeypatch.setattr(convert, "BATCH_ROWS", 1)
    publisher.publish("ml-100k", RAW_SETS["ml-100k"].files)
    named = publisher.obtain("ml-100k")
    assert events_of(named) == RAW_SETS["ml-100k"].events
    assert len(items_of(named)) == 2


def test_a_long_conversion_shows_how_far_it_is(publisher, monkeypatch):
    monkeypatch.setattr(download, "BAR_AFTER", -1.0)
    monkeypatch.setattr("ufnrec_tf.common.display.LINE_SECONDS", 0.0)
    publisher.publish("ml-1m", ML_1M.files)
    publisher.obtain("ml-1m")
    assert "converting: " in publisher.text()
    with download.LateBar(publisher.display, "converting") as bar:
        for done in (1_000_000, 3_000_000):
            bar.update(done, 4_000_000)
    assert re.search(r"converting: 25% 1\.0 MB of 4\.0 MB, [\d,.]+ MB/s\n", publisher.text())
    assert re.search(r"converting: 75% 3\.0 MB of 4\.0 MB, .*, \d+ s left", publisher.text())


@pytest.mark.slow
def test_two_processes_at_once_download_once(publisher):
    raw = RAW_SETS["steam"]
    publisher.publish("steam", raw.files)
    publisher.files["/steam/steam_reviews.json.gz"].pause = 0.5
    code = (
        "import sys\n"
        "from ufnrec_tf.reading.published.cache import DownloadOptions, obtain\n"
        "from ufnrec_tf.common.display import Display\n"
        "named = obtain('steam', DownloadOptions(*sys.argv[1:]), display=Display())\n"
        "print(named.manifest['interactions'])\n"
    )
    command = [sys.executable, "-c", code, str(publisher.cache), publisher.address]
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.splitlines()[-1] == "2"
    assert sorted(path for path, _ in publisher.requests) == [
        "/steam/steam_games.json.gz",
        "/steam/steam_reviews.json.gz",
    ]


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("UFNREC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == tmp_path / ".cache" / "ufnrec_tf"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "ufnrec_tf"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(cache_folder()) == "/xdg/ufnrec_tf"
    monkeypatch.setenv("UFNREC_CACHE", "/own")
    assert str(cache_folder()) == "/own"
    assert cache_folder("~/given") == tmp_path / "given"


def test_a_cache_that_cannot_be_made_is_one_line(publisher, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be made or written to.*data\.cache"):
        publisher.obtain("ml-1m")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("ml-2m", "ml-1m, .*amazon-2018-CATEGORY.*Did you mean 'ml-32m'"),
        ("amazon-2014-Beuty", "Baby, Beauty, Books.*Did you mean 'amazon-2014-Beauty'"),
        ("amazon-2018", "Did you mean 'amazon-2018-"),
        ("plantd", "planted.*Did you mean 'planted'"),
        ("../ml-1m", "one of planted"),
        ("amazon-2014-../Beauty", "with one of"),
    ],
)
def test_an_unknown_name_lists_the_known_and_the_nearest(name, match):
    with pytest.raises(UserError, match=match):
        find_dataset(name, others=("planted",))


def test_every_name_is_found_and_says_what_it_must():
    assert len(known_names()) == len(set(known_names())) == 132
    for name in known_names():
        spelled, dataset = find_dataset(name.upper())
        assert spelled == name
        assert dataset.title
        assert dataset.licence
        assert dataset.licence_address.startswith("https://")
        log = dataset.files[0]
        assert not log.is_for_titles
        assert log.is_downloaded or name == "yelp"
        for file in dataset.files:
            assert file.address.startswith("https://") or not file.is_downloaded
            kind, _, digits = file.checksum.partition(":")
            assert (kind, len(digits)) in {("", 0), ("sha256", 64), ("md5", 32)}


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (4.99, 4.99),
        (0, 0.0),
        ("$1,299.00", 1299.0),
        ("12.5", 12.5),
        ("Free to Play", 0.0),
        ("$3.00 - $9.00", NAN),
        ("—", NAN),
        ("", NAN),
        (None, NAN),
        (-1.0, NAN),
        (True, NAN),
        (["9"], NAN),
        (".a-box-inner{background-color:#fff}", NAN),
    ],
)
def test_prices(value, price):
    assert same(price_of(value), price)


def settings_of(publisher, name):
    digits = sha256_of(next(iter(RAW_SETS[name].files.values())))
    return {
        "data.name": name,
        "data.cache": str(publisher.cache),
        "data.mirror": publisher.address,
        "data.sha256": digits if RAW_SETS[name].is_checked else "",
    }


def test_the_command_line_reads_a_data_set_by_name(publisher):
    publisher.publish("ml-100k", RAW_SETS["ml-100k"].files)
    config = load_config("", list(settings_of(publisher, "ml-100k").items()))
    interactions = load(config, "").interactions
    assert interactions.source == "ml-100k"
    assert interactions.user_ids.tolist() == ["196", "186"]
    assert interactions.item_ids.tolist() == ["", "2", "1"]
    assert interactions.items.tolist() == [1, 2, 2]
    assert interactions.timestamps is not None
    assert interactions.timestamps.tolist() == [881250949.0, 881250950.0, 891717742.0]
    parquet = publisher.cache / "ml-100k" / "interactions.parquet"
    assert interactions.sha256 == sha256_of(parquet.read_bytes())


def test_the_command_line_prepares_and_inspects_a_data_set_by_name(publisher, tmp_path, capfd):
    publisher.publish("ml-100k", RAW_SETS["ml-100k"].files)
    publisher.obtain("ml-100k")
    named_by = settings_of(publisher, "ml-100k")
    settings = [f"--config.{key}={value}" for key, value in named_by.items()]
    folder, path = tmp_path / "folder", tmp_path / "found.json"
    capfd.readouterr()
    assert run("--mode=prepare", f"--workdir={folder}", *settings) == 0
    prepared = load(load_config("", []), str(folder)).interactions
    named = load(load_config("", list(named_by.items())), "").interactions
    assert prepared.num_events == named.num_events == len(RAW_SETS["ml-100k"].events)
    assert prepared.item_titles is not None and named.item_titles is not None
    assert sorted(filter(None, prepared.item_titles)) == sorted(filter(None, named.item_titles))
    # What only a log that is read itself can show.
    assert run("--mode=inspect", f"--output={path}", *settings) == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["source"] == "ml-100k" and len(found["first_rows"]) == min(
        5, len(RAW_SETS["ml-100k"].events)
    )
    capfd.readouterr()
    for mode in (("--mode=prepare", f"--workdir={tmp_path / 'other'}"), ("--mode=inspect",)):
        assert run(*mode, *settings, f"--data={path}") == 1
        assert "both name the data" in capfd.readouterr().err
    assert run("--mode=prepare", "--config.data.name=planted", f"--workdir={path}.d") == 1
    assert "planted: each run draws it anew" in capfd.readouterr().err


def test_and_its_items(publisher):
    publisher.publish("steam", RAW_SETS["steam"].files)
    config = load_config("", list(settings_of(publisher, "steam").items()))
    interactions = load(config, "").interactions
    assert interactions.item_ids.tolist() == ["", "725280", "761140"]
    titles, categories = interactions.item_titles, interactions.item_categories
    prices = interactions.item_prices
    assert titles is not None
    assert titles.tolist() == ["", "Free one", "Lost Kitty"]
    assert categories is not None
    assert categories.tolist() == ["", "", "Action|Indie"]
    assert prices is not None
    assert prices[1:].tolist() == [0.0, 4.99]


def test_a_wrong_name_or_address_ends_in_one_line(capsys, tmp_path):
    assert run("--config.data.name=ml-2m") == 1
    assert "Did you mean 'ml-32m'" in capsys.readouterr().err
    assert run("--config.data.name=ml-1m", "--data=x.csv") == 1
    assert "both name the data" in capsys.readouterr().err
    mirror, cache = "--config.data.mirror=http://example.org/", f"--config.data.cache={tmp_path}"
    assert run("--config.data.name=ml-1m", mirror, cache) == 1
    error = capsys.readouterr().err
    assert "only https://" in error
    assert error.count("\n") == 1
