"""Imports go down only, serving knows nothing of training, data needs no TensorFlow."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ufnrec_tf"

LAYERS = [
    # Below all.
    "text types errors names phases quiet release random_bits workdir display phase_watcher config "
    "cluster distribution array_files own_state checkpoint rewriting event_files board run_state "
    "evaluation_share versions item_facts warm_up small_table item_scores",
    # What people add to; serving; the parts of the method and of evaluation.
    "data",
    "backbones",
    "losses metrics policies positions memory_rows memory_carry memory_usage user_items "
    "host_state gate optimizer retriever controls statistics slices beyond_accuracy "
    "history_groups history_parquet histories "
    "chart_values charts report_style pictures run_ids",
    "memory teacher sampling objectives entries ranking baselines export",
    "safe_flips memory_transfer publishing table_check onnx_export",
    "recommend_output recommend_parts recommend_scoring "
    "model evaluation recommend faiss_scorer suspects detection serving",
    "planted_detection",
    # A run.
    "arms parts backbone_setup checks run_settings "
    "sources experiment run_scalars run_scores showing",
    "callbacks record false_negatives preparation inspection run_cards",
    "signals warm_start",
    "results",
    "run_heading",
    "training trained recommend_mode comparison_runs children serve",
    "comparison_numbers comparison_summary comparison_plan comparison_text report_parts",
    "report_suspects report run_facts run_numbers run_charts",
    "run_sections run_page",
    "reporting",
    "forget_tables forget_shown forget_prepared",
    "comparison forget",
    "sweep_space",
    "sweep_study",
    "sweep_plan",
    "sweep_text sweep_board",
    "sweep",
    "recommender",
    "modes api",
    "uses help_pages",
    "completion",
    "cli",
]
"""Modules and folders of the package, the lowest first: each imports its own line or lower."""

TRAINING = {
    "model",
    "memory",
    "teacher",
    "objectives",
    "sampling",
    "optimizer",
    "callbacks",
    "gate",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    own = {name.removeprefix("ufnrec_tf.") for name in found if name.startswith("ufnrec_tf.")}
    return own & set(FILES)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FILES.pop("")  # the package itself holds a version
IMPORTS = {name: imports_of(path) for name, path in FILES.items()}


def layer(module: str) -> int:
    top = module.split(".")[0]
    found = [level for level, line in enumerate(LAYERS) if top in line.split()]
    assert len(found) == 1, f"{top}: say in LAYERS of {__file__} where it stands"
    return found[0]


def everything_below(module: str) -> set[str]:
    """What a module imports, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for name in IMPORTS[waiting.pop()]:
            # Importing a.b runs a as well.
            for part in {name, *([name.split(".")[0]] if name.split(".")[0] in FILES else [])}:
                if part not in found:
                    found.add(part)
                    waiting.append(part)
    return found


@pytest.mark.parametrize("module", list(FILES))
def test_imports_go_down(module):
    above = {name for name in IMPORTS[module] if layer(name) > layer(module)}
    assert not above, f"{module} imports {sorted(above)}, which stand above it"


def test_no_module_imports_itself_by_a_detour():
    graphlib.TopologicalSorter(IMPORTS).prepare()


def test_the_table_holds_no_module_that_is_gone():
    tops = {name.split(".")[0] for name in FILES}
    assert set(" ".join(LAYERS).split()) == tops


def test_parts_of_the_method_do_not_know_each_other():
    """The model passes values between them, so that model.py alone tells the story."""
    parts = {"memory", "teacher", "sampling", "objectives"}
    for part in parts:
        assert not everything_below(part) & (parts - {part}), part
    assert parts <= IMPORTS["model"]


def test_serving_imports_nothing_of_training():
    server = [name for name in FILES if name.split(".")[0] == "serving"]
    for module in ("retriever", "publishing", "recommend", "histories", *server):
        below = everything_below(module)
        assert not below & TRAINING, module
        assert not {name for name in below if name.startswith(("backbones", "data"))}, module


def test_evaluation_and_backbones_know_nothing_of_training():
    for module in ("evaluation", "ranking", "metrics", "baselines", "backbones", "data.pipeline"):
        assert not everything_below(module) & TRAINING, module


def test_only_a_run_reads_the_configuration():
    lowest = layer("experiment")
    for module in FILES:
        if layer(module) < lowest:
            assert "config" not in IMPORTS[module], module


def test_replicas_are_known_in_one_module_only():
    words = ("MirroredStrategy", ".all_reduce(", "get_replica_context", "merge_call")
    for module, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert module == "distribution" or not any(word in text for word in words), module


def test_tests_of_reference_import_nothing_of_the_package():
    for name in (
        "oracle.py",
        "oracle_training.py",
        "oracle_judge.py",
        "numpy_sasrec.py",
        "cases.py",
    ):
        assert "ufnrec_tf" not in {
            part.split(".")[0]
            for node in ast.walk(ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8")))
            for part in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }


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


def test_data_works_without_tensorflow():
    modules = ("interactions", "readers", "splits", "synthetic")
    lines = [f"import ufnrec_tf.data.{name}" for name in modules]
    loaded = loaded_after("\n".join([*lines, "import ufnrec_tf.reporting"]))  # a page takes none
    assert "pandas" in loaded
    assert not loaded & {"tensorflow", "keras"}


def test_command_line_starts_without_tensorflow():
    """So that a wrong flag is answered at once."""
    assert not loaded_after("import ufnrec_tf.cli") & {"tensorflow", "keras", "pandas"}
