"""docs/licences.md names all that an installation brings."""

import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.licences import COPYLEFT, ROOT, roots


def table():
    lines = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row for row in rows[2:]}


def test_every_dependency_has_a_licence():
    rows = table()
    wanted = {canonicalize_name(Requirement(t).name) for texts in roots().values() for t in texts}
    assert wanted <= set(rows), "run `make licences`"
    assert len(rows) > len(wanted)  # what these need, too
    assert all(len(row) == 5 and row[2] for row in rows.values())


def test_copyleft_is_noted_and_is_never_a_strong_one():
    for name, row in table().items():
        assert "copyleft" in row[4] or not COPYLEFT.search(row[2]), name
        assert not re.search(r"(?<!L)GPL", row[2]), f"{name}: {row[2]}"
