"""Windows and batches by hand, and what an epoch holds."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import MAX_LENGTH, NUM_ITEMS, split_of, tiny_histories
from ufnrec_tf.data.batches import make_dataset, steps_per_epoch
from ufnrec_tf.data.windows import make_samples, place

# Train events after leave-one-out: 7, 1, 2 (too short to be evaluated), 1, 4.
HISTORIES = [
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [3],
    [5, 6],
    [7, 8, 9],
    [9, 8, 7, 6, 5, 4],
]


@pytest.fixture(scope="module")
def hand_split():
    return split_of(HISTORIES, 9)


@pytest.fixture(scope="module")
def split():
    return split_of(tiny_histories(), NUM_ITEMS)


def batches(split, num_steps, *, windows="last", max_length=MAX_LENGTH, **settings):
    samples = make_samples(split, max_length=max_length, windows=windows)
    defaults = {"batch_size": 4, "seed": 0}
    dataset = make_dataset(split, samples, max_length=max_length, **{**defaults, **settings})
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    return list(dataset.take(num_steps).as_numpy_iterator())


def listed(samples) -> dict[str, list[int]]:
    return {
        name: values.tolist()
        for name, values in samples._asdict().items()
        if isinstance(values, np.ndarray)
    }


def test_last_windows_by_hand(hand_split):
    samples = make_samples(hand_split, max_length=4)
    assert listed(samples) == {
        "users": [0, 2, 4],
        "starts": [2, 10, 15],  # items 3; 5; 9
        "lengths": [4, 1, 3],
        "first_positions": [2, 0, 0],
        "first_rows": [0, 4, 5],
    }
    assert samples.num_rows == 8


def test_all_windows_by_hand(hand_split):
    samples = make_samples(hand_split, max_length=4, windows="all")
    assert listed(samples) == {
        "users": [0, 0, 2, 4],
        "starts": [0, 2, 10, 15],
        "lengths": [2, 4, 1, 3],
        "first_positions": [0, 2, 0, 0],
        "first_rows": [0, 2, 6, 7],
    }
    assert samples.num_rows == 10


def test_prefixes_by_hand(hand_split):
    """Transitions 6, 1 and 3: each the last of its own window, of 4 events at most."""
    samples = make_samples(hand_split, max_length=4, windows="prefixes")
    assert listed(samples) == {
        "users": [0, 0, 0, 0, 0, 0, 2, 4, 4, 4],
        "starts": [0, 0, 0, 0, 1, 2, 10, 15, 15, 15],
        "lengths": [1, 2, 3, 4, 4, 4, 1, 1, 2, 3],
        "first_positions": [0, 0, 0, 0, 1, 2, 0, 0, 0, 0],
        "first_rows": [0, 0, 0, 0, 1, 2, 6, 7, 7, 7],
    }
    assert samples.num_rows == 10 and samples.only_newest
    users = make_samples(hand_split, max_length=4, windows="all").users_of_rows()
    np.testing.assert_array_equal(samples.users_of_rows(), users)


def test_a_batch_of_prefixes_by_hand(hand_split):
    found = []
    for batch in batches(hand_split, 3, windows="prefixes", max_length=4):
        assert batch["positives"].shape == (4, 1)
        is_real = batch["user"] >= 0
        for history, target in zip(
            batch["history"][is_real], batch["positives"][is_real, 0], strict=True
        ):
            found.append((history.tolist(), int(target)))
        assert not batch["history"][~is_real].any() and not batch["positives"][~is_real].any()
    assert sorted(found) == sorted(
        [
            ([0, 0, 0, 1], 2),
            ([0, 0, 1, 2], 3),
            ([0, 1, 2, 3], 4),
            ([1, 2, 3, 4], 5),
            ([2, 3, 4, 5], 6),
            ([3, 4, 5, 6], 7),
            ([0, 0, 0, 5], 6),
            ([0, 0, 0, 9], 8),
            ([0, 0, 9, 8], 7),
            ([0, 9, 8, 7], 6),
        ]
    )


def test_types(hand_split):
    samples = make_samples(hand_split, max_length=4, windows="all")
    types = [values.dtype.name for values in samples[:5]]
    assert types == ["int32", "int64", "int32", "int32", "int64"]


def test_batch_by_hand(hand_split):
    (batch,) = batches(hand_split, 1, max_length=4)
    order = np.argsort(batch["user"])
    found = {name: values[order].tolist() for name, values in batch.items()}
    assert found.pop("first_position")[1:] == [2, 0, 0]  # of the empty row: nobody's business
    assert found.pop("first_row")[1:] == [0, 4, 5]
    assert found == {
        "user": [-1, 0, 2, 4],
        "history": [[0, 0, 0, 0], [3, 4, 5, 6], [0, 0, 0, 5], [0, 9, 8, 7]],
        "positives": [[0, 0, 0, 0], [4, 5, 6, 7], [0, 0, 0, 6], [0, 8, 7, 6]],
        "length": [0, 4, 1, 3],
        "visit": [0, 0, 0, 0],
    }


@pytest.mark.parametrize("max_length", [1, 3, MAX_LENGTH, 20])
@pytest.mark.parametrize("windows", ["last", "all"])
def test_an_epoch_covers_each_transition_once(split, windows, max_length):
    data = split.interactions
    samples = make_samples(split, max_length=max_length, windows=windows)
    steps = steps_per_epoch(len(samples.users), 4, draw="permutation")
    covered: Counter = Counter()
    rows: dict[tuple[int, int], int] = {}
    for batch in batches(split, steps, windows=windows, max_length=max_length):
        for user, length, first, row, history, positives in zip(
            *(batch[name] for name in ("user", "length", "first_position", "first_row")),
            batch["history"],
            batch["positives"],
            strict=True,
        ):
            assert (history[: max_length - length] == 0).all()
            assert (positives[: max_length - length] == 0).all()
            for step in range(length):
                event = data.offsets[user] + first + step
                assert history[max_length - length + step] == data.items[event]
                assert positives[max_length - length + step] == data.items[event + 1]
                assert event + 1 < split.train_ends[user]  # nothing held out is a positive
                covered[(int(user), int(first + step))] += 1
                rows[(int(user), int(first + step))] = int(row + step)
    transitions = np.maximum(split.train_ends - data.offsets[:-1] - 1, 0)
    expected = {
        (user, index)
        for user, count in enumerate(transitions.tolist())
        for index in range(0 if windows == "all" else max(count - max_length, 0), count)
    }
    assert set(covered) == expected and set(covered.values()) == {1}
    # Rows are the transitions in order: a user's first row plus the transition's place.
    assert [rows[key] for key in sorted(rows)] == list(range(samples.num_rows))


def test_rows_do_not_depend_on_the_length_of_windows(split):
    """With all windows a row is the user's offset plus the index of the interaction."""
    found = []
    for max_length in (2, MAX_LENGTH):
        samples = make_samples(split, max_length=max_length, windows="all")
        found.append(set((samples.first_rows - samples.first_positions).tolist()))
        offsets = samples.first_rows - samples.first_positions
        assert len(set(zip(samples.users.tolist(), offsets.tolist(), strict=True))) == len(
            set(samples.users.tolist())
        )
    assert found[0] == found[1]


