"""The negative sampler: the items it may draw, how uniformly, and the inputs of a draw."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import split_of
from ufnrec_tf.data.splits import seen_train_items
from ufnrec_tf.method.negatives import PopularitySampler, SharedNegatives, UniformNegativeSampler

NUM_ITEMS = 20
NUM_NEGATIVES = 50
SEEN = [
    [3],
    [1, 20],
    [4, 5, 6, 7, 11],
    list(range(1, 16)),
    [item for item in range(1, 21) if item != 9],  # all but one
    list(range(1, 21)),  # everything
    [],
    [2, 4, 6, 8, 10, 12, 14, 16, 18, 20],
]
FULL_USER, ALL_BUT_ONE, NOTHING_SEEN = 5, 4, 6
POSITIONS = 3


def make_sampler(seed: int = 0, seen: list[list[int]] = SEEN, num_items: int = NUM_ITEMS):
    offsets = np.cumsum([0] + [len(items) for items in seen]).astype(np.int64)
    return UniformNegativeSampler(
        num_items=num_items,
        seen_offsets=offsets,
        seen_items=np.array([item for items in seen for item in items], np.int32),
        num_negatives=NUM_NEGATIVES,
        seed=seed,
    )


def draw(sampler, users, visits, keys):
    """Draws for (batch row, position) keys; int32 [P, N]."""
    rows, positions = np.array(keys, np.int64).reshape(-1, 2).T
    return sampler(
        users=tf.constant(users, tf.int32),
        visits=tf.constant(visits, tf.int64),
        batch_index=tf.constant(rows),
        positions=tf.constant(positions),
    ).numpy()


@pytest.fixture(scope="module")
def long_run() -> np.ndarray:
    """int32 [users, visits, positions, N] draws of every user over 100 visits."""
    sampler = make_sampler()
    users = np.arange(len(SEEN))
    keys = [(user, position) for user in users for position in range(POSITIONS)]
    call = tf.function(sampler.__call__)

    def visit(number: int) -> np.ndarray:
        rows, positions = (tf.constant(part, tf.int64) for part in np.array(keys).T)
        return call(
            users=tf.constant(users, tf.int32),
            visits=tf.fill([len(users)], tf.constant(number, tf.int64)),
            batch_index=rows,
            positions=positions,
        ).numpy()

    draws = np.stack([visit(number) for number in range(100)])  # [T, U * 3, N]
    return draws.reshape(100, len(SEEN), POSITIONS, NUM_NEGATIVES).transpose(1, 0, 2, 3)


def chi_square(counts: np.ndarray) -> float:
    """Standardised: (chi2 - k) / sqrt(2 k), about normal where the draws are uniform."""
    counts = np.asarray(counts, np.float64)
    freedom = len(counts) - 1
    expected = counts.sum() / len(counts)
    statistic = ((counts - expected) ** 2 / expected).sum()
    return (statistic - freedom) / np.sqrt(2 * freedom)


def test_draws_are_items_that_the_user_has_not_seen(long_run):
    for user, seen in enumerate(SEEN):
        found = set(long_run[user].ravel().tolist())
        expected = set(range(1, NUM_ITEMS + 1)) - set(seen)
        assert found == (expected or {0}), user


def test_user_who_has_seen_everything_gets_padding(long_run):
    assert (long_run[FULL_USER] == 0).all()


def test_user_who_has_seen_all_but_one_always_gets_that(long_run):
    assert (long_run[ALL_BUT_ONE] == 9).all()


@pytest.mark.parametrize("user", [0, 1, 2, 3, NOTHING_SEEN, 7])
def test_draws_of_a_user_are_uniform(long_run, user):
    counts = np.bincount(long_run[user].ravel(), minlength=NUM_ITEMS + 1)
    unseen = sorted(set(range(1, NUM_ITEMS + 1)) - set(SEEN[user]))
    assert counts[unseen].sum() == 100 * POSITIONS * NUM_NEGATIVES
    assert abs(chi_square(counts[unseen])) < 3.5


def test_draws_are_uniform_pooled_over_users_and_in_each_column(long_run):
    """By rank among the user's unseen items, so that users with ten unseen items pool."""
    pooled, by_column = np.zeros(10), np.zeros((NUM_NEGATIVES, 10))
    for seed in range(3):
        sampler = make_sampler(seed, seen=[SEEN[7], list(range(1, 11)), list(range(6, 16))])
        keys = [(row, position) for row in range(3) for position in range(400)]
        found = draw(sampler, [0, 1, 2], [seed] * 3, keys).reshape(3, 400, NUM_NEGATIVES)
        for user, seen in enumerate((SEEN[7], range(1, 11), range(6, 16))):
            unseen = np.array(sorted(set(range(1, 21)) - set(seen)))
            ranks = np.searchsorted(unseen, found[user])
            pooled += np.bincount(ranks.ravel(), minlength=10)
            for column in range(NUM_NEGATIVES):
                by_column[column] += np.bincount(ranks[:, column], minlength=10)
    assert abs(chi_square(pooled)) < 3.5
    scores = np.array([chi_square(counts) for counts in by_column])
    assert abs(scores).max() < 5 and abs(scores.mean()) < 3 / np.sqrt(NUM_NEGATIVES)


