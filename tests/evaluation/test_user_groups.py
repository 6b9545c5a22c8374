"""Thirds of users, by hand."""

import numpy as np

from tests.helpers.tiny import split_of
from ufnrec_tf.evaluation.user_groups import make_slices


def test_thirds_of_length_and_popularity():
    # Items at test: the history without the last; item 1 is in every train part, 9 in none.
    histories = [[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 4, 1], [1, 6, 2, 3, 4, 9], [3, 4], [1, 2, 1, 1]]
    slices = make_slices(split_of(histories, 9))
    lengths = [part for part in slices if part.family == "history length"]
    assert [part.label for part in lengths] == ["2 to 3 items", "4 items", "5 items"]
    members = np.stack([part.is_member for part in lengths])
    assert (members.sum(axis=0) == 1).all()  # each of five users once; one trains only
    assert members.shape[1] == 5
    assert members[0].tolist() == [True, True, False, False, True]
    popularity = [part for part in slices if part.family != "history length"]
    counts = np.bincount([1, 1, 2, 1, 2, 3, 1, 6, 2, 3, 3, 4, 1, 2], minlength=10)
    targets = np.array([3, 5, 1, 9, 1])
    groups = [sorted(counts[targets[part.is_member]].tolist()) for part in popularity]
    assert groups == [[0, 0], [3], [5, 5]]
    assert [part.label for part in popularity] == [
        "0 train events",
        "3 train events",
        "5 train events",
    ]


def test_users_of_one_value_are_one_slice():
    slices = make_slices(split_of([[1, 2, 3], [2, 3, 1], [3, 1, 2]], 3))
    assert [part.label for part in slices] == ["2 items", "1 train events"]
    assert all(part.is_member.all() for part in slices)
