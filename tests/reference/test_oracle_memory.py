"""Small examples of the oracle's memory, worked out by hand."""

import pytest

from tests.reference.oracle import OracleMemory, hard_flags

KEY = (7, 0)


def visit(memory: OracleMemory, fresh: list[int], hard_items: set[int]):
    """One visit in which an item's slots are hard if it is one of `hard_items`."""
    lookup = memory.lookup(KEY, fresh)
    memory.record(KEY, lookup, [item in hard_items for item in lookup.items])
    return lookup


def labels_over_visits(memory: OracleMemory, first: list[int], num_visits: int):
    """Labels of slots 0 and 1 at visits 1.. where item 3 is always hard, drawn at visit 1."""
    rows = [visit(memory, first, {3}).labels]
    rows += [visit(memory, [8, 9], {3}).labels for _ in range(num_visits - 1)]
    return [tuple(row) for row in rows]


def test_written_at_visit_1_flips_at_visit_7_and_leaves():
    memory = OracleMemory(patience=5, duplicates=True)
    labels = labels_over_visits(memory, [3, 4], 9)
    assert [visit_number for visit_number, row in enumerate(labels, 1) if row[0]] == [7]
    assert memory.lists[KEY] == [] and memory.counts[KEY] == {3: 6}
    visit(memory, [3, 4], {3})  # drawn again by chance, and hard again
    assert visit(memory, [8, 9], {3}).labels == [1, 0]
    assert memory.counts[KEY] == {3: 7}


def test_held_twice_flips_at_its_third_showing_second_entry_only():
    memory = OracleMemory(patience=5, duplicates=True)
    labels = labels_over_visits(memory, [3, 3], 5)
    assert labels == [(0, 0), (0, 0), (0, 0), (0, 1), (1, 0)]


def test_a_set_holds_an_item_once_and_shows_the_highest_id_first():
    memory = OracleMemory(patience=5)
    first = visit(memory, [3, 5, 3, 9], {3, 5, 9})
    assert first.weights == [1, 1, 1, 1]  # equal fresh draws both stay in the loss
    assert memory.lists[KEY] == [3, 5, 9]
    second = visit(memory, [1, 1, 1, 5], {5})
    assert second.items == [9, 5, 3, 5]
    assert second.counts == [1, 1, 1, 0]
    assert second.is_excluded == [False, False, False, True]
    assert second.weights == [1, 1, 1, 0]
    assert memory.lists[KEY] == [5]
    assert memory.counts[KEY] == {3: 1, 5: 1, 9: 1}


def test_a_fresh_draw_of_a_flipped_item_has_label_0_and_is_written_in_faithful_mode():
    memory = OracleMemory(patience=1, duplicates=True)
    labels_over_visits(memory, [3, 4], 2)
    lookup = visit(memory, [8, 3], {3})
    assert lookup.items == [3, 3] and lookup.labels == [1, 0] and lookup.weights == [1, 1]
    assert memory.lists[KEY] == [3]
    assert visit(memory, [8, 9], {3}).labels == [1, 0]


def test_a_fresh_draw_of_a_flipped_item_is_left_out_in_a_set():
    memory = OracleMemory(patience=1)
    labels_over_visits(memory, [3, 4], 2)
    lookup = visit(memory, [8, 3], {3})
    assert lookup.labels == [1, 0] and lookup.weights == [1, 0]
    assert memory.lists[KEY] == []


@pytest.mark.parametrize(
    ("policy", "labels", "weights", "statistics"),
    [
        ("replay", [0, 0], [1, 1], (0, 0)),
        ("remove", [0, 0], [0, 1], (1, 0)),
        ("flip", [1, 0], [1, 1], (1, 1)),
        ("ufnrec", [1, 0], [1, 1], (1, 1)),
    ],
)
def test_policies_at_the_ripe_visit(policy, labels, weights, statistics):
    memory = OracleMemory(patience=1, policy=policy)
    labels_over_visits(memory, [3, 4], 2)
    lookup = visit(memory, [8, 9], {3})
    assert lookup.labels == labels and lookup.weights == weights and lookup.counts == [2, 0]
    assert (memory.statistics["ripe"], memory.statistics["flips"]) == statistics
    assert memory.lists[KEY] == ([3] if policy == "replay" else [])


