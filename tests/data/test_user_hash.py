"""Tests of the hash that users are distributed by."""

import numpy as np

from ufnrec_tf.data.user_hash import hash_users, owners_of

EXPECTED = [12575574004354087174, 13773158908696292688, 15039209132513287167]


def ids(count):
    return np.array([f"user {number}é" for number in range(count)], dtype=object)


def test_the_hash_is_that_of_every_other_run():
    """A change here would send every checkpoint's and prepared file's users elsewhere."""
    found = hash_users(np.array(["", "u1", "Müller"], dtype=object))
    assert found.dtype == np.uint64
    assert found.tolist() == EXPECTED


def test_a_users_hash_depends_on_nothing_but_the_id():
    users = ids(50)
    alone = np.concatenate([hash_users(users[place : place + 1]) for place in range(50)])
    np.testing.assert_array_equal(hash_users(users), alone)
    np.testing.assert_array_equal(hash_users(users[::-1]), alone[::-1])


def test_workers_get_about_equal_numbers_of_users():
    for num_workers in (1, 2, 3, 7):
        counts = np.bincount(owners_of(ids(7000), num_workers), minlength=num_workers)
        assert len(counts) == num_workers
        assert np.abs(counts - 7000 / num_workers).max() < 4.5 * np.sqrt(7000 / num_workers)
