"""What the tests of serving share: a small backbone, its vocabulary, a brute-force ranking."""

import keras
import numpy as np
import tensorflow as tf

from ufnrec_tf import backbones
from ufnrec_tf.backbones.sasrec import SASRec
from ufnrec_tf.export.saved_model import make_model, write_model

NUM_ITEMS, WIDTH, LENGTH = 30, 8, 5


ITEM_IDS = np.array(
    ["", "a,b", 'say "hi"', "naïve", "no\u00a0break", *(f"i{n}" for n in range(5, NUM_ITEMS + 1))],
    dtype=object,
)


class FakeBackbone(keras.layers.Layer):
    """Item and position tables and a dropout: order matters, and so does each position."""

    def __init__(self, *, seed=0, tied=False):
        super().__init__()
        rng = np.random.default_rng(seed)
        table = rng.normal(size=(NUM_ITEMS + 1, WIDTH))
        if tied:
            table[1:] = table[np.arange(NUM_ITEMS) // 3 + 1]  # rows of three equal items
        self.items = self._weight(table, "items")
        self.positions = self._weight(rng.normal(size=(LENGTH, WIDTH)), "positions")
        self.dropout = keras.layers.Dropout(0.5)

    def _weight(self, value, name):
        start = keras.initializers.Constant(value)
        return self.add_weight(shape=value.shape, initializer=start, name=name)

    def call(self, histories, training=False):
        hidden = tf.gather(tf.convert_to_tensor(self.items), histories)
        hidden = hidden * tf.convert_to_tensor(self.positions)
        return tf.cumsum(self.dropout(hidden, training=training), axis=1)

    def encode(self, histories, training=False):
        return self(histories, training=training)[:, -1, :]

    def item_embeddings(self):
        return tf.convert_to_tensor(self.items)


def make_backbone(kind):
    if kind in ("fake", "tied"):
        return FakeBackbone(tied=kind == "tied")
    keras.utils.set_random_seed(3)
    if kind in backbones.BACKBONES:
        return backbones.create(
            kind, num_items=NUM_ITEMS, width=WIDTH, max_length=LENGTH, num_blocks=1
        )
    return SASRec(num_items=NUM_ITEMS, width=WIDTH, max_length=LENGTH, num_blocks=1, variant=kind)


def model_of(backbone, item_ids=ITEM_IDS, **overrides):
    """A model that is ready to be written, with the answer of the backbone to no history."""
    settings = {"max_length": LENGTH, "top_k": 10, "mask_seen": True, "metadata": {"step": 7}}
    return make_model(backbone, item_ids, **{**settings, **overrides})


def write_export(path, backbone, item_ids=ITEM_IDS, **overrides):
    """Writes a version folder; see `model_of`."""
    write_model(path, model_of(backbone, item_ids, **overrides))


def pad(histories):
    """Returns the histories as a string array, right-padded."""
    width = max(map(len, histories))
    return np.array([[*h, *[""] * (width - len(h))] for h in histories], dtype=object)


def brute_force(backbone, history, k, *, mask_seen=True):
    """The k best of one history in plain Python and NumPy: [(score, id)]."""
    return brute_forces(backbone, [history], k, mask_seen=mask_seen)[0]


def brute_forces(backbone, histories, k, *, mask_seen=True):
    """`brute_force` of each history; the backbone encodes all in one call."""
    internal = {raw: n for n, raw in enumerate(ITEM_IDS) if raw}
    known = [[internal[raw] for raw in history if raw in internal] for history in histories]
    windows = np.array([([0] * LENGTH + row)[-LENGTH:] for row in known], np.int32)
    vectors = np.asarray(backbone.encode(windows)).astype(np.float64)
    table = np.asarray(backbone.item_embeddings()).astype(np.float64)
    found = []
    for row, scores in zip(known, vectors @ table.T, strict=True):
        left = [n for n in internal.values() if not (mask_seen and n in row)]
        best = sorted(left, key=lambda n: (-scores[n], n))[:k]
        found.append([(scores[n], ITEM_IDS[n]) for n in best])
    return found


def assert_same_ranking(expected, ids, scores):
    """Exact wherever neighbouring scores differ by more than 1e-5; empty places at the end."""
    ids = [raw.decode() for raw in ids]
    assert ids[len(expected) :] == [""] * (len(ids) - len(expected))
    np.testing.assert_array_equal(scores[len(expected) :], np.float32(-1e30))
    np.testing.assert_allclose(scores[: len(expected)], [s for s, _ in expected], atol=1e-5)
    values = [np.inf, *(score for score, _ in expected), -np.inf]
    for place, (score, raw) in enumerate(expected):
        if values[place] - score > 1e-5 and score - values[place + 2] > 1e-5:
            assert ids[place] == raw


def random_histories(count, longest, seed=0):
    """Histories with unknown ids, repeats, and some that are longer than the window."""
    rng = np.random.default_rng(seed)
    pool = [*ITEM_IDS[1:], "unknown", "", "I7"]
    return [list(rng.choice(pool, size=rng.integers(1, longest))) for _ in range(count)]
