"""The pages build strictly, fetch nothing, and name only what exists."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ufnrec_tf.config import option_table

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "BUILD.md", "CONTRIBUTING.md")]
    + list((ROOT / "docs").glob("*.md"))
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
KEYS = {f"{section}.{name}" for section, options in option_table().items() for name in options}
SECTIONS = "|".join(option_table())
COMMAND = re.compile(r"python main\.py(?:[^`\n]|\\\n)*")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = run(sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


class Addresses(HTMLParser):
    """Collects what a browser loads for a page: all addresses but those of plain hyperlinks."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"src", "srcset", "data", "poster"} | ({"href"} if tag != "a" else set())
        self.loaded += [value for name, value in attrs if name in names and value]


def test_the_site_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 12
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found = Addresses()
        found.feed(text)
        assert found.loaded
        for address in found.loaded:
            assert not urlsplit(address).netloc, f"{page.name}: {address}"
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", text), page.name
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", text), sheet.name


@every_page
def test_named_keys_exist(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"--config\.([a-z_0-9]+\.[a-z_0-9]+)", text))
    named |= set(re.findall(rf"`((?:{SECTIONS})\.[a-z_0-9]+)(?:=[^`]*)?`", text))
    named |= set(re.findall(r"--help=([a-z_]+\.[a-z_0-9]+)", text))
    files = {name for name in named if name.endswith((".json", ".md", ".csv", ".tex"))}
    assert named - files <= KEYS


def test_named_modes_and_flags_exist():
    said = run(sys.executable, "main.py", "--mode=none-such").stderr
    modes = set(said.partition("Known: ")[2].partition(".")[0].split(", "))
    assert "train" in modes
    flags = set(re.findall(r"--([a-z_]+)", run(sys.executable, "main.py", "--help=all").stdout))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"--mode=([a-z]+)", text)) <= modes, page.name
        for command in COMMAND.findall(text):
            assert set(re.findall(r"\s--([a-z_]+)[=\s]", command)) <= flags, command


@every_page
def test_named_files_and_folders_exist(page):
    text = page.read_text(encoding="utf-8")
    folders = "ufnrec_tf|tests|configs|benchmarks|examples|deploy"
    paths = set(re.findall(rf"(?<![\w/.])((?:{folders})/[\w./-]*\w/?)", text))
    modules = set(re.findall(r"python -m ((?:benchmarks|tests|examples)(?:\.\w+)+)", text))
    paths |= {name.replace(".", "/") + ".py" for name in modules}
    written = {"FOLDER", "NAME"}  # stand for a name
    missing = [
        path
        for path in sorted(paths)
        if not written & set(re.split(r"[/.]", path)) and not (ROOT / path).exists()
    ]
    assert not missing


def test_the_table_of_folders_is_whole():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `ufnrec_tf/(\w+)` \|", text, re.MULTILINE))
    package = ROOT / "ufnrec_tf"
    assert named == {path.parent.name for path in package.glob("*/__init__.py")}


@every_page
def test_linked_files_exist(page):
    """On GitHub too, where the pages are read as they are."""
    text = page.read_text(encoding="utf-8")
    for address in re.findall(r"\]\(([^)\s]+)\)", text):
        if not urlsplit(address).scheme and (path := address.partition("#")[0]):
            assert (page.parent / path).exists(), address


def test_pages_are_no_longer_than_they_should_be():
    for name in ("README.md", "BUILD.md"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 200, name


def test_every_picture_is_shown():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (ROOT / "docs").glob("*.png"):
        assert f"{picture.name})" in text, picture.name