@pytest.mark.parametrize("duplicates", [True, False])
def test_sticky_stays_while_it_outranks(duplicates):
    memory = OracleMemory(patience=1, flip="sticky", duplicates=duplicates)
    assert [row[0] for row in labels_over_visits(memory, [3, 4], 5)] == [0, 0, 1, 1, 1]
    assert visit(memory, [8, 9], set()).labels == [1, 0]
    assert memory.lists[KEY] == []


def test_sticky_removal_stays_while_it_outranks():
    memory = OracleMemory(patience=1, flip="sticky", policy="remove")
    labels_over_visits(memory, [3, 4], 4)
    assert visit(memory, [8, 9], {3}).weights == [0, 1]
    assert memory.lists[KEY] == [3]


def test_consecutive_count_is_lost_with_the_place_in_the_list():
    cumulative, consecutive = (
        OracleMemory(patience=2),
        OracleMemory(patience=2, counting="consecutive"),
    )
    for memory in (cumulative, consecutive):
        for hard_items in ({3}, {3}, set(), {3}):  # written, shown, shown and lost, drawn again
            visit(memory, [3, 4], hard_items)
    assert visit(cumulative, [8, 9], {3}).labels == [1, 0]
    assert visit(consecutive, [8, 9], {3}).labels == [0, 0]
    assert consecutive.counts[KEY] == {3: 1}


def test_a_tie_with_the_positive_is_not_hard():
    assert hard_flags([0.5, 0.5, 0.75, 0.25]) == [False, True, False]


def test_no_negative_is_never_remembered():
    memory = OracleMemory(patience=1)
    assert visit(memory, [0, 0], {0}).weights == [0, 0]
    assert memory.lists[KEY] == []


def test_capacity_keeps_the_first_and_counts_the_rest():
    faithful = OracleMemory(list_capacity=2, duplicates=True)
    visit(faithful, [3, 3, 5, 4], {3, 4, 5})
    assert faithful.lists[KEY] == [3, 3] and faithful.statistics["refusals"] == 2
    distinct = OracleMemory(list_capacity=2)
    visit(distinct, [3, 3, 5, 4], {3, 4, 5})
    assert distinct.lists[KEY] == [3, 5] and distinct.statistics["refusals"] == 1


def test_slots_serve_the_list_first_then_the_highest_counts():
    memory = OracleMemory(num_slots=3, duplicates=True)
    memory.lists[KEY] = [5]
    memory.counts[KEY] = {2: 3, 4: 3, 5: 1}
    visit(memory, [9, 6, 6, 0], {5, 6})  # 5 shown (count 2) and kept, 6 written: one place left
    assert memory.lists[KEY] == [5, 6, 6]
    assert memory.counts[KEY] == {2: 3, 5: 2}  # 4 ties with 2 and has the higher id
    assert memory.statistics["evictions"] == 1 and memory.statistics["refusals"] == 0


def test_a_listed_item_without_a_slot_leaves_with_all_its_duplicates():
    memory = OracleMemory(num_slots=1, duplicates=True)
    visit(memory, [6, 7, 7, 6], {6, 7})
    assert memory.lists[KEY] == [6, 6]
    assert memory.statistics["refusals"] == 1 and memory.statistics["evictions"] == 0


def test_lookup_changes_nothing_and_equal_keys_in_a_step_count_on():
    memory = OracleMemory(patience=2, duplicates=True)
    visit(memory, [3, 4], {3})
    lookups = memory.lookup_batch([KEY] * 3, [[8, 9]] * 3)
    assert [lookup.counts[0] for lookup in lookups] == [1, 2, 3]
    assert [lookup.labels[0] for lookup in lookups] == [0, 0, 1]
    assert memory.counts[KEY] == {} and memory.statistics["shown"] == 0
