"""What the random cases contain, and what holds in each of them."""

from collections import Counter

import numpy as np

from tests.reference.cases import (
    COMBINATIONS,
    NUM_SLOTS,
    case_settings,
    census,
    random_case,
    run_case,
)

NUM_CASES = 200
MINIMUMS = {
    "flips": 1000,
    "removals": 500,
    "reflips": 200,
    "list_duplicates": 1000,
    "ties": 1000,
    "evictions": 500,
    "refusals": 500,
    "fresh_excluded": 500,
    "fresh_label_0": 100,
    "one_item_histories": 1000,
    "returning_users": 1000,
    "no_negatives": 50,
}


def test_random_cases_contain_what_they_are_for():
    total = sum((census(random_case(seed)) for seed in range(NUM_CASES)), Counter())
    too_few = {name: total[name] for name, least in MINIMUMS.items() if total[name] < least}
    assert not too_few


def test_every_combination_meets_every_number_of_slots():
    met = {
        (s["policy"], s["duplicates"], s["counting"], s["flip"], s["num_slots"])
        for s in map(case_settings, range(NUM_CASES))
    }
    assert len(met) == len(COMBINATIONS) * len(NUM_SLOTS)


def test_random_cases_keep_their_promises():
    for seed in range(NUM_CASES):
        case = random_case(seed)
        assert len(case.steps) >= 15 and case.num_items <= 30
        memory = case.memory()
        for step, lookups, logits in run_case(case, memory):
            assert len(set(step.keys)) == len(step.keys) == 4
            assert logits.shape == (4, 1 + case.num_negatives) and logits.dtype == np.float32
            for (user, _), lookup in zip(step.keys, lookups, strict=True):
                assert not set(lookup.items) & set(case.histories[user])
            for key in step.keys:
                held = set(memory.lists[key]) | set(memory.counts[key])
                assert len(held) <= case.settings["num_slots"]
        again = random_case(seed)
        assert all(
            np.array_equal(a.fresh, b.fresh) and np.array_equal(a.by_slot, b.by_slot)
            for a, b in zip(case.steps, again.steps, strict=True)
        )
