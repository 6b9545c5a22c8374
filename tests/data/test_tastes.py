"""The planted ground truths: hashes against their reference, affinities and chains by hand."""

import numpy as np

from ufnrec_tf.data.synthetic.tastes import (
    AttributeModel,
    FactorModel,
    hash_normal,
    hash_pairs,
    hash_uniform,
    make_salt,
)


def test_hash_is_splitmix64():
    # The reference generator's first outputs from state 0; row 0 with this salt starts at 0.
    # mix(0) is 0, so columns 0, 1, 2 are its first three numbers.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert hash_pairs(np.uint64(0), np.array([0]), np.arange(3)).tolist() == expected


def test_hash_values_are_uniform_and_normal():
    salt = make_salt(3, "test")
    uniform = hash_uniform(salt, np.arange(300)[:, None], np.arange(300)[None])
    normal = hash_normal(salt, np.arange(300)[:, None], np.arange(300)[None])
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.005
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    # Neighbours in either direction have nothing in common.
    assert abs(np.corrcoef(normal[:-1].ravel(), normal[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(normal[:, :-1].ravel(), normal[:, 1:].ravel())[0, 1]) < 0.02


def test_factor_model_by_hand():
    salt = np.uint64(0)
    users = np.array([[1.0], [0.0]], np.float32)
    items = np.array([[9.0, 2.0, 0.0], [9.0, 3.0, 1.0]], np.float32)
    model = FactorModel(users, items, np.zeros(3, np.int32), 0.0, salt)
    assert model.affinity(np.array([0]), np.array([1, 2])).tolist() == [2.0, 0.0]
    # (2, 3) turns to (-3, 2), scaled by sqrt(2); its product with (2, 3) is 0, with (0, 1) it is 2.
    steps = model.successor(np.array([1]), model.features(np.array([[1, 2]])))
    np.testing.assert_allclose(steps, [[0.0, 2 / np.sqrt(2)]], rtol=1e-6)
    assert model.successor(np.array([0]), model.features(np.array([[1, 2]]))).tolist() == [[0, 0]]


def test_attribute_model_by_hand():
    bits = np.array([0, 0b00011, 0b00111, 0b10011, 0b01111], np.uint32)
    model = AttributeModel(
        item_bits=bits,
        liked_bits=np.array([0b00011], np.uint32),
        disliked_bits=np.array([0b10000], np.uint32),
        pair_bits=np.array([0b01100], np.uint32),
        chain=np.array([[0.0, 1.0], [2.0, 3.0]], np.float32),
        groups=np.array([0, 0, 1, 1, 0], np.int32),
        noise=0.0,
        salt=np.uint64(0),
    )
    # s(2) = 10/6; one of the pair adds .5, both add nothing; the disliked attribute costs 1.5.
    expected = np.array([10 / 6, 10 / 6 + 0.5, 10 / 6 - 1.5, 10 / 6])
    np.testing.assert_allclose(model.affinity(np.array([0]), np.arange(1, 5)), expected, rtol=1e-6)
    steps = model.successor(np.array([2]), model.features(np.array([[1, 2, 3, 4]])))
    assert steps.tolist() == [[2.0, 3.0, 3.0, 2.0]]
