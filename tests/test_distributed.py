"""The same mathematics on 1, 2 and 4 devices and on 1 and 2 workers, digit by digit.

In float64, without dropout, the gate open from the first step: what devices and workers compute
differs by the order of sums alone. Each run is a process of its own.
"""

import sys

import numpy as np
import pytest

from tests.distributed_run import CASES, CASES_OF, NUM_STEPS, ROOT, processes, worker_environments

TOLERANCE = 1e-9
TIMEOUT = 280


def results_of(folder, strategy, num_virtual_devices=0, num_workers=1):
    """Runs tests.distributed_run on so many workers; returns what each of them found."""
    files = [folder / f"{strategy}{num_virtual_devices}_{n}.npz" for n in range(num_workers)]
    commands = [
        [
            *(sys.executable, "-m", "tests.distributed_run"),
            *(str(file), strategy, str(num_virtual_devices)),
        ]
        for file in files
    ]
    with processes(commands, worker_environments(num_workers), cwd=ROOT) as started:
        for process in started:
            output, _ = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, output[-4000:]
    return [dict(np.load(file, allow_pickle=False)) for file in files]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def one(folder):
    return results_of(folder, "one")[0]


@pytest.fixture(scope="module")
def runs(folder):
    return {
        "2 replicas": results_of(folder, "mirrored", 2),
        "4 replicas": results_of(folder, "mirrored", 4),
        "2 workers": results_of(folder, "multi_worker", num_workers=2),
    }


KINDS = [
    (kind, case)
    for kind, name in {
        "2 replicas": "mirrored 2",
        "4 replicas": "mirrored 4",
        "2 workers": "multi_worker 0",
    }.items()
    for case in CASES_OF[name]
]


def of_case(result, case):
    return {
        name.partition("/")[2]: value
        for name, value in result.items()
        if name.partition("/")[0] == case
    }


@pytest.mark.parametrize("case", list(CASES))
def test_no_comparison_comes_so_close_that_rounding_could_turn_it(one, case):
    run = of_case(one, case)
    assert 1e-7 < run["gap"] < 1
    assert run["sums"][9] > 50  # flips
    assert run["sums"][0] == NUM_STEPS


@pytest.mark.parametrize(("kind", "case"), KINDS)
def test_weights_teacher_and_optimizer_are_the_same(runs, one, kind, case):
    expected = of_case(one, case)
    for result in runs[kind]:
        run = of_case(result, case)
        assert run["num_replicas"] == int(kind[0])
        for name in ("weights", "teacher", "optimizer", "sums"):
            np.testing.assert_allclose(
                run[name], expected[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
            )
    assert np.abs(expected["weights"] - expected["teacher"]).max() > 1e-3


@pytest.mark.parametrize(("kind", "case"), KINDS)
def test_the_memory_is_the_same_and_each_row_is_on_one_worker(runs, one, kind, case):
    expected = of_case(one, case)
    parts = [of_case(result, case) for result in runs[kind]]
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
    expected = of_case(one, case)
    parts = [of_case(result, case) for result in runs[kind]]
    assert sum(part["num_own"] for part in parts) == expected["num_own"] == 37
    for part in parts:
        for name in ("ranks", "sampled", "top"):
            np.testing.assert_array_equal(part[name], expected[name], err_msg=name)