def test_neighbouring_visits_positions_and_columns_are_independent(long_run):
    """Pairs of successive draws of a user fall evenly on all pairs of items."""
    draws = np.searchsorted(np.arange(2, 21, 2) - 1, long_run[7])  # ten unseen: 1, 3, ..., 19
    for axis in range(3):
        first = np.take(draws, range(draws.shape[axis] - 1), axis=axis).ravel()
        second = np.take(draws, range(1, draws.shape[axis]), axis=axis).ravel()
        pairs = np.bincount(first * 10 + second, minlength=100)
        assert abs(chi_square(pairs)) < 4, axis


def test_a_draw_depends_only_on_seed_visit_user_and_position():
    sampler = make_sampler()
    alone = draw(sampler, [2], [7], [(0, 4)])[0]
    keys = [(0, 0), (1, 4), (2, 4), (2, 0), (3, 4)]
    together = draw(sampler, [0, 7, 2, 3], [1, 7, 7, 7], keys)
    np.testing.assert_array_equal(together[2], alone)
    order = [4, 2, 0, 3, 1]
    turned = draw(sampler, [0, 7, 2, 3], [1, 7, 7, 7], [keys[place] for place in order])
    np.testing.assert_array_equal(turned, together[order])
    np.testing.assert_array_equal(draw(make_sampler(), [2], [7], [(0, 4)])[0], alone)


def test_another_seed_visit_position_or_user_draws_otherwise():
    """NOTHING_SEEN and user 8, who has seen nothing either, differ only in the user."""
    seen = [*SEEN, []]
    base = draw(make_sampler(seen=seen), [NOTHING_SEEN], [7], [(0, 4)])
    others = [
        draw(make_sampler(1, seen), [NOTHING_SEEN], [7], [(0, 4)]),
        draw(make_sampler(seen=seen), [NOTHING_SEEN], [8], [(0, 4)]),
        draw(make_sampler(seen=seen), [NOTHING_SEEN], [7], [(0, 5)]),
        draw(make_sampler(seen=seen), [8], [7], [(0, 4)]),
    ]
    for other in others:
        # Two independent draws agree in one column of twenty.
        assert (other == base).mean() < 0.25


def test_empty_rows_of_a_batch_change_nothing():
    sampler = make_sampler()
    alone = draw(sampler, [2, 3], [7, 7], [(0, 1), (1, 2)])
    mixed = draw(sampler, [-1, 2, -1, 3, -1], [7] * 5, [(1, 1), (3, 2)])
    np.testing.assert_array_equal(mixed, alone)
    nobody = draw(sampler, [-1, -1], [7, 7], [])
    assert nobody.shape == (0, NUM_NEGATIVES)


