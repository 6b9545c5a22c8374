"""`make licences`: writes docs/licences.md, the licences of all that an installation brings.

Direct and transitive dependencies of requirements.txt and of the extras in pyproject.toml, as this
environment has them; what a package says of itself, from its metadata.
"""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
COPYLEFT = re.compile(r"\b(A|L)?GPL|\bMPL|\bEPL|\bCDDL|\bEUPL|GNU|Mozilla Public", re.IGNORECASE)
RUNTIME = re.compile(r"lib(gfortran|gomp|quadmath)-?[\w.-]*\.so")
MOZILLA = re.compile(r"^\W*Mozilla Public License,?( Version|$)", re.IGNORECASE | re.MULTILINE)
HEAD = """# Licences of the dependencies

Made by `make licences` (tests/licences.py) from the installed packages' own metadata: Python 3.11,
Linux x86_64. ufnrec-tf itself is Apache-2.0 and contains none of their code; they are installed
beside it. "Needed by" is requirements.txt, or the extras that alone bring a package. The notes
name what is copyleft: the MPL-2.0 asks for the source of changed files of that package alone, and
GCC's runtime libraries may be linked by anything. They are facts from the files, no legal advice.

"""


class Row(NamedTuple):
    """A package: its name and version, what it says its licence is, who needs it, what to note."""

    name: str
    version: str
    licence: str
    needed_by: str
    note: str


def roots() -> dict[str, list[str]]:
    """Returns the requirements by who has them."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = {"all": [line for line in lines if line.strip() and not line.startswith("#")]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found | project["optional-dependencies"]


def closure(texts: list[str]) -> dict[str, Distribution]:
    """Returns name -> package of some requirements and of all that these need here."""
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(text), "") for text in texts]
    while waiting:
        wanted, extra = waiting.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        extras, is_new = wanted.extras, name not in found
        if not is_new and not extras:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(
                f"{name} is not installed: run `make setup` and `make lint` first."
            ) from None
        needs = [Requirement(text) for text in found[name].requires or []]
        waiting += [(need, own) for need in needs for own in (extras or {""})]
    return found


def licence_of(package: Distribution) -> str:
    """Returns what a package says its licence is, as exactly as it does."""
    expression = " ".join(package.metadata.get_all("License-Expression") or [])
    classes = package.metadata.get_all("Classifier") or []
    named = [text.rsplit(" :: ", 1)[-1] for text in classes if text.startswith("License ::")]
    lines = "\n".join(package.metadata.get_all("License") or []).strip().splitlines()
    short = lines[0] if len(lines) == 1 and lines[0] != "UNKNOWN" else ""
    return expression or short or ", ".join(named) or "says none: see its licence file"


def note_of(package: Distribution, licence: str) -> str:
    """Returns what there is to say of copyleft, "" for most."""
    if COPYLEFT.search(licence):
        return "copyleft, of its own files alone"
    files = package.files or []
    notes = []
    if any(RUNTIME.search(path.name) for path in files):
        notes.append("carries GCC's runtime libraries: GPL-3.0 with the runtime exception, LGPL")
    texts = [path for path in files if re.search("licen|notice|copying", path.name.lower())]
    if any(MOZILLA.search(text_of(package, path)) for path in texts):
        notes.append("carries a part under MPL-2.0, as its licence file says")
    return "; ".join(notes)


def text_of(package: Distribution, path: PackagePath) -> str:
    """Returns a file of a package, "" where it is no text."""
    is_text = path.suffix in ("", ".txt", ".md", ".rst")
    where = Path(str(package.locate_file(path)))
    return where.read_text(encoding="utf-8", errors="replace") if is_text else ""


def rows() -> list[Row]:
    """Returns the packages by name."""
    needs = {who: closure(texts) for who, texts in roots().items()}
    every: dict[str, Distribution] = {}
    for found in needs.values():
        every |= found
    result = []
    for name in sorted(every):
        own = [who for who, found in needs.items() if name in found]
        licence = licence_of(every[name])
        who = "requirements.txt" if "all" in own else ", ".join(own)
        result.append(Row(name, every[name].version, licence, who, note_of(every[name], licence)))
    return result


def main() -> None:
    """Writes the table."""
    lines = ["| package | version | licence | needed by | note |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows()]
    text = HEAD + "\n".join(lines) + "\n"
    (ROOT / "docs" / "licences.md").write_text(text, encoding="utf-8")
    print(f"docs/licences.md: {len(lines) - 2} packages")


if __name__ == "__main__":
    main()
