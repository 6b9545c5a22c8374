"""What is packed: the wheel holds every file of the package, and the configurations."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.helpers.runs import ROOT

SOURCES = ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def files_of(folder: Path, packed_as: str) -> set[str]:
    """The files below a folder as a wheel names them."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {f"{packed_as}/{path}" for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    source = tmp_path / "source"
    for folder in ("ufnrec_tf", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in SOURCES:
        shutil.copy(ROOT / name, source / name)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)], cwd=source, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("ufnrec_tf-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "ufnrec = ufnrec_tf.cli.start:run" in archive.read(entries).decode("utf-8")
    expected = files_of(ROOT / "ufnrec_tf", "ufnrec_tf")
    assert {
        "ufnrec_tf/py.typed",
        "ufnrec_tf/serving/page.html",
        "ufnrec_tf/report/templates/run.html",
    } <= expected
    assert packed == expected | files_of(ROOT / "configs", "ufnrec_tf/configs")


def test_the_images_copy_what_is_there_and_is_not_ignored():
    sent = set((ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines())
    for path in (ROOT / "deploy").glob("Dockerfile*"):
        lines = path.read_text(encoding="utf-8").splitlines()
        copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
        names = {name for parts in copies if not parts[0].startswith("--from") for name in parts}
        assert {"requirements.lock", "ufnrec_tf", "configs"} <= names, path
        for name in names:
            assert (ROOT / name).exists() and f"!{name}" in sent, f"{path}: {name}"