def test_held_out_items_may_be_drawn_and_repeats_do_no_harm():
    split = split_of([[1, 2, 2, 1, 3, 4], [2, 3, 5]], 6)  # trains on 1, 2, 2, 1 and on 2
    offsets, items = seen_train_items(split)
    assert items.tolist() == [1, 2, 2]
    sampler = UniformNegativeSampler(
        num_items=6, seen_offsets=offsets, seen_items=items, num_negatives=200, seed=0
    )
    found = draw(sampler, [0, 1], [0, 0], [(0, 0), (1, 0)])
    assert set(found[0].tolist()) == {3, 4, 5, 6}
    assert set(found[1].tolist()) == {1, 3, 4, 5, 6}


def test_large_catalogue_draws_to_both_ends():
    num_items = 2_000_000
    sampler = make_sampler(seen=[[1, num_items], [5]], num_items=num_items)
    keys = [(row, position) for row in range(2) for position in range(500)]
    found = draw(sampler, [0, 1], [0, 0], keys).reshape(2, -1)
    for user, (least, most) in enumerate([(2, num_items - 1), (1, num_items)]):
        assert found[user].min() >= least and found[user].max() <= most
        shares = np.bincount((found[user] - 1) * 10 // num_items, minlength=10)
        assert abs(chi_square(shares)) < 3.5


def test_draws_by_popularity_take_each_event_of_an_unseen_item_once():
    """As many different random numbers as there are events: each item comes as often as it has."""
    rng = np.random.default_rng(3)
    num_events = rng.integers(0, 6, NUM_ITEMS)
    total = int(num_events.sum())

    class Counting(PopularitySampler):
        def _random(self, users, visits, batch_index, positions):
            return tf.range(total, dtype=tf.int64)[None, :] + tf.zeros_like(positions)[:, None]

    offsets = np.cumsum([0] + [len(items) for items in SEEN]).astype(np.int64)
    sampler = Counting(
        num_items=NUM_ITEMS,
        num_events=num_events,
        seen_offsets=offsets,
        seen_items=np.array([item for items in SEEN for item in items], np.int32),
        num_negatives=total,
        seed=0,
    )
    users = np.arange(len(SEEN))
    drawn = draw(sampler, users, np.zeros_like(users), [(user, 0) for user in users])
    for user, seen in enumerate(SEEN):
        expected = num_events.copy()
        expected[np.array(seen, int) - 1] = 0
        if not expected.sum():
            assert not drawn[user].any()
            continue
        found = np.bincount(drawn[user][: expected.sum()], minlength=NUM_ITEMS + 1)
        np.testing.assert_array_equal(found[1:], expected)
        assert set(drawn[user].tolist()) <= set((1 + np.flatnonzero(expected)).tolist())


def make_shared(seed: int = 0) -> SharedNegatives:
    return SharedNegatives(
        num_items=NUM_ITEMS,
        seen_offsets=np.cumsum([0] + [len(items) for items in SEEN]).astype(np.int64),
        seen_items=np.array([item for items in SEEN for item in items], np.int32),
        num_negatives=NUM_NEGATIVES,
        seed=seed,
    )


def test_shared_draws_are_one_set_without_what_each_user_has_seen():
    users = np.arange(len(SEEN))
    keys = [(user, position) for user in users for position in (0, 3)]
    counts = np.zeros(NUM_ITEMS + 1)
    for visit in range(40):
        found = draw(make_shared(), users, [visit] * len(users), keys)
        drawn = found[2 * NOTHING_SEEN]
        counts += np.bincount(drawn, minlength=NUM_ITEMS + 1)
        for (user, _), row in zip(keys, found, strict=True):
            np.testing.assert_array_equal(row, np.where(np.isin(drawn, SEEN[user]), 0, drawn))
    assert counts[0] == 0 and abs(chi_square(counts[1:])) < 3.5


def test_shared_draws_depend_on_seed_users_and_visits_only():
    base = draw(make_shared(), [6, 0], [7, 4], [(0, 4)])
    same = draw(make_shared(), [-1, 0, 6, -1], [9, 4, 7, 2], [(2, 1)])
    np.testing.assert_array_equal(same, base)
    others = [
        draw(make_shared(1), [6, 0], [7, 4], [(0, 4)]),
        draw(make_shared(), [6, 0], [7, 5], [(0, 4)]),
        draw(make_shared(), [6, 1], [7, 4], [(0, 4)]),
    ]
    assert all((other == base).mean() < 0.25 for other in others)