def test_permutation_takes_every_window_once_an_epoch(split):
    users = make_samples(split, max_length=MAX_LENGTH).users.tolist()
    assert len(users) == 10 and steps_per_epoch(10, 4, draw="permutation") == 3
    found = batches(split, 9)
    orders = []
    for epoch in range(3):
        own = found[3 * epoch : 3 * epoch + 3]
        assert all(batch["visit"].tolist() == [epoch] * 4 for batch in own)
        order = np.concatenate([batch["user"] for batch in own]).tolist()
        assert sorted(order[:10]) == users
        assert order[10:] == [-1, -1]  # the batches before the last are full
        orders.append(order)
        last = own[-1]
        assert not last["history"][2:].any() and not last["positives"][2:].any()
        assert last["length"][2:].tolist() == [0, 0]
    assert orders[0] != orders[1] != orders[2]


def test_drawing_with_replacement_takes_distinct_windows_of_all(split):
    assert steps_per_epoch(10, 4, draw="with_replacement") == 2
    found = batches(split, 400, draw="with_replacement")
    counts: Counter = Counter()
    for batch in found:
        users = batch["user"].tolist()
        assert len(set(users)) == 4 and -1 not in users
        counts.update(users)
    # 400 draws of 4 in 10: mean 160, deviation 9.8.
    assert len(counts) == 10 and all(120 < count < 200 for count in counts.values())
    # Not a permutation: in some epochs of two batches somebody comes twice.
    twice = [
        set(first["user"]) & set(second["user"])
        for first, second in zip(found[::2], found[1::2], strict=True)
    ]
    assert any(twice) and not all(len(both) == 4 for both in twice)
    visits = [set(batch["visit"].tolist()) for batch in found]
    assert visits == [{step} for step in range(400)]


