"""Quiet TensorFlow, before any test imports it; what several test files start from."""

import fcntl
import gc
import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

LONGEST_FIRST = (
    "test_distributed.py",
    "test_end_to_end.py",
    "test_workers.py",
    "test_model.py",
    "test_packing.py",
    "test_crash.py",
    "test_comparison.py",
    "test_replicas.py",
    "test_leak.py",
    "test_memory.py",
    "test_prefixes.py",
    "test_warm_start.py",
    "test_false_negatives.py",
    "test_temporal_split.py",
    "test_serve_process.py",
)


def pytest_collection_modifyitems(items):
    """Long files first, so that no core waits for a long one at the end."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish():
    """Sets what is imported apart, so that the garbage collector looks at what tests make."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished work directory of the tiny planted run, three epochs; copy it to change it.

    Trained once; each process of pytest-xdist has a copy, as a work directory has one user.
    """
    from tests.helpers.runs import train

    workdir = tmp_path_factory.mktemp("trained") / "run"
    # With pytest-xdist the parent is the folder of all its processes, else that of other sessions.
    is_shared = "PYTEST_XDIST_WORKER" in os.environ
    common = tmp_path_factory.getbasetemp().parent if is_shared else workdir.parent
    with open(common / "trained.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (common / "trained.first").exists():
            shutil.copytree(common / "trained.first", workdir)
            return workdir
        assert train(workdir, "--config.training.num_epochs=3") == 0
        shutil.copytree(workdir, common / "trained.first")
    return workdir


@pytest.fixture
def write(tmp_path):
    """Writes a file of the given content into the test's folder and returns its path."""

    def write_file(content: str | bytes, name: str = "log.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
