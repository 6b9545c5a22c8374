"""The oracle reproduces the golden vectors, which the authors' own functions produced."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reference.oracle import OracleMemory, OracleTeacher, hard_flags, oracle_loss

GOLDEN = Path(__file__).parent / "golden"
MEMORY_FILES = ["hard_negs_distinct_users.json", "hard_negs_duplicate_users.json"]


def load(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


@pytest.fixture(params=MEMORY_FILES)
def memory_case(request):
    return load(request.param)


def real_rows(step: dict) -> list[tuple[int, int]]:
    """(batch row, window position) of the real positions of a step."""
    positives = np.array(step["pos"])
    return [(int(b), int(position)) for b, position in np.argwhere(positives != 0)]


def replay_golden(case: dict, memory: OracleMemory):
    """Runs the steps; yields (step, real rows, lookups) after each was recorded."""
    for step in case["steps"]:
        rows = real_rows(step)
        keys = [(step["u"][b], position) for b, position in rows]
        lookups = memory.lookup_batch(keys, [step["neg_before"][b][i] for b, i in rows])
        for key, (b, position), lookup in zip(keys, rows, lookups, strict=True):
            memory.record(key, lookup, hard_flags(step["logits"][b][position]))
        yield step, rows, lookups


def faithful_memory(case: dict, **settings) -> OracleMemory:
    return OracleMemory(patience=case["config"]["reverse_m"], duplicates=True, **settings)


@pytest.mark.parametrize("policy", ["flip", "ufnrec"])
@pytest.mark.parametrize("num_slots", [None, 64])
def test_memory_matches_golden_step_by_step(memory_case, policy, num_slots):
    memory = faithful_memory(memory_case, policy=policy, num_slots=num_slots)
    for step, rows, lookups in replay_golden(memory_case, memory):
        negatives = np.zeros_like(step["neg_after"])
        labels = np.zeros_like(step["labels"])
        labels[..., 0] = 1
        flipped = []
        for (b, position), lookup in zip(rows, lookups, strict=True):
            negatives[b, position] = lookup.items
            labels[b, position, 1:] = lookup.labels
            flipped += [[b, position, j] for j, ripe in enumerate(lookup.is_ripe) if ripe]
        assert negatives.tolist() == step["neg_after"]
        assert labels.tolist() == step["labels"]
        assert sorted(flipped) == sorted(step["reversed"])
        assert state_of_counts(memory) == sorted(step["cnt_items_after_overlay"])
        assert state_of_lists(memory) == sorted(step["hard_items_after_update"])
    assert memory.statistics["flips"] == sum(len(s["reversed"]) for s in memory_case["steps"]) > 0
    assert memory.statistics["evictions"] == memory.statistics["refusals"] == 0


def state_of_counts(memory: OracleMemory) -> list[list[int]]:
    return sorted(
        [user, position, item, count]
        for (user, position), counts in memory.counts.items()
        for item, count in counts.items()
    )


def state_of_lists(memory: OracleMemory) -> list[list]:
    return sorted([user, position, items] for (user, position), items in memory.lists.items())


def test_golden_decides_that_duplicate_entries_are_counted_one_by_one(memory_case):
    """Entries whose item's total is ripe after the step, but which themselves came too early."""
    memory = faithful_memory(memory_case)
    patience = memory.patience
    too_early = 0
    for step, rows, lookups in replay_golden(memory_case, memory):
        for (b, position), lookup in zip(rows, lookups, strict=True):
            totals: dict[int, int] = {}
            for item, is_shown, count in zip(
                lookup.items, lookup.is_shown, lookup.counts, strict=True
            ):
                if is_shown:
                    totals[item] = max(totals.get(item, 0), count)
            for j, item in enumerate(lookup.items):
                if lookup.is_shown[j] and lookup.counts[j] <= patience < totals[item]:
                    too_early += 1
                    assert step["labels"][b][position][1 + j] == 0
    assert too_early > 0


def test_golden_memory_vectors_contain_what_they_are_for():
    for name in MEMORY_FILES:
        case = load(name)
        repeats = [len(set(step["u"])) < len(step["u"]) for step in case["steps"]]
        assert any(repeats) == case["config"]["duplicate_users_in_batch"]
        lists = [row[2] for step in case["steps"] for row in step["hard_items_after_update"]]
        assert any(len(set(items)) < len(items) for items in lists)
        ties = [
            step["logits"][b][i][0] == step["logits"][b][i][1]
            for step in case["steps"]
            for b, i in real_rows(step)
        ]
        assert sum(ties) > 0


@pytest.mark.parametrize("number", range(3))
def test_loss_and_gradient_match_golden(number):
    case = load("loss.json")[number]
    candidates = np.array(case["all_samples"])
    shape = (-1, candidates.shape[-1])
    flipped = np.zeros(candidates.shape, bool)
    for b, position, j in case["reversed"]:
        flipped[b, position, 1 + j] = True
    result = oracle_loss(
        np.array(case["logits"]).reshape(shape),
        np.array(case["labels"]).reshape(shape),
        weights=(candidates != 0).reshape(shape),
        flipped=flipped.reshape(shape),
        teacher_logits=np.array(case["teacher_logits"]).reshape(shape),
        alpha=case["lbd"],
    )
    assert result.bce == pytest.approx(case["bce_times_2"], rel=2e-7)
    assert result.consistency_bce == pytest.approx(case["consistency_unweighted"], rel=2e-7)
    assert result.loss_bce == pytest.approx(case["loss"], rel=2e-7)
    gradient = np.array(case["grad_logits"]).reshape(shape)
    np.testing.assert_allclose(result.gradient, gradient, rtol=0, atol=3e-8)
    if flipped.any():
        assert 0 < result.consistency_kl < result.consistency_bce
    else:
        assert result.consistency_kl == result.consistency_bce == 0


@pytest.mark.parametrize("name", list(load("torch_ema.json")))
def test_teacher_matches_golden(name):
    decay, warm_up = (part.split("=")[1] for part in name.split(","))
    rows = load("torch_ema.json")[name]
    teacher = OracleTeacher(
        [np.array(rows[0]["param"])], decay=float(decay), warm_up=warm_up == "True"
    )
    np.testing.assert_array_equal(teacher.weights[0], rows[0]["shadow"])
    for row in rows[1:]:
        used = teacher.update([np.array(row["param"])])
        assert used == pytest.approx(row["decay_used"])
        np.testing.assert_allclose(teacher.weights[0], row["shadow"], rtol=0, atol=5e-7)
    assert teacher.num_updates == 12