@pytest.mark.parametrize("draw", ["permutation", "with_replacement"])
def test_batch_larger_than_the_data_is_filled_with_empty_rows(split, draw):
    for batch in batches(split, 2, draw=draw, batch_size=16):
        assert sorted(batch["user"].tolist())[:6] == [-1] * 6
        assert len(set(batch["user"].tolist())) == 11
        assert (batch["user"] >= 0).tolist() == (batch["length"] > 0).tolist()


def same(first, second) -> bool:
    return all(
        all(np.array_equal(one[name], other[name]) for name in one)
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["permutation", "with_replacement"])
def test_batches_are_a_function_of_the_seed_and_the_step(split, draw):
    whole = batches(split, 12, draw=draw)
    assert same(whole, batches(split, 12, draw=draw))
    assert not same(whole, batches(split, 12, draw=draw, seed=1))
    for first_step in (1, 2, 3, 7, 9):
        rest = batches(split, 12 - first_step, draw=draw, first_step=first_step)
        assert same(rest, whole[first_step:]), first_step


def test_repeated_items_stay_in_the_window():
    (batch,) = batches(split_of([[2, 2, 1, 2, 1, 3], [1, 2, 3, 1]], 3), 1, max_length=4)
    row = batch["user"].tolist().index(0)
    assert batch["history"][row].tolist() == [0, 2, 2, 1]
    assert batch["positives"][row].tolist() == [0, 2, 1, 2]


def test_windows_of_no_worker_are_dealt_out_evenly(split):
    samples = make_samples(split, max_length=MAX_LENGTH, windows="all")
    num_steps, num_workers, num_replicas = 5, 3, 2
    whole = batches(split, num_steps, windows="all", batch_size=20)
    dealt = []
    for worker in range(num_workers):
        placement = place(
            samples.users,
            samples.first_rows,
            samples.users_of_rows(),
            split.interactions.user_ids,
            worker=worker,
            num_workers=num_workers,
            is_bound=False,
        )
        shares = batches(
            split,
            num_steps * num_replicas,
            windows="all",
            batch_size=20,
            placement=placement,
            num_replicas=num_replicas,
        )
        dealt.append([shares[i : i + num_replicas] for i in range(0, len(shares), num_replicas)])
    for step, expected in enumerate(whole):
        shares = [share for worker in dealt for share in worker[step]]
        assert {len(share["user"]) for share in shares} == {4}  # 20 among six
        rows = np.concatenate([share["first_row"][share["user"] >= 0] for share in shares])
        assert sorted(rows) == sorted(expected["first_row"][expected["user"] >= 0])
        sizes = [share["length"].sum() for share in shares]
        assert max(sizes) - min(sizes) <= expected["length"].max()
