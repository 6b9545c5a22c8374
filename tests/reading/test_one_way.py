"""A log is read in one way: train, prepare, a DataFrame and --histories find the same events.

`python -m tests.soak.one_way` does the same with any number of logs.
"""

import random

import pytest

from tests.helpers.random_logs import FORMS, check, messy_case, random_case
from tests.processes.prepare_run import make_small


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=pytest.mark.slow if seed >= 12 else ()) for seed in range(60)],
)
def test_every_way_finds_the_same_events(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    if seed % 2:
        make_small(monkeypatch.setattr)
    check(random_case(rng), tmp_path / "plain", ("csv", "tsv", "inter", "jsonl", "parquet"))
    if seed % 3:
        check(messy_case(rng), tmp_path / "messy", rng.sample([*FORMS], 2))


def test_there_are_enough_logs_of_both_kinds():
    cases = [random_case(random.Random(seed)) for seed in range(60)]
    messy = [messy_case(random.Random(seed)) for seed in range(60)]
    for refused in (sum(case.events is None for case in some) for some in (cases, messy)):
        assert 10 <= refused <= 30
    assert sum(case.has_times for case in cases) >= 30
