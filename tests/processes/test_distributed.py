"""The same mathematics on 1, 2 and 4 devices and on 1 and 2 workers, digit by digit.

In float64, without dropout, the gate open from the first step: what devices and workers compute
differs by the order of sums alone. The devices are in a process of their own, as is each worker.
"""

import sys

import numpy as np
import pytest

from tests.processes.distributed_run import (
    CASES,
    CASES_OF,
    NUM_STEPS,
    worker_environments,
)
from tests.processes.forks import forks

TOLERANCE = 1e-9
TIMEOUT = 280


def results_of(folder, where, num_processes):
    """Returns what each process of `tests.processes.distributed_run` found."""
    files = [folder / f"{where}{number}.npz" for number in range(num_processes)]
    commands = [
        [sys.executable, "-m", "tests.processes.distributed_run", str(file), where]
        for file in files
    ]
    with forks(commands, worker_environments(num_processes)) as started:
        for process in started:
            output = "".join(process.communicate(timeout=TIMEOUT))
            assert process.returncode == 0, output[-4000:]
    return [dict(np.load(file, allow_pickle=False)) for file in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def devices(folder):
    return results_of(folder, "devices", 1)


@pytest.fixture(scope="module")
def one(devices):
    return of("one", devices[0])


@pytest.fixture(scope="module")
def runs(folder, devices):
    workers = results_of(folder, "workers", 2)
    found = {"2 replicas": devices, "4 replicas": devices, "2 workers": workers}
    return {kind: [of(kind, result) for result in results] for kind, results in found.items()}


KINDS = [(kind, case) for kind, cases in CASES_OF.items() if kind != "one" for case in cases]


def of(part, result):
    """What is of a kind, or of a case: the entries below this name."""
    return {
        name.partition("/")[2]: value
        for name, value in result.items()
        if name.partition("/")[0] == part
    }


@pytest.mark.parametrize("case", list(CASES))
def test_no_comparison_comes_so_close_that_rounding_could_turn_it(one, case):
    run = of(case, one)
    assert 1e-7 < run["gap"] < 1
    assert run["sums"][9] > 50 or case == "soft"  # flips
    assert run["sums"][0] == NUM_STEPS


@pytest.mark.parametrize(("kind", "case"), KINDS)
def test_weights_teacher_and_optimizer_are_the_same(runs, one, kind, case):
    expected = of(case, one)
    for result in runs[kind]:
        run = of(case, result)
        assert run["num_replicas"] == int(kind[0])
        for name in ("weights", "teacher", "optimizer", "sums"):
            np.testing.assert_allclose(
                run[name], expected[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
            )
    assert np.abs(expected["weights"] - expected["teacher"]).max() > 1e-3


@pytest.mark.parametrize(("kind", "case"), KINDS)
def test_the_memory_is_the_same_and_each_row_is_on_one_worker(runs, one, kind, case):
    expected = of(case, one)
    parts = [of(case, result) for result in runs[kind]]
    rows = np.concatenate([part["rows"] for part in parts])
    np.testing.assert_array_equal(np.sort(rows), expected["rows"])
    for name in [name for name in expected if name.startswith("table_")]:
        whole = np.concatenate([part[name] for part in parts])[np.argsort(rows)]
        np.testing.assert_array_equal(whole, expected[name], err_msg=name)
        assert whole.any(), name
    for part in parts:
        np.testing.assert_array_equal(part["counters"], expected["counters"])
        assert len(part["rows"]) < len(rows) or len(parts) == 1


@pytest.mark.parametrize(("kind", "case"), KINDS)
def test_every_user_is_ranked_once_and_the_same(runs, one, kind, case):
    expected = of(case, one)
    parts = [of(case, result) for result in runs[kind]]
    assert sum(part["num_own"] for part in parts) == expected["num_own"] == 37
    for part in parts:
        for name in ("ranks", "sampled", "top"):
            np.testing.assert_array_equal(part[name], expected[name], err_msg=name)


@pytest.mark.parametrize("case", CASES_OF["2 workers"])
def test_workers_exchange_two_messages_a_step(runs, case):
    for run in runs["2 workers"]:
        assert of(case, run)["num_messages"] == 2  # counts; loss and gradients
