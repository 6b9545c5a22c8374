"""Quiet TensorFlow, before any test imports it; what several test files start from."""

import fcntl
import gc
import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["UFNREC_PROGRAMS"] = "off"  # for the processes that tests start
# The same programs, turned into machine code in half the time: a test runs them a few times.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)

PROCESSES = Path(__file__).parent / "processes"
"""Its tests start processes of their own: all are slow."""


def pytest_collection_modifyitems(items):
    """Slow files first, so that no core waits for one at the end; those of processes before."""
    for item in items:
        if item.path.parent == PROCESSES:
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent != PROCESSES, item.path not in slow))


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


def _without_graphs():
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def eagerly():
    """Runs the module's tests without graphs: tracing takes longer than the few steps of a run.

    For tests of what surrounds the steps. What the steps compute is the same.
    """
    yield from _without_graphs()


@pytest.fixture
def without_graphs():
    """Runs one test as `eagerly` does all of a module."""
    yield from _without_graphs()


@pytest.fixture
def without_export(monkeypatch):
    """Leaves out the export of runs, which takes as long as their steps."""
    from ufnrec_tf.training import finish

    monkeypatch.setattr(finish, "export", lambda *_: None)


@pytest.fixture
def write(tmp_path):
    """Writes a file of the given content into the test's folder and returns its path."""

    def write_file(content: str | bytes, name: str = "log.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
