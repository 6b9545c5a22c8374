"""The folders of the package import only what the table in docs/architecture.md allows."""

import ast
import collections
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ufnrec_tf"
TABLE = ROOT / "docs" / "architecture.md"
FLAT = {"api", "config"}
"""Modules that stand beside the folders."""
NOT_OF_THE_PACKAGE = {"helpers", "processes", "reference", "soak"}
"""Folders of tests that belong to no folder of the package."""
TRAINING = ("training", "objectives", "method", "comparison", "sweep")


def read_table(text: str) -> dict[str, set[str]]:
    """Returns what each folder may import, from the rows of `| folder | may import |`."""
    table: dict[str, set[str]] = {}
    for name, cell in re.findall(
        r"^\| `ufnrec_tf/([\w.]+)` \| (.*?) \|$", text, flags=re.MULTILINE
    ):
        above, names = set(table), set(re.findall(r"[\w.]+", cell.partition(" but ")[2] or cell))
        if cell.startswith("all above but "):
            names = above - names
        elif cell == "everything above":
            names = above
        elif cell == "nothing of ours":
            names = set()
        table[name.removesuffix(".py")] = names
    return table


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FILES.pop("")
FOLDERS = {name for name, path in FILES.items() if path.name == "__init__.py"}
MODULES = sorted(set(FILES) - FOLDERS)
ALLOWED = read_table(TABLE.read_text(encoding="utf-8"))


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if name.removeprefix("ufnrec_tf.") in FILES}
            found |= modules or {node.module or ""}
    own = {name.removeprefix("ufnrec_tf.") for name in found if name.startswith("ufnrec_tf.")}
    assert own <= set(FILES), f"{path} imports {sorted(own - set(FILES))}, which do not exist"
    return own


IMPORTS = {name: imports_of(path) for name, path in FILES.items()}


def top(module: str) -> str:
    return module.split(".")[0]


def may_import(module: str, other: str) -> bool:
    allowed = ALLOWED[top(module)]
    return top(module) == top(other) or top(other) in allowed or other in allowed


def everything_below(module: str) -> set[str]:
    """Returns what a module imports, directly or not, and the folders that this runs."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for name in IMPORTS[waiting.pop()]:
            parts = name.split(".")
            for part in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
                if part not in found:
                    found.add(part)
                    waiting.append(part)
    return found


def test_the_table_names_every_folder_and_nothing_else():
    assert set(ALLOWED) == {top(name) for name in FILES}


def test_the_table_has_an_order():
    """So that no folder can need, by a detour, one that needs it."""
    tops = {name: {top(other) for other in allowed} for name, allowed in ALLOWED.items()}
    graphlib.TopologicalSorter(tops).prepare()


@pytest.mark.parametrize("module", list(FILES))
def test_a_folder_imports_what_the_table_allows(module):
    more = sorted(other for other in IMPORTS[module] if not may_import(module, other))
    assert not more, (
        f"{module} imports {more}. {top(module)}/ may import {sorted(ALLOWED[top(module)])}: "
        f"move the code, or change the table in {TABLE.relative_to(ROOT)}"
    )


def test_no_module_imports_itself_by_a_detour():
    graphlib.TopologicalSorter(IMPORTS).prepare()


def test_only_three_modules_stand_flat():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *FLAT}


def test_no_module_repeats_the_name_of_its_folder():
    repeated = {name for name in MODULES if f".{name}".count(f".{'_'.join(folder_words(name))}_")}
    assert not repeated


def folder_words(module: str) -> list[str]:
    return module.split(".")[-2:-1] or ["-"]


def test_no_two_public_classes_have_one_name():
    places = collections.defaultdict(list)
    for module, path in FILES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_a_folder_says_what_it_is_in_one_sentence():
    """Late imports depend on it: importing a module runs the `__init__` of its folders."""
    for folder in FOLDERS:
        tree = ast.parse(FILES[folder].read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), folder
        assert folder in ("backbones", "objectives") or len(tree.body) == 1, folder


def test_tests_mirror_the_folders():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - NOT_OF_THE_PACKAGE <= {top(name) for name in FILES}


def test_parts_of_the_step_do_not_know_each_other():
    """The model passes values between them, so that method/model.py tells the order of a step."""
    parts = {"method.memory", "method.teacher", "method.negatives", "objectives"}
    for part in parts:
        assert not everything_below(part) & (parts - {part}), part
    assert parts <= {name.removesuffix(".base") for name in IMPORTS["method.model"]}


def test_serving_imports_nothing_of_training():
    for module in ("export.retriever", "export.publish", "recommend.batch", *MODULES):
        if top(module) in ("export", "recommend", "serving"):
            below = {top(name) for name in everything_below(module)}
            assert not below & {*TRAINING, "backbones", "data"}, module


def test_evaluation_and_backbones_know_nothing_of_training():
    for module in MODULES:
        if top(module) in ("backbones", "data", "evaluation"):
            below = {top(name) for name in everything_below(module)}
            assert not below & {"training", "comparison", "sweep"}, module


def test_replicas_are_known_in_one_module_only():
    words = ("MirroredStrategy", ".all_reduce(", "get_replica_context", "merge_call")
    for module, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert module == "common.distribution" or not any(word in text for word in words), module


def test_references_import_nothing_of_the_package():
    for path in sorted((ROOT / "tests" / "reference").glob("*.py")):
        if path.stem in ("cases", "numpy_sasrec") or path.stem.startswith("oracle"):
            names = {
                part.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                for part in (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
            }
            assert path.stem == "oracle_run" or "ufnrec_tf" not in names, path


def loaded_after(statement: str) -> set[str]:
    """Top-level names of the modules that a new process has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stdout.split())


def test_data_reading_and_reports_work_without_tensorflow():
    needs_it = {"data.batches"}
    modules = [name for name in MODULES if top(name) in ("data", "reading", "report")]
    lines = [f"import ufnrec_tf.{name}" for name in modules if name not in needs_it]
    loaded = loaded_after("\n".join(lines))
    assert "pandas" in loaded
    assert not loaded & {"tensorflow", "keras"}


def test_command_line_starts_without_tensorflow():
    """So that a wrong flag is answered at once."""
    assert not loaded_after("import ufnrec_tf.cli.main") & {"tensorflow", "keras", "pandas"}
